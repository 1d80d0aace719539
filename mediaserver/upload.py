"""A photo on its way in: read piece by piece into memory, never into a file, and never beyond the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import BodyPartReader, web

from lipsync.errors import NotAPicture, PictureTooLarge
from mediaserver.errors import ServerError

T = TypeVar("T")
_BLOCK = 64 * 1024
# Whoever takes longer holds a place that another viewer could have.
SLOWEST_S = 60.0


class TooSlow(ServerError):
    """A photo that does not come to its end (HTTP 408)."""

    code = "too_slow"
    status = 408
    hint = "Try again, with a smaller photo or a better connection."

    def __init__(self) -> None:
        super().__init__(f"The photo did not arrive within {SLOWEST_S:.0f} seconds.")


class CutOff(ServerError):
    """A body that ends before its declared length."""

    code = "cut_off"
    status = 400
    hint = "Send the photo again."

    def __init__(self) -> None:
        super().__init__("The photo did not arrive whole.")


async def read_named_photo(request: web.Request, limit_bytes: int) -> tuple[str, bytes]:
    """Return file name and bytes of the first file of a form; raises what `read_photo` does."""
    if request.content_type != "multipart/form-data":
        raise NotAPicture(f"it was sent as {request.content_type}.")
    return await _in_time(_read_form(request, limit_bytes))


async def read_photo(request: web.Request, limit_bytes: int) -> bytes:
    """Return the bytes of the photo, sent as the body itself or as the first file of a form.

    Raises NotAPicture for any other content, PictureTooLarge above the limit, TooSlow and CutOff. (`request.post()`
    would write parts above 1 MiB to a temporary file; a photo must never be on disk.)
    """
    return await _in_time(_read(request, limit_bytes))


async def _in_time(reading: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(SLOWEST_S):
            return await reading
    except TimeoutError:
        raise TooSlow from None
    except web.RequestPayloadError:
        raise CutOff from None


def _too_large(limit_bytes: int) -> PictureTooLarge:
    return PictureTooLarge(f"more than {limit_bytes:,} bytes")


async def _read_form(request: web.Request, limit_bytes: int) -> tuple[str, bytes]:
    if request.content_length is not None and request.content_length > limit_bytes + _BLOCK:
        raise _too_large(limit_bytes)
    photo, part = bytearray(), await _first_file(request)
    while block := await part.read_chunk(_BLOCK):
        photo += part.decode(block)
        if len(photo) > limit_bytes:
            raise _too_large(limit_bytes)
    return part.filename or "", bytes(photo)


async def _read(request: web.Request, limit_bytes: int) -> bytes:
    kind = request.content_type
    if kind == "multipart/form-data":
        return (await _read_form(request, limit_bytes))[1]
    if request.content_length is not None and request.content_length > limit_bytes + _BLOCK:
        raise _too_large(limit_bytes)
    photo = bytearray()
    if kind.startswith("image/") or kind == "application/octet-stream":
        async for block in request.content.iter_chunked(_BLOCK):
            photo += block
            if len(photo) > limit_bytes:
                raise _too_large(limit_bytes)
    else:
        raise NotAPicture(f"it was sent as {kind}.")
    return bytes(photo)


async def _first_file(request: web.Request) -> BodyPartReader:
    try:
        form = await request.multipart()
        while part := await form.next():
            if isinstance(part, BodyPartReader) and (part.filename or part.name in ("photo", "image")):
                return part
    except (ValueError, AssertionError) as error:
        raise NotAPicture("the form is malformed.") from error
    raise NotAPicture("the form holds no file.")
