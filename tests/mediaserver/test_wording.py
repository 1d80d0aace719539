"""What the label says, and to whom."""

from __future__ import annotations

import pytest

from lipsync.protocols import Stamp
from mediaserver.errors import SettingsError
from mediaserver.settings import Settings
from mediaserver.wording import check_label, stamp_for
from tests.mediaserver.conftest import Publish, Serve


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("", "AI"),
        ("en-GB", "AI"),
        ("de", "KI"),
        ("fr-CA,en;q=0.5", "IA"),
        ("pt_BR", "IA"),
        ("ar", "ذكاء اصطناعي"),
        ("<x>", "AI"),
    ],
)
def test_the_label_speaks_the_viewers_language(language: str, text: str):
    assert stamp_for(Settings(), language) == Stamp(text, "top-right")


def test_the_operators_words_and_place_go_first():
    settings = Settings(label_text="Made by AI", label_place="bottom-left")
    check_label(settings)
    assert stamp_for(settings, "de") == Stamp("Made by AI", "bottom-left")


@pytest.mark.parametrize(
    "wrong", [{"label_text": " "}, {"label_text": "生成"}, {"label_text": "x" * 25}, {"label_place": "middle"}]
)
def test_a_label_that_could_not_be_seen_is_refused(wrong: dict[str, str]):
    with pytest.raises(SettingsError, match="label_"):
        check_label(Settings(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "body", "text"), [({"Accept-Language": "de-AT"}, {}, "KI"), ({}, {"lang": "fr"}, "IA")]
)
async def test_a_session_s_scenes_carry_its_words(publish: Publish, serve: Serve, headers, body, text: str):
    publish()
    served = await serve()
    async with served.client.get(served.url + "consent") as answer:
        consent = await answer.json()
    body |= {"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}
    async with served.client.post(served.url + "sessions", json=body, headers=headers) as answer:
        session = (await answer.json())["session"].lstrip("/")
    await served.get(f"{session}part2/stream.mpd")
    await served.put_photo(session)
    await served.until(session, "ready")
    assert {take.stamp.text for take in served.worker.takes} == {text}
    assert len({take.render_id for take in served.worker.takes}) == 1
