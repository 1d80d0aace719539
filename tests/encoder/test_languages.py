"""Whatever an editor or a program calls a language, viewers get its shortest tag."""

from __future__ import annotations

import pytest

from encoder.languages import shortened


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        ("fra", "fr"),
        ("fre", "fr"),
        ("FRA", "fr"),
        ("ar", "ar"),
        ("ara-EG", "ar-EG"),
        ("zho-hant-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("gsw", "gsw"),
        ("und", "und"),
    ],
)
def test_a_tag_is_as_short_as_it_can_be(said: str, tag: str):
    assert shortened(said) == tag


@pytest.mark.parametrize("said", ["", "slot", "English (UK)", "../x", "e", "en_US"])
def test_what_is_no_tag_is_no_language(said: str):
    assert shortened(said) is None
