"""The names by which this server lets itself be called (RFC 9110, 7.2), so that no foreign page can rebind its own.

A page of another site can point its name at 127.0.0.1 and then read our answers as its own; its requests still carry
its name in Host. Numeric addresses cannot be rebound and are always taken.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any

from aiohttp import web

from mediaserver.errors import BadRequest, ServerError
from mediaserver.problems import Handler

_AUTHORITY = re.compile(
    r"(?:(?P<name>[A-Za-z0-9._~!$&'()*+,;=%-]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::[0-9]{0,5})?", re.ASCII
)
# The absolute form of a request's target (RFC 9112, 3.2.2): its authority goes before Host.
_WHOLE_URL = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_LOOPBACK = frozenset({"localhost", "ip6-localhost"})


class Misdirected(ServerError):
    code = "misdirected"
    status = 421

    def __init__(self, host: str) -> None:
        super().__init__(f"This server is not called {host[:100]!r}.")
        self.hint = 'If it should be, name it in mediaserver.toml: allowed_hosts = ["film.example"].'


class Hosts:
    """`allowed` are names besides this machine's own; "*" takes every name, ".film.example" all names below one."""

    def __init__(self, allowed: tuple[str, ...], bound: str) -> None:
        own = {bound.lower(), socket.gethostname().lower()}
        self._any = "*" in allowed
        self._names = frozenset({name.lower() for name in allowed} | own | _LOOPBACK)
        self._below = tuple(name.lower() for name in allowed if name.startswith("."))

    def takes(self, authority: str) -> bool:
        """Whether a request for `authority` is for this server; raises BadRequest if it is none."""
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            raise BadRequest("The field Host names no host.")
        if self._any or found["v6"] or not authority:
            return True
        name = found["name"].rstrip(".").lower()
        return name in self._names or name.endswith((".localhost", *self._below)) or _is_number(name)

    def guard(self) -> Any:
        """Return the middleware that answers nothing for other names."""

        @web.middleware
        async def refuse_strangers(request: web.Request, handler: Handler) -> web.StreamResponse:
            said = request.headers.getall("Host", [])
            if len(said) > 1:
                raise BadRequest("The field Host stands there twice.")
            whole = _WHOLE_URL.match(request.raw_path)
            for authority in (*said, *([whole[1]] if whole else ())):
                if not self.takes(authority):
                    raise Misdirected(authority)
            return await handler(request)

        return refuse_strangers


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK


def _is_number(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
