"""A viewer's own manifests, for the fast path: the session is looked up at every request, the text is written once."""

from __future__ import annotations

from encoder.errors import EncoderError
from mediaserver.errors import ServerError
from mediaserver.library import Manifest
from mediaserver.manners import Manners
from mediaserver.ready import Ready, ready_manifest
from mediaserver.scenes import own_manifest
from mediaserver.sessions import Sessions

_MOST = 1024
# The ordinary path measures; here less than half of the last digit has passed.
_TIMING = (("Server-Timing", "app;dur=0.0"),)


class OwnManifests:
    """Finds what is ready under /s/<capability>/; no capability and no address is kept."""

    def __init__(self, sessions: Sessions, manners: Manners) -> None:
        self._sessions, self._manners = sessions, manners
        self._ready: dict[tuple[str, str, str], tuple[Manifest, Ready]] = {}

    def find(self, path: bytes) -> Ready | None:
        """Return a manifest that the living session has asked for before; None is the ordinary path's to answer."""
        _, _, capability, *names = path.decode("ascii").split("/")
        if not 2 <= len(names) <= 3 or b"%" in path:
            return None
        session = self._sessions.at_hand(capability)
        pin = session.pins.get(names[0]) if session else None
        if session is None or pin is None or not pin.asked:
            return None
        try:
            edition = self._sessions.edition(session, names[0], names[1] if len(names) == 3 else None)
            manifest = own_manifest(edition, names[-1], of_version=len(names) == 3)
        except (ServerError, EncoderError):
            return None
        key = (names[0], edition.presentation.version, names[-1])
        found = self._ready.get(key)
        if found is None or found[0] is not manifest:
            if len(self._ready) >= _MOST:
                self._ready.clear()
            found = self._ready[key] = manifest, ready_manifest(manifest, self._manners, _TIMING)
        return found[1]
