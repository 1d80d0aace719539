"""One connection of a client that may be slow, greedy or no HTTP client at all: limits, time-outs, plain refusals."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader

from mediaserver.errors import BadRequest, ServerError
from mediaserver.manners import Manners
from mediaserver.problems import Handler, problem
from mediaserver.seats import Seats

if TYPE_CHECKING:
    import ssl

    from aiohttp.web_server import Server

TARGET_BYTES = 8192
FIELD_BYTES = 16_384
FIELDS = 100
# Connections above the cap that are told so; further ones are closed without a word.
TOLD = 64
# Clients that may wait to be accepted: a film begins for everybody at the same minute.
BACKLOG = 4096
# Time for a client to read a refusal before the connection ends, so that a reset does not destroy it.
FAREWELL_S = 2.0
# Time in which an unread body is thrown away so that the connection can go on.
LINGER_S = 5.0
# A body may take its time, but so many bytes of it must come in every so many seconds: no trickle lasts for ever.
BODY_S, BODY_BYTES = 30.0, 16 * 1024
# What aiohttp calls the method of bytes that are no request.
_NO_REQUEST = "UNKNOWN"
_LAST = re.compile(rb"\r\nconnection:[^\r\n]*close", re.IGNORECASE)
_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)
STRANGE_VERSION = web.RequestKey("strange_version", bool)


class HeadTooLarge(ServerError):
    code = "head_too_large"
    status = 431
    hint = f"A field may have {FIELD_BYTES:,} bytes, a request {FIELDS} fields."

    def __init__(self) -> None:
        super().__init__("The head of the request is too large.")


class TargetTooLong(ServerError):
    code = "target_too_long"
    status = 414
    hint = f"An address may have {TARGET_BYTES:,} bytes."

    def __init__(self) -> None:
        super().__init__("The address is too long.")


class OtherVersion(ServerError):
    code = "other_version"
    status = 505
    hint = "Speak HTTP/1.1; a reverse proxy in front speaks HTTP/2 and HTTP/3."

    def __init__(self) -> None:
        super().__init__("This server speaks HTTP/1.0 and HTTP/1.1.")


class HeadTooSlow(ServerError):
    code = "head_too_slow"
    status = 408
    hint = "Send the request at once."

    def __init__(self) -> None:
        super().__init__("The head of the request did not arrive in time.")


class ServerFull(ServerError):
    code = "server_full"
    status = 503
    hint = "Try again in a minute."

    def __init__(self) -> None:
        super().__init__("As many clients are connected as this server takes.")


@dataclass(slots=True)
class Door:
    """The limits of all connections of one address, and how many there are."""

    manners: Manners
    connections_max: int
    keepalive_s: float
    head_s: float
    stall_s: float
    seats: Seats = field(default_factory=Seats)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> int:
        """How many connections there are beyond those that may be; negative while there is room."""
        return self.seats.taken - self.connections_max

    def refusal(self, error: ServerError) -> web.Response:
        """Return an answer after which the connection ends; no handler and no signal sees it."""
        response = problem(error)
        self.manners.dress(response.headers, "/", None)
        response.force_close()
        return response

    def words(self, error: ServerError) -> bytes:
        """Return a refusal as bytes, for where no request is."""
        response = self.refusal(error)
        body = response.body
        assert isinstance(body, bytes)
        fields = {**response.headers, "Content-Length": str(len(body)), "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {response.status} {response.reason}\r\n{lines}\r\n".encode() + body


class Connection(web.RequestHandler):
    """aiohttp's own handling of a connection, with an end to everything that could last for ever."""

    __slots__ = ("_at_work", "_body_timer", "_came_bytes", "_door", "_head_timer", "_refused")

    def __init__(self, manager: Server, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=door.keepalive_s,
            lingering_time=LINGER_S,
            max_line_size=TARGET_BYTES,
            max_field_size=FIELD_BYTES,
            max_headers=FIELDS,
            **door.options,
        )
        self._door = door
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._came_bytes = 0
        self._at_work = self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if connected := transport.get_extra_info("socket"):
            end_stalled(connected, self._door.stall_s)
        self._door.seats.take()
        self._enter()

    def _enter(self) -> None:
        """Refuse a client if there are too many."""
        over = self._door.over
        self._refused = over > 0
        if over > TOLD:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.seats.leave()
        self._stop_timer()
        if self._body_timer is not None:
            self._body_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._say_goodbye(ServerFull())
            return
        self._came_bytes += len(data)
        self._feed(data)
        if not self._at_work:
            self._await_head()

    def _feed(self, data: bytes) -> None:
        """Give bytes to aiohttp's parser, but none that follow a last request: it would refuse that request, too."""
        end = data.find(b"\r\n\r\n") + 4
        if 4 <= end < len(data) and _LAST.search(data, 0, end) and not _BODY.search(data, 0, end):
            data = data[:end]
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Let an answer that is under way be finished for a client that has said all and closed its side."""
        if self._at_work and self.ssl_context is None:
            self.close()
            return True
        return False

    def begin(self, body: StreamReader) -> None:
        """Note that a whole head has been read and is being answered."""
        self._at_work = True
        self._stop_timer()
        if not body.is_eof() and self._body_timer is None:
            self._await_body(body, self._came_bytes)

    def _await_body(self, body: StreamReader, before: int) -> None:
        """Look again in a while whether enough of a body has come; if it is we who do not read, that is no fault."""

        def look() -> None:
            self._body_timer = None
            if body.is_eof() or self.transport is None:
                return
            if self._came_bytes - before < BODY_BYTES and not self._reading_paused:
                self.transport.abort()
            else:
                self._await_body(body, self._came_bytes)

        self._body_timer = self._loop.call_later(BODY_S, look)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._at_work = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Say in a sentence what is wrong with a head; only faults of our own are written to the log."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        if isinstance(exc, LineTooLong):
            return self._door.refusal(TargetTooLong() if exc.args[1] == TARGET_BYTES else HeadTooLarge())
        return self._door.refusal(BadRequest("The request is not HTTP as RFC 9112 writes it."))

    def _say_goodbye(self, error: ServerError) -> None:
        """Refuse once, and end a little later."""
        self._stop_timer()
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        transport.write(self._door.words(error))
        if transport.can_write_eof():
            transport.write_eof()
        self.close()
        self._loop.call_later(FAREWELL_S, transport.abort)

    def _await_head(self) -> None:
        """Give the rest of a head its time from now on, if it has none yet."""
        if self._head_timer is None and self.transport is not None:
            self._head_timer = self._loop.call_later(self._door.head_s, self._say_goodbye, HeadTooSlow())

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def end_stalled(connected: socket.socket, stall_s: float) -> None:
    """Let the kernel end a connection whose peer takes nothing for so long (tcp(7), TCP_USER_TIMEOUT)."""
    if hasattr(socket, "TCP_USER_TIMEOUT") and connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_s * 1000))


class Site(web.SockSite):
    """A listening socket whose connections are ours."""

    def __init__(
        self,
        runner: web.BaseRunner,
        listening: socket.socket,
        make: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(runner, listening, ssl_context=tls, backlog=BACKLOG)
        self._make, self._listening, self._tls = make, listening, tls

    async def start(self) -> None:
        await web.BaseSite.start(self)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make, sock=self._listening, ssl=self._tls, backlog=BACKLOG)


def make_connections(
    server: Server, door: Door, make: Callable[..., Connection] = Connection
) -> Callable[..., Connection]:
    """Return what makes a connection for every client of `server`."""
    server.request_factory = partial(_strict_request, server.request_factory)
    return partial(make, server, door, asyncio.get_running_loop())


def _strict_request(
    make: Callable[..., web.BaseRequest], message: Any, payload: Any, protocol: Connection, *rest: Any
) -> web.BaseRequest:
    """Make a request that is answered as HTTP/1.1, whatever it says it is (RFC 9110, 2.5)."""
    protocol.begin(payload)
    strange = message.version.major != 1
    if strange or message.method == _NO_REQUEST:
        message = message._replace(version=HttpVersion11, should_close=True)
    request = make(message, payload, protocol, *rest)
    request[STRANGE_VERSION] = strange
    return request


@web.middleware
async def refuse_other_versions(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.get(STRANGE_VERSION):
        raise OtherVersion
    return await handler(request)
