"""What is said of a file: one plain sentence for each thing that was looked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from encoder.tools import Tools
from lipsync.credentials import Issuer, own_issuer
from lipsync.findings import Findings, inspect
from lipsync.provenance import Statement, sign
from tests.lipsync.scenery import changed, clouds, encode
from tests.lipsync.test_markreader import NUMBER, SIZE, marked


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return own_issuer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, tools: Tools) -> Path:
    """A finished scene as it is handed out: marked and signed."""
    file = encode(marked(clouds(*SIZE, 1), NUMBER, SIZE), SIZE, tmp_path_factory.mktemp("scene") / "scene.mp4", tools)
    file.write_bytes(sign(file.read_bytes(), Statement("part2: you", NUMBER), issuer))
    return file


def test_a_scene_as_it_was_handed_out(scene: Path, issuer: Issuer, tools: Tools):
    found = inspect(scene, issuer.anchors, tools)
    assert found.made_from_a_face
    assert [sentence.partition(":")[0] for sentence in found.sentences] == [
        "The Content Credentials are whole",
        "They say",
        "An invisible mark was read between 0 s and 4 s",
        "The mark in the pictures is the one that the Content Credentials name.",
    ]
    assert "trusted here" in found.sentences[0]
    assert "made by AI" in found.sentences[1]
    assert "5eed1e55" in found.sentences[2]


def test_after_a_site_has_encoded_it_anew_the_mark_is_still_there(
    scene: Path, issuer: Issuer, tmp_path: Path, tools: Tools
):
    words = ("-map_metadata", "-1", "-vf", "scale=-2:360", "-c:v", "libx264", "-crf", "26")
    found = inspect(changed(scene, words, tmp_path / "shared.mp4", tools), issuer.anchors, tools)
    assert found.made_from_a_face
    assert found.credentials is None
    assert [sentence[:30] for sentence in found.sentences] == [
        "No Content Credentials are in ",
        "An invisible mark was read bet",
    ]


def test_credentials_that_were_moved_to_another_video(scene: Path, issuer: Issuer, tmp_path: Path, tools: Tools):
    other = tmp_path / "other.mp4"
    other.write_bytes(sign(scene.read_bytes(), Statement("part2: you", NUMBER ^ 1), issuer))
    found = inspect(other, issuer.anchors, tools)
    assert "belong to another video" in found.sentences[-1]


def test_a_changed_scene(scene: Path, issuer: Issuer, tmp_path: Path, tools: Tools):
    data = bytearray(scene.read_bytes())
    data[-400] ^= 1
    (tmp_path / "changed.mp4").write_bytes(data)
    found = inspect(tmp_path / "changed.mp4", issuer.anchors, tools)
    assert found.sentences[0] == (
        "The Content Credentials do not hold: the pictures or the sound were changed after signing."
    )


def test_a_scene_of_a_server_that_is_not_known(scene: Path, tools: Tools):
    assert "not known here" in inspect(scene, "", tools).sentences[0]


def test_names_from_a_file_cannot_command_a_terminal(scene: Path, tools: Tools):
    found = inspect(scene, "", tools).credentials
    assert found is not None
    found = replace(found, generator="\x1b[2J", signer="\x1b[2J")
    assert "\x1b" not in "".join(Findings(found, None, playable=True).sentences)


def test_any_other_video(tmp_path: Path, tools: Tools):
    found = inspect(encode(clouds(320, 180, 2), (320, 180), tmp_path / "other.mp4", tools), "", tools)
    assert not found.made_from_a_face
    assert [sentence[:2] for sentence in found.sentences] == ["No", "No"]


def test_a_text(tmp_path: Path, tools: Tools):
    (tmp_path / "text.mp4").write_text("a text")
    found = inspect(tmp_path / "text.mp4", "", tools)
    assert not found.playable
    assert found.sentences[1].startswith("No picture of the file can be decoded")
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "missing.mp4", "", tools)


def test_programs_get_the_same(scene: Path, issuer: Issuer, tools: Tools):
    found = inspect(scene, issuer.anchors, tools)
    said = json.loads(json.dumps(found.to_json()))
    assert said["sentences"] == list(found.sentences)
    assert said["mark"]["render_id"] == said["credentials"]["render_id"] == "5eed1e55"
    assert said["made_from_a_face"] is True
