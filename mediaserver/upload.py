"""A photo on its way in: read piece by piece into memory, never into a file, and never beyond the limit."""

from __future__ import annotations

from aiohttp import BodyPartReader, web

from lipsync.errors import NotAPicture, PictureTooLarge

_BLOCK = 64 * 1024


async def read_photo(request: web.Request, limit_bytes: int) -> bytes:
    """Return the bytes of the photo, sent as the body itself or as the first file of a form.

    Raises NotAPicture for any other content and PictureTooLarge above the limit. (`request.post()` would write parts
    above 1 MiB to a temporary file; a photo must never be on disk.)
    """
    kind = request.content_type
    too_large = PictureTooLarge(f"more than {limit_bytes:,} bytes")
    if request.content_length is not None and request.content_length > limit_bytes + _BLOCK:
        raise too_large
    photo = bytearray()
    if kind == "multipart/form-data":
        part = await _first_file(request)
        while block := await part.read_chunk(_BLOCK):
            photo += part.decode(block)
            if len(photo) > limit_bytes:
                raise too_large
    elif kind.startswith("image/") or kind == "application/octet-stream":
        async for block in request.content.iter_chunked(_BLOCK):
            photo += block
            if len(photo) > limit_bytes:
                raise too_large
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
