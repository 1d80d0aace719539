from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.capability import Seal, redacted
from mediaserver.errors import SessionUnknown

SEAL = Seal(b"k" * 32)
ISSUED = SEAL.issue(1_800_000_000)


def test_a_capability_is_text_for_a_path_and_never_the_same():
    assert ISSUED.replace("-", "").replace("_", "").isalnum()
    assert len({SEAL.issue(1_800_000_000) for _ in range(100)}) == 100


def test_the_name_it_is_kept_under_does_not_show_it():
    assert ISSUED not in SEAL.check(ISSUED)
    assert SEAL.check(ISSUED) == SEAL.check(ISSUED)


@given(st.integers(0, len(ISSUED) - 1), st.sampled_from("ABab01-_=.é\x00 "))
def test_any_changed_sign_makes_it_unknown(place: int, sign: str):
    changed = ISSUED[:place] + sign + ISSUED[place + 1 :]
    if changed != ISSUED:
        with pytest.raises(SessionUnknown):
            SEAL.check(changed)


@given(st.text(max_size=80))
def test_any_other_text_is_unknown(text: str):
    with pytest.raises(SessionUnknown):
        SEAL.check(text)


@pytest.mark.parametrize("text", [ISSUED + "=", ISSUED + "\n", " " + ISSUED, ISSUED[:-1], ISSUED + "AAAA", ""])
def test_what_is_added_or_missing_makes_it_unknown(text: str):
    with pytest.raises(SessionUnknown):
        SEAL.check(text)


def test_the_key_is_made_once_and_another_key_knows_nothing_of_it(tmp_path: Path):
    first = Seal.in_folder(tmp_path / "state").issue(1)
    assert Seal.in_folder(tmp_path / "state").check(first)
    with pytest.raises(SessionUnknown):
        Seal.in_folder(tmp_path / "other").check(first)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (f"/s/{ISSUED}/part2/stream.mpd", "/s/…/part2/stream.mpd"),
        (f"/s/{ISSUED}", "/s/…"),
        (f"https://film.example/prefix/s/{ISSUED}?x=1", "https://film.example/prefix/s/…?x=1"),
        ("/part2/stream.mpd", "/part2/stream.mpd"),
    ],
)
def test_no_capability_is_shown(path: str, shown: str):
    assert redacted(path) == shown
