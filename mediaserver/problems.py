"""The one place where an exception becomes an HTTP answer: JSON with a code, a sentence and a hint."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from encoder.errors import EncoderError
from lipsync.errors import LipsyncError, NotAPicture, PhotoRefused, PictureTooLarge, WorkerDied
from mediaserver.capability import redacted
from mediaserver.errors import BadRequest, NotFound, ServerError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RETRY_S = 30
REFUSAL_BYTES = 1024

_log = logging.getLogger(__name__)
_LIPSYNC_STATUS: dict[type[LipsyncError], int] = {
    NotAPicture: 415,
    PictureTooLarge: 413,
    PhotoRefused: 422,
    WorkerDied: 503,
}


class MethodNotAllowed(ServerError):
    code = "method_not_allowed"
    status = 405

    def __init__(self, method: str, allowed: set[str]) -> None:
        super().__init__(f"{method} is not possible here.")
        self.allowed = ", ".join(sorted(allowed))
        self.hint = f"Possible are: {self.allowed}."


class TooLarge(ServerError):
    code = "too_large"
    status = 413
    hint = "Send less; the hint on the page names the limit."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"More than {limit_bytes:,} bytes are not taken here.")


class Unexpected(ServerError):
    code = "unexpected"
    hint = "This is a fault of the server, and it has been written to its log. Try again."

    def __init__(self) -> None:
        super().__init__("Something went wrong here that should not.")


def problem(error: ServerError | LipsyncError | EncoderError, headers: dict[str, str] | None = None) -> web.Response:
    """Return the answer that tells a client of `error`."""
    status = _status(error)
    body: dict[str, Any] = {"code": error.code, "sentence": str(error), "hint": error.hint}
    text = json.dumps(body)
    if isinstance(error, PhotoRefused):
        # as long as every other refusal: logs, a proxy's too, have the length of each answer
        text = json.dumps(body | {"verdict": error.verdict}).ljust(REFUSAL_BYTES)
    told = {"Cache-Control": "no-store"} | (headers or {})
    response = web.Response(text=text, status=status, headers=told, content_type="application/json")
    if status == 503 or hasattr(error, "retry_s"):
        response.headers["Retry-After"] = str(getattr(error, "retry_s", RETRY_S))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allowed
    return response


def _status(error: Exception) -> int:
    if isinstance(error, ServerError):
        return error.status
    return next((status for kind, status in _LIPSYNC_STATUS.items() if isinstance(error, kind)), 500)


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request end in an answer, whatever its handler raises."""
    try:
        return await handler(request)
    except PhotoRefused as error:
        return problem(PhotoRefused.of(error.verdict, request.headers.get("Accept-Language", "")))
    except (ServerError, LipsyncError, EncoderError) as error:
        if _status(error) == 500:
            _log.error("%s %s: %s", request.method, redacted(request.path), error)
        return problem(error)
    except web.HTTPException as answer:
        return problem(_translated(request, answer))
    except ConnectionError:
        raise
    except Exception:
        if request.transport is None or request.writer.output_size:
            raise
        _log.exception("%s %s", request.method, redacted(request.path))
        return problem(Unexpected())


def _translated(request: web.Request, answer: web.HTTPException) -> ServerError:
    """Say in our words what aiohttp found out before any handler of ours was asked."""
    if isinstance(answer, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(request.method, answer.allowed_methods)
    if isinstance(answer, web.HTTPRequestEntityTooLarge):
        return TooLarge(request.client_max_size)
    if isinstance(answer, web.HTTPNotFound):
        return NotFound(redacted(request.path)[:200])
    if answer.status < 500:
        return BadRequest(answer.reason)
    return Unexpected()
