"""The secret in a viewer's address: random, sealed by the server, and stored nowhere in readable form."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

from mediaserver.errors import SessionUnknown
from mediaserver.vault import not_to_be_kept, private_file, private_folder

_RANDOM, _TIME, _SEAL = 16, 5, 18
_LENGTH = (_RANDOM + _TIME + _SEAL) * 4 // 3
_IN_PATH = re.compile(r"(/s/|/video/)[^/?# ]+")


class Seal:
    """Issues capabilities and tells its own from forged ones, by HMAC-SHA-256 under a key that never leaves state/.

    So a capability whose session is deleted is still known as once issued (410), with no memory of it; one that was
    never issued is not (404).
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def in_folder(cls, state: Path) -> Seal:
        """Use the key in `state`/keys, made at the first start."""
        return cls(
            private_file(
                not_to_be_kept(private_folder(state / "keys")) / "capability.key", lambda: secrets.token_bytes(32)
            )
        )

    def issue(self, now_s: int) -> str:
        """Return a new capability: 128 random bits, the time of issue and the seal, as URL-safe text."""
        body = secrets.token_bytes(_RANDOM) + now_s.to_bytes(_TIME, "big")
        return urlsafe_b64encode(body + self._seal(body)).decode()

    def check(self, capability: str) -> str:
        """Return the name under which the session is kept; raises SessionUnknown for what was never issued."""
        try:
            raw = urlsafe_b64decode(capability.encode("ascii"))
        except ValueError:
            raise SessionUnknown from None
        body, seal = raw[: _RANDOM + _TIME], raw[_RANDOM + _TIME :]
        if len(capability) != _LENGTH or not hmac.compare_digest(seal, self._seal(body)):
            raise SessionUnknown
        return sha256(body).hexdigest()

    def over(self, text: str) -> str:
        """Return the seal of a text that is given away, as hexadecimal text."""
        return hmac.digest(self._key, b"text\0" + text.encode(), "sha256").hex()

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_SEAL]


def redacted(path: str) -> str:
    """Return a path fit for a log: whoever reads the log must not be able to open a viewer's session."""
    return _IN_PATH.sub(r"\1…", path)
