"""One line for every answer, as people's programs read it (combined) or as JSON; no capability and no query in it."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp.abc import AbstractAccessLogger
from aiohttp.web import BaseRequest, Response, StreamResponse

from mediaserver.capability import redacted
from mediaserver.proxies import Proxies
from mediaserver.replies import SENT_BYTES

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Line:
    """What is written of one answer; `path` is without query and may still hold a capability."""

    client: str
    method: str
    path: str
    version: str
    status: int
    sent_bytes: int
    took_s: float
    referer: str = ""
    agent: str = ""

    def combined(self) -> str:
        """Return the combined form of Apache and nginx, with the milliseconds behind."""
        at = time.localtime()
        when = f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{time.strftime('%H:%M:%S %z', at)}"
        asked = f"{self.method} {redacted(self.path)} HTTP/{self.version}"
        told = f'"{_quoted(self.referer)}" "{_quoted(self.agent)}"'
        return f'{self.client} - - [{when}] "{asked}" {self.status} {self.sent_bytes} {told} {self.took_s * 1000:.0f}'

    def json(self) -> str:
        return json.dumps(
            {
                "time": round(time.time(), 3),
                "client": self.client,
                "method": self.method,
                "path": redacted(self.path),
                "version": self.version,
                "status": self.status,
                "sent_bytes": self.sent_bytes,
                "took_ms": round(self.took_s * 1000, 1),
                "referer": redacted(self.referer.partition("?")[0]),
                "agent": self.agent,
            },
            ensure_ascii=False,
        )


def _quoted(text: str) -> str:
    """Return a client's own words so that they cannot end their quotes, and without what they must not tell."""
    shown = redacted(text.partition("?")[0]) if "://" in text else text
    return "".join(c if c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}" for c in shown) or "-"


class AccessLog(AbstractAccessLogger):
    """Writes lines to the logger `aiohttp.access` at level INFO; `form` is off, combined or json."""

    def __init__(self, form: str, trusted: tuple[str, ...] = ()) -> None:
        super().__init__(logging.getLogger("aiohttp.access"), form)
        self._form, self._proxies = form, Proxies(trusted)

    @property
    def enabled(self) -> bool:
        return self._form != "off" and self.logger.isEnabledFor(logging.INFO)

    def log(self, request: BaseRequest, response: StreamResponse, time: float) -> None:
        """Write what aiohttp has answered."""
        fields = request.headers
        self.write(
            Line(
                self.client(request.remote or "-", fields.get("X-Forwarded-For")),
                request.method,
                quote(request.path),
                f"{request.version.major}.{request.version.minor}",
                response.status,
                _sent_bytes(request, response),
                time,
                fields.get("Referer", ""),
                fields.get("User-Agent", ""),
            )
        )

    def client(self, peer: str, forwarded_for: str | None) -> str:
        return self._proxies.client(peer, forwarded_for)

    def write(self, line: Line) -> None:
        self.logger.info("%s", line.json() if self._form == "json" else line.combined())


def _sent_bytes(request: BaseRequest, response: StreamResponse) -> int:
    """Return the length of the body alone, as every log has it."""
    if isinstance(response, Response) and isinstance(response.body, bytes):
        return 0 if request.method == "HEAD" or response.status in (204, 304) else len(response.body)
    sent: int = response.get(SENT_BYTES, response.body_length)
    return sent


def show_access_log(form: str) -> None:
    """Let the lines through to standard error, one each, without the words of other log lines."""
    if form == "off":
        return
    logger = logging.getLogger("aiohttp.access")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
