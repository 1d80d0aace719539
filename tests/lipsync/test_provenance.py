"""Content Credentials: the same fragments, an honest statement, every change noticed, nobody asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import c2pa
import pytest

from encoder.boxes import boxes
from encoder.tools import Tools, run_tool
from lipsync import provenance
from lipsync.credentials import Issuer, operator_issuer, own_issuer
from lipsync.errors import SigningFailed
from lipsync.provenance import Source, Statement, manifest, read_credentials, sign, sign_file
from tests.lipsync.test_credentials import Authority

STATEMENT = Statement("part2: you", 0xC0FFEE)
FRAGMENTED = "+frag_keyframe+empty_moov+default_base_moof"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return own_issuer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> bytes:
    """A flat fragmented MP4 with picture and sound, four fragments of a second."""
    return made(tmp_path_factory.mktemp("flat") / "flat.mp4", FRAGMENTED + "+skip_trailer", tools)


def made(target: Path, flags: str, tools: Tools, tone_hz: int = 440) -> bytes:
    sources = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4", "-f", "lavfi", "-i", f"sine={tone_hz}:d=4")
    coding = ("-c:v", "libx264", "-g", "25", "-bf", "0", "-c:a", "aac", "-movflags", flags)
    run_tool((str(tools.ffmpeg), "-v", "error", *sources, *coding, str(target)))
    return target.read_bytes()


@pytest.fixture
def signed(flat: bytes, issuer: Issuer, tmp_path: Path) -> Path:
    file = tmp_path / "signed.mp4"
    file.write_bytes(sign(flat, STATEMENT, issuer))
    return file


def fragments(data: bytes) -> bytes:
    """Everything from the first moof on."""
    return data[next(box.start for box in boxes(data) if box.type == b"moof") :]


def pictures(file: Path, tools: Tools) -> bytes:
    return run_tool((str(tools.ffmpeg), "-v", "error", "-xerror", "-i", str(file), "-f", "framemd5", "pipe:1"))


def test_signing_adds_one_box_before_the_first_fragment_and_changes_none(flat: bytes, signed: Path):
    before, after = flat, signed.read_bytes()
    assert fragments(after) == fragments(before)
    assert fragments(before).count(b"moof") >= 4
    old, new = [box.type for box in boxes(before)], [box.type for box in boxes(after)]
    assert sorted(new) == sorted([*old, b"uuid"])
    assert new.index(b"uuid") < new.index(b"moof")
    kept = {box.type: before[box.start : box.end] for box in boxes(before) if box.type in {b"ftyp", b"moov"}}
    assert {box.type: after[box.start : box.end] for box in boxes(after) if box.type in kept} == kept


def test_a_signed_file_plays_as_before(flat: bytes, signed: Path, tmp_path: Path, tools: Tools):
    (tmp_path / "plain.mp4").write_bytes(flat)
    assert pictures(signed, tools) == pictures(tmp_path / "plain.mp4", tools)


def test_an_index_of_fragments_still_points_at_them(issuer: Issuer, tmp_path: Path, tools: Tools):
    """`sidx` counts from its own end, so the new box has to come before it."""
    data = made(tmp_path / "indexed.mp4", "+frag_keyframe+empty_moov+default_base_moof+global_sidx+skip_trailer", tools)
    order = [box.type for box in boxes(sign(data, STATEMENT, issuer))]
    assert order.index(b"uuid") < order.index(b"sidx") < order.index(b"moof")


def test_a_file_without_fragments_is_signed_and_plays(issuer: Issuer, tmp_path: Path, tools: Tools):
    data = made(tmp_path / "plain.mp4", "+faststart", tools)
    (tmp_path / "signed.mp4").write_bytes(sign(data, STATEMENT, issuer))
    assert pictures(tmp_path / "signed.mp4", tools) == pictures(tmp_path / "plain.mp4", tools)
    found = read_credentials(tmp_path / "signed.mp4", issuer.anchors)
    assert found is not None
    assert found.intact


def test_what_was_signed_is_read_again(signed: Path, issuer: Issuer):
    found = read_credentials(signed, issuer.anchors)
    assert found is not None
    assert (found.intact, found.trusted, found.problems) == (True, True, ())
    assert (found.title, found.render_id, found.generator) == ("part2: you", 0xC0FFEE, "mediaserver")
    assert found.sources == ("compositeWithTrainedAlgorithmicMedia",)
    assert found.says_ai


def test_media_of_a_network_alone_has_its_own_term(flat: bytes, issuer: Issuer, tmp_path: Path):
    (tmp_path / "made.mp4").write_bytes(sign(flat, Statement("avatar", None, Source.GENERATED), issuer))
    found = read_credentials(tmp_path / "made.mp4", issuer.anchors)
    assert found is not None
    assert (found.sources, found.render_id) == (("trainedAlgorithmicMedia",), None)


def test_without_our_authority_the_signer_is_a_stranger(signed: Path, tmp_path: Path):
    for anchors in ("", own_issuer(tmp_path / "other").anchors):
        found = read_credentials(signed, anchors)
        assert found is not None
        assert (found.intact, found.trusted, found.problems) == (True, False, ())


@pytest.mark.parametrize("place", ["picture", "header", "statement", "cut"])
def test_every_change_is_noticed(place: str, signed: Path, issuer: Issuer):
    data = bytearray(signed.read_bytes())
    if place == "picture":
        data[-500] ^= 1
    elif place == "header":
        data[next(box for box in boxes(bytes(data)) if box.type == b"moov").start + 40] ^= 1
    elif place == "statement":
        data = data.replace(b"part2: you", b"part2: him")
    else:
        last = [box for box in boxes(bytes(data)) if box.type == b"moof"][-1]
        del data[last.start :]
    signed.write_bytes(data)
    found = read_credentials(signed, issuer.anchors)
    assert found is not None
    assert not found.intact
    assert not found.trusted
    assert found.problems


def test_credentials_of_one_file_do_not_hold_in_another(signed: Path, issuer: Issuer, tmp_path: Path, tools: Tools):
    data = signed.read_bytes()
    head = data[: len(data) - len(fragments(data))]
    other = made(tmp_path / "other.mp4", FRAGMENTED + "+skip_trailer", tools, tone_hz=700)
    (tmp_path / "other.mp4").write_bytes(head + fragments(other))
    found = read_credentials(tmp_path / "other.mp4", issuer.anchors)
    assert found is not None
    assert not found.intact


def test_nothing_is_found_where_nothing_is(flat: bytes, tmp_path: Path):
    for content in (flat, b"", b"text that is no video", b"\0\0\0\x10ftypisom"):
        (tmp_path / "file.mp4").write_bytes(content)
        found = read_credentials(tmp_path / "file.mp4")
        assert found is None or not found.intact
    with pytest.raises(FileNotFoundError):
        read_credentials(tmp_path / "missing.mp4")


def test_the_manifest_names_no_person_and_no_place():
    said = json.dumps(manifest(STATEMENT))
    assert [
        word for word in ("author", "creator", "person", "identity", "gps", "photo", "session") if word in said
    ] == []


@pytest.mark.parametrize(
    "data",
    [[1, 2], "x", {"alg": provenance.MARK_ALGORITHM}, {"alg": provenance.MARK_ALGORITHM, "blocks": [{"value": "?"}]}],
)
def test_a_statement_of_an_odd_shape_disturbs_nobody(
    data: object, flat: bytes, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another program may sign anything; this one would refuse to, so its own look at the result is switched off."""
    odd = manifest(STATEMENT)
    odd["assertions"][1]["data"] = data
    monkeypatch.setattr(provenance, "manifest", lambda _: odd)
    monkeypatch.setitem(provenance.OFFLINE, "verify", {"verify_after_sign": False})
    (tmp_path / "odd.mp4").write_bytes(sign(flat, STATEMENT, issuer))
    monkeypatch.undo()
    found = read_credentials(tmp_path / "odd.mp4", issuer.anchors)
    assert found is not None
    assert found.render_id is None


def test_an_operators_certificate_signs(flat: bytes, tmp_path: Path):
    issuer = operator_issuer(*Authority().hand_over(tmp_path))
    (tmp_path / "signed.mp4").write_bytes(sign(flat, STATEMENT, issuer))
    found = read_credentials(tmp_path / "signed.mp4", issuer.anchors)
    assert found is not None
    assert (found.trusted, found.signer) == (True, "Film House")


def test_what_is_no_mp4_cannot_be_signed(issuer: Issuer, tmp_path: Path):
    with pytest.raises(SigningFailed):
        sign(b"text", STATEMENT, issuer)
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(SigningFailed):
        sign_file(tmp_path / "text.mp4", tmp_path / "out.mp4", STATEMENT, issuer)
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_a_file_on_disk_is_signed_like_bytes(flat: bytes, issuer: Issuer, tmp_path: Path):
    (tmp_path / "in.mp4").write_bytes(flat)
    sign_file(tmp_path / "in.mp4", tmp_path / "out.mp4", STATEMENT, issuer)
    assert fragments((tmp_path / "out.mp4").read_bytes()) == fragments(flat)
    found = read_credentials(tmp_path / "out.mp4", issuer.anchors)
    assert found is not None
    assert found.trusted


class Listener:
    """A server on this machine that counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/manifest.c2pa"
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            caller.close()
            self.calls += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture
def away(listener: Listener, flat: bytes, issuer: Issuer, tmp_path: Path) -> Path:
    """A file whose manifest lies at the listener's address."""
    (tmp_path / "plain.mp4").write_bytes(flat)
    info = c2pa.C2paSignerInfo(issuer.algorithm, issuer.chain.encode(), issuer.key, None)
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(manifest(STATEMENT), provenance._context("")) as builder:
        builder.set_no_embed()
        builder.set_remote_url(listener.url)
        with (tmp_path / "plain.mp4").open("rb") as source, (tmp_path / "away.mp4").open("w+b") as target:
            builder.sign(signer, "video/mp4", source, target)
    assert listener.url.encode() in (tmp_path / "away.mp4").read_bytes()
    return tmp_path / "away.mp4"


def test_a_manifest_elsewhere_is_not_fetched(away: Path, listener: Listener):
    assert read_credentials(away) is None
    assert listener.calls == 0


def test_the_listener_would_have_heard_it(away: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch):
    """Without our settings the address is called: the test above can fail."""
    monkeypatch.setattr(provenance, "OFFLINE", {"version": 1})
    read_credentials(away)
    assert listener.calls > 0
