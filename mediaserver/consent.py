"""What a viewer agrees to before anything is made of their face: one text for this installation, and two boxes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from string import Template
from types import MappingProxyType
from typing import Any

from mediaserver.errors import ConsentMissing
from mediaserver.settings import Consent, Settings

# Raise it with every change of the words below.
VERSION = "2"
LANG = "en"
NOBODY = "whoever runs this server on this machine"
"""Who is responsible on a server that only its own machine can reach, if the settings do not say."""

_TEXT = Template("""\
Your photo is used for one thing: $purpose.

What happens to it. The photo is sent to this server and kept in its memory only; it is never written to disk. The \
server finds the face, moves its mouth to the words of the scene, and makes short pieces of video of it. Every one of \
them carries a visible "AI" label, an invisible mark and, as a finished file, signed credentials that say how it was \
made, not of whom. No face is recognised, compared or used to train anything, and nobody else is shown your scene: its \
address is a secret that only your browser holds.

How long it is kept. Photo and video are deleted at once when you delete them, otherwise $idle after you last used \
them, and $retention after you agreed at the latest. What the computer measured in your face is gone as soon as your \
scene is made.

Taking it back. $withdrawal. You can watch the film without any of this, and take the photo again whenever you like.

Responsible: $controller.$contact""")


def boxes_for(age: int) -> dict[str, str]:
    """Return the boxes to be ticked, by id; none of them is ticked beforehand."""
    return {
        "own_face": "This is my own face, and I want it to appear in the scene.",
        "age": f"I am {age} or older, or my guardian agrees.",
    }


@dataclass(frozen=True, slots=True)
class ConsentText:
    """The exact words that are shown, with their hash (SHA-256 of the text in UTF-8, as hex), and the boxes."""

    text: str
    boxes: Mapping[str, str]
    version: str = VERSION
    lang: str = LANG

    @classmethod
    def of(cls, settings: Settings) -> ConsentText:
        consent: Consent = settings.consent
        hours = min(consent.retention_h, settings.session_max_h)
        contact = f" Contact: {consent.contact}." if consent.contact else ""
        text = _TEXT.substitute(
            purpose=consent.purpose,
            idle=_duration(settings.session_idle_h),
            retention=_duration(hours),
            withdrawal=consent.withdrawal[:1].upper() + consent.withdrawal[1:].rstrip("."),
            controller=consent.controller or NOBODY,
            contact=contact,
        )
        return cls(text, MappingProxyType(boxes_for(consent.age)))

    @property
    def sha256(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        boxes = [{"id": box, "text": text} for box, text in self.boxes.items()]
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
        missing = [box for box in self.boxes if ticked.get(box) is not True]
        if missing:
            raise ConsentMissing(f"not every box is ticked ({', '.join(missing)}).")

    def receipt(self, given_s: int, via: str = "page") -> Receipt:
        """Return what is noted of a consent given at `given_s` seconds since 1970."""
        boxes = sha256("\n".join(self.boxes.values()).encode()).hexdigest()
        return Receipt(self.sha256, self.version, self.lang, boxes, tuple(self.boxes), given_s, via)


@dataclass(frozen=True, slots=True)
class Receipt:
    """That somebody agreed: to which words, with which boxes, when and where; not who.

    It lies with the session and dies with it; the viewer's copy carries the server's seal. `via` is "page", or for the
    film's own client the operator's statement that it asks.
    """

    consent: str
    version: str
    lang: str
    boxes_sha256: str
    boxes: tuple[str, ...]
    given_s: int
    via: str

    def to_json(self) -> dict[str, Any]:
        return {
            "consent": self.consent,
            "version": self.version,
            "lang": self.lang,
            "boxes": list(self.boxes),
            "boxes_sha256": self.boxes_sha256,
            "given_s": self.given_s,
            "via": self.via,
        }


def _duration(hours: float) -> str:
    minutes = round(hours * 60)
    if minutes < 120:
        return f"{max(1, minutes)} minute{'' if minutes <= 1 else 's'}"
    return f"{minutes / 60:g} hours"
