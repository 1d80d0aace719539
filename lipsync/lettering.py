"""Words as ink: any Latin, Greek, Cyrillic or Arabic text, shaped and ordered as it is read, in a font of the cache.

Arabic letters are replaced by their presentation forms (The Unicode Standard, section 9.2, Arabic cursive joining; the
forms are those of its own character data); order follows the parts of UAX #9 that one line without numbers needs.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.tools import cache_folder
from lipsync.errors import ModelMissing

FONT = "fonts/DejaVuSans-Bold.ttf"
UNIT = 128
"""Height of a capital, in pixels, at which words are written."""
ABOVE = UNIT * 3 // 8
"""Room over capitals for accents and the signs of alef."""
MIRRORED = str.maketrans("()[]<>«»", ")(][><»«")


def shown_order(text: str) -> str:
    """Return the characters from left to right as they are to be drawn, Arabic ones in their joined forms."""
    joined = joined_forms(text)
    runs: list[tuple[bool, str]] = []
    for backwards, character in zip(_directions(joined), joined, strict=True):
        if runs and runs[-1][0] == backwards:
            runs[-1] = (backwards, runs[-1][1] + character)
        else:
            runs.append((backwards, character))
    turned = [run[::-1].translate(MIRRORED) if backwards else run for backwards, run in runs]
    return "".join(turned[::-1] if _begins_backwards(joined) else turned)


def _strong(character: str) -> bool | None:
    """True for right-to-left, False for left-to-right, None for what has no direction of its own."""
    kind = unicodedata.bidirectional(character)
    return True if kind in ("R", "AL") else False if kind in ("L", "EN", "AN") else None


def _begins_backwards(text: str) -> bool:
    return next((way for c in text if (way := _strong(c)) is not None), False)


def _directions(text: str) -> list[bool]:
    """Return the direction of every character; between two of one direction it is that, else the line's own."""
    own, base = [_strong(c) for c in text], _begins_backwards(text)
    before, after, last = [], [], base
    for way in own:
        last = last if way is None else way
        before.append(last)
    last = base
    for way in reversed(own):
        last = last if way is None else way
        after.append(last)
    after.reverse()
    return [a if a == b else base for a, b in zip(before, after, strict=True)]


def joined_forms(text: str) -> str:
    """Return a text with every Arabic letter in the form that its neighbours give it; vowel signs are left out."""
    forms = _forms()
    letters = [c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Mn"]
    pairs: list[str] = []
    for letter in letters:
        if pairs and ("isolated", pairs[-1] + letter) in forms and len(pairs[-1]) == 1:
            pairs[-1] += letter  # lam and alef are one sign
        else:
            pairs.append(letter)
    done = []
    for n, letter in enumerate(pairs):
        before = n > 0 and ("initial", pairs[n - 1]) in forms and ("final", letter) in forms
        after = n + 1 < len(pairs) and ("initial", letter) in forms and ("final", pairs[n + 1]) in forms
        form = {(False, False): "isolated", (False, True): "initial", (True, True): "medial", (True, False): "final"}
        done.append(forms.get((form[before, after], letter), letter))
    return "".join(done)


@cache
def _forms() -> dict[tuple[str, str], str]:
    """Return the presentation form of every (form, letter), and of lam with alef, from Unicode's own data."""
    forms = {}
    for code in (*range(0xFB50, 0xFBFF), *range(0xFE80, 0xFEFD)):
        form, _, letters = unicodedata.decomposition(chr(code)).partition(" ")
        text = "".join(chr(int(letter, 16)) for letter in letters.split())
        if form.strip("<>") in ("isolated", "initial", "medial", "final") and len(text) in (1, 2):
            forms[form.strip("<>"), text] = chr(code)
    return forms


def written(text: str) -> NDArray[np.uint8]:
    """Return a line's ink, cut to its width, from ABOVE over the capitals to UNIT // 2 below the line.

    Raises ModelMissing if `mediaserver setup` has not fetched the font.
    """
    face, size = _face()
    canvas = np.zeros((4 * UNIT, UNIT * (2 + 2 * len(text))), np.uint8)
    cv2.putText(canvas, shown_order(text), (UNIT, 2 * UNIT), (255,), face, size, 0)
    columns = np.flatnonzero(canvas.max(axis=0) > 127)
    if not len(columns):
        return np.zeros((ABOVE + UNIT + UNIT // 2, 1), np.uint8)
    return np.ascontiguousarray(canvas[UNIT - ABOVE : 2 * UNIT + UNIT // 2, columns[0] : columns[-1] + 1])


@cache
def _face() -> tuple[cv2.FontFace, int]:
    """Return the font and the size at which its capitals are UNIT high."""
    path = cache_folder() / FONT
    if not path.is_file():
        raise ModelMissing(path.name)
    face = cv2.FontFace(str(path))
    trial = np.zeros((400, 400), np.uint8)
    cv2.putText(trial, "H", (50, 300), (255,), face, 200, 0)
    rows = np.flatnonzero(trial.max(axis=1) > 127)
    return face, round(200 * UNIT / len(rows))
