"""Sends what a plan says: headers first, then the parts of a file by sendfile or of a text from memory."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from mediaserver.errors import ServerError
from mediaserver.library import Manifest, PublishedFile, open_plain
from mediaserver.problems import problem
from mediaserver.ranges import Part, Plan, Representation, plan

SENT_BYTES = web.ResponseKey("sent_bytes", int)
_CHUNK = 256 * 1024


class PreconditionFailed(ServerError):
    code = "precondition_failed"
    status = 412
    hint = "Ask again without If-Match or If-Unmodified-Since to get the present bytes."

    def __init__(self) -> None:
        super().__init__("The file is not the one that the request is about.")


class RangeUnsatisfiable(ServerError):
    code = "range_unsatisfiable"
    status = 416
    hint = "Content-Range names the length of the file."

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes; none of those asked for is among them.")


@dataclass(frozen=True, slots=True)
class Slice:
    """`size` bytes of a file from `offset`."""

    path: Path
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """Raises NotFound."""
        return open_plain(self.path)


async def send_manifest(request: web.Request, manifest: Manifest) -> web.StreamResponse:
    """Answer with a text from memory, packed for whoever takes it so."""
    manifest = manifest.for_client(request.headers.get("Accept-Encoding"))
    planned = plan(request.method, fields(request), manifest.representation)
    if planned.status in (412, 416):
        return _refusal(planned, manifest.representation)
    pieces = [piece for part in planned.parts for piece in (part.head, manifest.body[part.start :][: part.size])]
    response = web.Response(status=planned.status, headers=planned.headers, body=b"".join([*pieces, planned.tail]))
    return _for_head(response, planned) if request.method == "HEAD" else response


async def send_published(request: web.Request, file: PublishedFile) -> web.StreamResponse:
    """Answer with an immutable file of a version, whole or in part; raises NotFound."""
    planned = plan(request.method, fields(request), file.representation)
    if planned.status in (412, 416):
        return _refusal(planned, file.representation)
    with closing(file.open()) as opened:
        return await _send(request, planned, opened, 0)


async def send_slice(
    request: web.Request, piece: Slice, representation: Representation, headers: dict[str, str]
) -> web.StreamResponse:
    """Answer with a piece of a file, as a representation of its own; raises NotFound before anything is sent."""
    planned = plan(request.method, fields(request), representation)
    with closing(piece.open()) as opened:
        return await _send(request, planned, opened, piece.offset, headers)


def fields(request: web.Request) -> dict[str, str]:
    """Return the request's headers by lower-case name, several lines of one name joined (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for written, value in request.headers.items():
        name = written.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _refusal(planned: Plan, representation: Representation) -> web.Response:
    """Say in words why a condition or a range came to nothing."""
    error = PreconditionFailed() if planned.status == 412 else RangeUnsatisfiable(representation.size)
    return problem(error, {name: value for name, value in planned.headers if name != "Content-Length"})


def _for_head(response: web.Response, planned: Plan) -> web.Response:
    response.headers["Content-Length"] = dict(planned.headers).get("Content-Length", "0")
    return response


async def _send(
    request: web.Request, planned: Plan, file: BinaryIO, base: int, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    response = web.StreamResponse(status=planned.status, headers=dict(planned.headers) | (headers or {}))
    await response.prepare(request)
    sent = 0
    for part in planned.parts:
        if part.head:
            await response.write(part.head)
        await _send_part(request, response, file, base, part)
        sent += len(part.head) + part.size
    if planned.tail:
        await response.write(planned.tail)
    await response.write_eof()
    response[SENT_BYTES] = sent + len(planned.tail)
    return response


async def _send_part(request: web.Request, response: web.StreamResponse, file: BinaryIO, base: int, part: Part) -> None:
    """Let the kernel copy the bytes where it can; a TLS connection cannot."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("The client has gone.")
    if transport.get_extra_info("sslcontext") is not None:
        await _copy_part(response, file, base, part)
        return
    loop = asyncio.get_running_loop()
    try:
        sent = await loop.sendfile(transport, file, base + part.start, part.size, fallback=False)
    except (asyncio.SendfileNotAvailableError, NotImplementedError):
        await _copy_part(response, file, base, part)
        return
    if sent != part.size:
        # The promised length can no longer be kept; a closed connection tells the client so.
        raise ConnectionResetError("The file is shorter than it was when it was published.")


async def _copy_part(response: web.StreamResponse, file: BinaryIO, base: int, part: Part) -> None:
    file.seek(base + part.start)
    left = part.size
    while left:
        block = await asyncio.to_thread(file.read, min(_CHUNK, left))
        if not block:
            raise ConnectionResetError("The file is shorter than it was when it was published.")
        await response.write(block)
        left -= len(block)
