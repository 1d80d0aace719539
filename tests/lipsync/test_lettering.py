"""Words as they are read: joined, in order, whole."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from lipsync.lettering import ABOVE, UNIT, joined_forms, shown_order, written


def test_arabic_letters_take_the_form_that_their_neighbours_give_them():
    forms = [unicodedata.decomposition(sign).split()[0] for sign in joined_forms("ذكاء")]
    assert forms == ["<isolated>", "<initial>", "<final>", "<isolated>"]


def test_lam_and_alef_become_one_sign():
    assert joined_forms("لا") == "\ufefb"
    assert joined_forms("الاصطناعي")[1] == "\ufefb"


def test_vowel_signs_are_left_out_and_other_scripts_untouched():
    assert joined_forms("مُ") == joined_forms("م")
    assert joined_forms("Généré par IA") == "Généré par IA"


def test_arabic_is_read_from_the_right_and_latin_inside_it_from_the_left():
    assert shown_order("اب")[::-1] == joined_forms("اب")
    assert shown_order("م (AI)").startswith("(AI) ")
    assert shown_order("AI م ب").startswith("AI ")


@pytest.mark.parametrize("text", ["ذكاء اصطناعي", "Généré", "Сделано ИИ"])
def test_every_letter_is_in_the_font_and_inside_its_room(text):
    ink = written(text)
    assert ink.shape[0] == ABOVE + UNIT + UNIT // 2
    assert 0.1 < (ink > 127).mean() < 0.6
    assert ink[[0, -1]].max() == 0
    assert not any(np.array_equal(written(letter), written("?")) for letter in set(joined_forms(text)) - {" "})


def test_joined_letters_touch():
    """Alef joins nothing after it: four letters in two pieces, and the pieces of single letters are more."""
    assert _pieces(written("كلم")) < sum(_pieces(written(letter)) for letter in ["ك", "ل", "م"])


def _pieces(ink: np.ndarray) -> int:
    columns = (ink > 127).any(axis=0)
    return int((np.diff(np.concatenate([[0], columns.astype(int)])) == 1).sum())
