from __future__ import annotations

from pathlib import Path

from mediaserver.consent import ConsentText
from mediaserver.settings import Consent, Settings


def text(**settings: object) -> ConsentText:
    return ConsentText.of(Settings(media=Path("m"), state=Path("s"), **settings))  # type: ignore[arg-type]


def test_the_text_says_what_this_installation_does():
    consent = Consent(controller="Film House", contact="mail@film.example", purpose="one scene", retention_h=12)
    said = text(consent=consent, session_idle_h=0.5, session_max_h=24.0).text
    for words in ("Film House", "mail@film.example", "one scene", "30 minutes", "12 hours"):
        assert words in said
    assert "$" not in said


def test_the_shorter_of_two_limits_is_promised():
    assert "6 hours" in text(session_max_h=6.0).text


def test_other_words_have_another_hash():
    assert text().sha256 != text(consent=Consent(controller="Another")).sha256
    assert text().sha256 == text().sha256


def test_a_dollar_sign_in_a_setting_is_only_a_dollar_sign():
    assert "$purpose" in text(consent=Consent(controller="$purpose")).text
