"""Who may change jobs from a page: whoever knows the key that lies in state/keys, from a page of this server alone."""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from mediaserver.errors import ServerError
from mediaserver.vault import not_to_be_kept, private_file, private_folder

FILE = "operator.key"


class OperatorUnknown(ServerError):
    """A request that only operators may make (RFC 6750, 3)."""

    code = "operator_unknown"
    status = 401
    hint = f"The key lies on the server's machine, in the file {FILE} of state/keys."

    def __init__(self) -> None:
        super().__init__("This needs the operator's key.")


class OtherOrigin(ServerError):
    """A request that a page of somebody else has made."""

    code = "other_origin"
    status = 403
    hint = "Use the editors' page of this server."

    def __init__(self) -> None:
        super().__init__("Jobs are not changed from pages of other servers.")


class Operators:
    """Knows the key of one installation; it is made the first time."""

    def __init__(self, state: Path) -> None:
        folder = not_to_be_kept(private_folder(state / "keys"))
        self._key = private_file(folder / FILE, lambda: secrets.token_urlsafe(24).encode())

    def knows(self, request: web.Request) -> bool:
        """Say whether the request carries the key as `Authorization: Bearer`."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._key.strip())

    def check(self, request: web.Request) -> None:
        """Raise OtherOrigin or OperatorUnknown unless an operator asks from a page of ours, or from no page."""
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise OtherOrigin
        if not self.knows(request):
            raise OperatorUnknown
