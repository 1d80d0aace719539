"""What a viewer agrees to before anything is made of their face: one text for this installation, and two boxes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from string import Template
from typing import Any

from mediaserver.errors import ConsentMissing
from mediaserver.settings import Consent, Settings

# Raise it with every change of the words below.
VERSION = "1"
LANG = "en"

BOXES = {
    "own_face": "The photo shows my own face, and I want it to appear in the scene.",
    "age": "I am old enough to agree to this myself where I live.",
}

_TEXT = Template("""\
Your photo is used for one thing: $purpose.

What happens to it. The photo is sent to this server and kept in its memory only; it is never written to disk. The \
server finds the face, moves its mouth to the words of the scene, and makes short pieces of video of it. Every one of \
them carries a visible "AI" label. No face is recognised, compared or used to train anything, and nobody else is shown \
your scene: its address is a secret that only your browser holds.

How long it is kept. Photo and video are deleted at once when you press "Delete everything", otherwise $idle after \
you last used them, and $retention after you agreed at the latest.

Your choice. You can watch the film without it. You can take the photo again or delete everything at any time; the \
film then shows its own picture.

Responsible: $controller.$contact""")


@dataclass(frozen=True, slots=True)
class ConsentText:
    """The exact words that are shown, with their hash (SHA-256 of the text in UTF-8, as hex)."""

    text: str
    version: str = VERSION
    lang: str = LANG

    @classmethod
    def of(cls, settings: Settings) -> ConsentText:
        consent: Consent = settings.consent
        hours = min(consent.retention_h, settings.session_max_h)
        contact = f" Contact: {consent.contact}." if consent.contact else ""
        return cls(
            _TEXT.substitute(
                purpose=consent.purpose,
                idle=_duration(settings.session_idle_h),
                retention=_duration(hours),
                controller=consent.controller,
                contact=contact,
            )
        )

    @property
    def sha256(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        boxes = [{"id": box, "text": text} for box, text in BOXES.items()]
        return {"text": self.text, "version": self.version, "lang": self.lang, "sha256": self.sha256, "boxes": boxes}

    def require(self, answer: object) -> None:
        """Raise ConsentMissing unless `answer` agrees to exactly this text and has every box ticked."""
        given = answer if isinstance(answer, Mapping) else {}
        named, boxes = given.get("consent"), given.get("boxes")
        if not isinstance(named, str) or not named:
            raise ConsentMissing("the hash of the text is missing.")
        if not hmac.compare_digest(named.encode(), self.sha256.encode()):
            raise ConsentMissing("it was given to another text than the present one.")
        ticked = boxes if isinstance(boxes, Mapping) else {}
        missing = [box for box in BOXES if ticked.get(box) is not True]
        if missing:
            raise ConsentMissing(f"not every box is ticked ({', '.join(missing)}).")


def _duration(hours: float) -> str:
    minutes = round(hours * 60)
    if minutes < 120:
        return f"{max(1, minutes)} minute{'' if minutes <= 1 else 's'}"
    return f"{minutes / 60:g} hours"
