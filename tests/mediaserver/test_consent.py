from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mediaserver.app import check_public, serve
from mediaserver.consent import ConsentText
from mediaserver.errors import ConsentIncomplete
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


def test_the_text_names_whoever_is_responsible_what_for_how_long_and_how_to_take_it_back():
    consent = Consent(controller="Film House", contact="mail@film.example", purpose="one scene", withdrawal="ring us")
    said = text(consent=consent).text
    for words in ("one scene", "2 hours", "24 hours", "Ring us.", "Film House", "mail@film.example"):
        assert words in said
    assert consent.missing() == []


def test_the_age_in_the_box_is_that_of_the_settings():
    assert text(consent=Consent(age=14)).boxes["age"] == "I am 14 or older, or my guardian agrees."
    assert text().boxes["age"] == "I am 16 or older, or my guardian agrees."


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "film.example", ""])
def test_a_public_address_is_refused_while_the_consent_names_nobody(host: str):
    settings = Settings(host=host, consent=Consent(controller="Film House", contact=" "))
    with pytest.raises(ConsentIncomplete, match=r"consent\.contact") as refused:
        check_public(settings)
    assert 'contact = "' in refused.value.hint
    check_public(replace(settings, consent=Consent(controller="Film House", contact="mail@film.example")))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_this_machine_alone_needs_no_names(host: str):
    check_public(Settings(host=host))


def test_a_server_for_the_public_does_not_start_without_them():
    with pytest.raises(ConsentIncomplete):
        serve(Settings(host="0.0.0.0", port=0), watch=False)


def test_a_receipt_says_to_what_and_when_and_not_who():
    agreed = text(consent=Consent(age=18))
    receipt = agreed.receipt(1_800_000_000)
    assert (receipt.consent, receipt.given_s, receipt.boxes) == (agreed.sha256, 1_800_000_000, ("own_face", "age"))
    assert receipt.boxes_sha256 != text().receipt(0).boxes_sha256
    assert set(receipt.to_json()) == {"consent", "version", "lang", "boxes", "boxes_sha256", "given_s", "via"}
