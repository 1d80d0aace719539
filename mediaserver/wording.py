"""The words of the visible label, in the viewer's language."""

from __future__ import annotations

import re
from typing import cast, get_args

from lipsync.protocols import Corner, Stamp
from mediaserver.errors import SettingsError
from mediaserver.settings import Settings

# Two letters that are read at once, as broadcasters and regulators use them; "AI" everywhere else.
SHORT = {"de": "KI", "fr": "IA", "es": "IA", "it": "IA", "pt": "IA", "ca": "IA", "gl": "IA", "ro": "IA"}
SHORT |= {"ar": "ذكاء اصطناعي"}
LONGEST = 24
_WRITABLE = re.compile(r"[ -~\u00a1-\u024f\u0370-\u04ff\u0600-\u06ff]*")
"""Latin, Greek, Cyrillic and Arabic: what the label's font has."""


def stamp_for(settings: Settings, language: str = "") -> Stamp:
    """Return the label for a viewer whose language tag, or Accept-Language, is `language`."""
    spoken = re.split(r"[-_,;]", language.strip().lower())[0]
    return Stamp(settings.label_text or SHORT.get(spoken, "AI"), cast("Corner", settings.label_place))


def check_label(settings: Settings) -> None:
    """Raise SettingsError if the label could not be written as it is asked for."""
    text, places = settings.label_text, get_args(Corner)
    if not (_WRITABLE.fullmatch(text) and text.isprintable() and len(text) <= LONGEST) or (text and not text.strip()):
        scripts = "Latin, Greek, Cyrillic or Arabic"
        raise SettingsError(f"label_text = {text!r}: it must be 1 to {LONGEST} {scripts} letters, or empty.")
    if settings.label_place not in places:
        raise SettingsError(f"label_place = {settings.label_place!r}: it must be one of {', '.join(places)}.")
