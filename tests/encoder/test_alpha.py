"""Transparent masters: what they become, and that every pixel keeps its alpha and its colour."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from encoder import alpha, manifest, package, stages
from encoder.alpha import GUARD_ROWS, rungs_of, stacked_height
from encoder.bitstreams import hevc_sets, length_prefixed_units
from encoder.boxes import read_samples
from encoder.capabilities import layered_codecs
from encoder.encoding import Progress, ProgressReader, goes_of
from encoder.errors import BadSidecar, ToolCancelled, VerificationFailed
from encoder.guard import Care
from encoder.ladder import ladder_for, with_trick_play
from encoder.master import Footage
from encoder.model import Master, Presentation, Rendition
from encoder.probe import probe
from encoder.sidecar import read_sidecar
from encoder.tools import Tools, run_tool
from encoder.transparency import is_transparent
from tests.encoder.conftest import Published
from tests.masters import ALPHAS, PATCHES, make_master, make_transparent, publish

TO_RGBA = "scale=in_color_matrix=bt709:in_range=tv:flags=accurate_rnd+full_chroma_int,format=rgba"
FILM = Master(Path("glass.mov"), 1280, 720, Fraction(25), 500, (), 1, Footage(alpha="straight"))


def pictures(folder: Path, r: Rendition, tools: Tools) -> np.ndarray:
    """Decode a rendition to RGBA; of WebM with its alpha layer."""
    assert r.picture is not None
    decoder = ("-c:v", "libvpx-vp9") if r.mime == "video/webm" else ()
    words = (str(tools.ffmpeg), "-v", "error", *decoder, "-i", str(folder / r.file))
    raw = run_tool(
        (*words, "-vf", f"format=yuva420p,{TO_RGBA}" if r.alpha == "own" else TO_RGBA, "-f", "rawvideo", "pipe:1")
    )
    return np.frombuffer(raw, np.uint8).reshape(-1, r.picture.height, r.picture.width, 4).astype(int)


def patches(picture: np.ndarray, top: int, height: int) -> list[np.ndarray]:
    """Return the mean of the inside of each patch, above the wandering bar, of the rows from `top` on."""
    step = picture.shape[1] // 4
    rows = picture[top + 4 : top + height - height // 4]
    return [rows[:, i * step + 4 : (i + 1) * step - 4].mean(axis=(0, 1)) for i in range(4)]


def assert_layered(picture: np.ndarray) -> None:
    for found, colour, opacity in zip(patches(picture, 0, picture.shape[0]), PATCHES, ALPHAS, strict=True):
        assert abs(found[3] - opacity) <= 2
        if opacity:
            assert np.abs(found[:3] - colour).max() <= 4


def assert_stacked(picture: np.ndarray) -> None:
    height = (picture.shape[0] - GUARD_ROWS) // 2
    colours, alphas = patches(picture, 0, height), patches(picture, height + GUARD_ROWS, height)
    for colour, mask, of, opacity in zip(colours, alphas, PATCHES, ALPHAS, strict=True):
        assert abs(mask[1] - opacity) <= 2
        assert np.abs(colour[:3] - np.array(of) * opacity / 255).max() <= 4


@pytest.fixture(scope="module")
def glass(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """ProRes 4444 at 30000/1001 with an odd size, sound, captions and a slot."""
    root = tmp_path_factory.mktemp("glass")
    master = make_transparent(root / "raw" / "glass.mov", kind="prores", size=(131, 99), rate="30000/1001", sound=True)
    master.with_suffix(".toml").write_text(
        '[[slot]]\nid = "you"\nstart = 0.5\nduration = 1\nface = {x = 0.3, y = 0.1, w = 0.4, h = 0.8}\n'
    )
    master.with_suffix(".ar.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nمرحبا\n", "utf-8")
    return publish(master, root / "media", tools)


def test_a_transparent_master_becomes_layered_and_stacked_renditions_and_opaque_ones_for_its_slot(glass: Published):
    p = glass.presentation
    assert [r.file for r in p.dash_sets[0]] == ["video_100p_vp9.webm"]
    assert [r.file for r in p.video_sets[0]] == ["video_100p_h264_stacked.mp4"]
    assert [r.file for r in p.video_sets[1]] == ["video_100p_av1_stacked.mp4"]
    assert [r.file for r in p.layered_hevc] == ["video_100p_hevc.mp4"]
    assert [(r.file, bool(r.insert)) for r in p.videos] == [("video_100p_h264.mp4", True)]
    assert p.progressive == "film_vp9.webm"
    assert Presentation.from_json(p.to_json()) == p


def test_every_pixel_keeps_its_alpha_and_its_colour_in_every_rendition(glass: Published, tools: Tools):
    p = glass.presentation
    for r in (r for r in p.renditions if r.alpha):
        film = pictures(glass.folder, r, tools)
        assert len(film) == p.grid.frames
        for picture in (film[0], film[59], film[60], film[-1]):
            assert_stacked(picture) if r.alpha == "stacked" else assert_layered(picture)


def test_the_guard_rows_go_on_with_what_lies_at_the_seam(glass: Published, tools: Tools):
    (stacked,) = glass.presentation.video_sets[0]
    picture = pictures(glass.folder, stacked, tools)[30]
    height = (len(picture) - GUARD_ROWS) // 2
    opaque = picture[:, -20:-4, :3]
    assert np.abs(opaque[height + 2 : height + 7].mean(axis=(0, 1)) - PATCHES[3]).max() <= 8
    assert opaque[height + 9 : height + 14].mean() > 250


def test_the_opaque_renditions_of_a_transparent_film_stand_on_black(glass: Published, tools: Tools):
    (below,) = glass.presentation.videos
    for found, colour, opacity in zip(
        patches(pictures(glass.folder, below, tools)[10], 0, 99), PATCHES, ALPHAS, strict=True
    ):
        assert np.abs(found[:3] - np.array(colour) * opacity / 255).max() <= 4


def test_dash_of_a_transparent_film_has_layered_pictures_alone_and_hls_stacked_ones(glass: Published):
    p = glass.presentation
    mpd, playlist = manifest.dash(p), manifest.hls_multivariant(p)
    (film,) = p.dash_sets[0]
    assert 'id="0" contentType="video" mimeType="video/webm"' in mpd
    assert "h264_stacked" not in mpd
    assert f'indexRange="{film.index_offset}-{film.segments[0].offset - 1}"' in mpd
    assert "stacked.m3u8" in playlist
    assert "vp9" not in playlist
    assert playlist.count("RESOLUTION=132x216") == 2
    for text in (mpd, playlist):
        assert "captions_ar" in text
        assert "audio_und" in text
        assert "trick_100p_h264" in text


def test_apples_players_get_a_playlist_of_their_own(glass: Published):
    playlist = manifest.hls_layered(glass.presentation)
    assert playlist.count("#EXT-X-STREAM-INF") == 1
    assert 'CODECS="hvc1.1.6.L' in playlist
    assert "video_100p_hevc.m3u8" in playlist
    assert "hevc" not in manifest.hls_multivariant(glass.presentation)


@pytest.mark.parametrize("lost_in", ["init", "picture"])
def test_hevc_that_has_lost_its_second_layer_is_found(glass: Published, tools: Tools, tmp_path: Path, lost_in: str):
    (hevc,) = glass.presentation.layered_hevc
    data = (glass.folder / hevc.file).read_bytes()
    init, first = data[: hevc.init_size], hevc.segments[0]
    pictures = read_samples(data[first.offset : first.offset + first.size])
    units = hevc_sets(init) if lost_in == "init" else length_prefixed_units(pictures[7].data)
    (second,) = (unit for unit in units if unit[1] >> 3 == 1)
    (tmp_path / hevc.file).write_bytes(data.replace(second, second[:1] + bytes([second[1] & 7]) + second[2:]))
    with pytest.raises(VerificationFailed, match="transparency"):
        package.verify(hevc, tmp_path, glass.presentation.grid, tools)


def test_the_personal_manifests_of_a_transparent_film_are_the_opaque_ones_to_be_shown_below_it(glass: Published):
    p = glass.presentation
    mpd, playlist = manifest.dash(p, personal=True), manifest.hls_multivariant(p, personal=True)
    for text in (mpd, playlist):
        assert "video_100p_h264" in text
        assert "stacked" not in text
        assert "vp9" not in text


def test_the_poster_of_a_transparent_film_stands_on_black(glass: Published, tools: Tools):
    poster = glass.folder / str(glass.presentation.poster)
    raw = run_tool((str(tools.ffmpeg), "-v", "error", "-i", str(poster), "-pix_fmt", "rgb24", "-f", "rawvideo", "-"))
    picture = np.frombuffer(raw, np.uint8).reshape(100, 132, 3)
    assert picture[10:60, 4:28].mean() < 4


def test_a_session_gets_what_everybody_does_of_a_transparent_film_without_slots(glass: Published):
    bare = replace(
        glass.presentation, slots=(), renditions=tuple(r for r in glass.presentation.renditions if not r.insert)
    )
    mpd, playlist = manifest.dash(bare, personal=True), manifest.hls_multivariant(bare, personal=True)
    assert f"<BaseURL>../../../glass/{bare.version}/video_100p_vp9.webm</BaseURL>" in mpd
    assert "SegmentList" not in mpd
    assert "video_100p_h264_stacked.m3u8" in playlist


def test_the_mezzanine_of_a_slot_is_the_film_over_black(glass: Published, tools: Tools):
    (slot,) = glass.presentation.slots
    words = ("-i", str(glass.folder / slot.mezzanine), "-vf", TO_RGBA, "-frames:v", "1", "-f", "rawvideo", "pipe:1")
    picture = np.frombuffer(run_tool((str(tools.ffmpeg), "-v", "error", *words)), np.uint8).reshape(100, 132, 4)
    for found, colour, opacity in zip(patches(picture.astype(int), 0, 100), PATCHES, ALPHAS, strict=True):
        assert np.abs(found[:3] - np.array(colour) * opacity / 255).max() <= 4


def test_webm_has_no_playlist(glass: Published):
    with pytest.raises(KeyError):
        manifest.hls_media(glass.presentation, "video_100p_vp9")


def test_a_master_in_webm_loses_its_transparency_and_the_editor_is_told(glass: Published, tools: Tools):
    (film,) = glass.presentation.dash_sets[0]
    master = probe(glass.folder / film.file, tools)
    assert master.footage.alpha == ""
    assert "of WebM it is not read" in master.notes[0]


@pytest.mark.parametrize("kind", ["animation", "png", "prores"])
def test_premultiplied_colours_are_told_by_the_sidecar(tools: Tools, tmp_path: Path, kind: str):
    master = make_transparent(tmp_path / "raw" / "glass.mov", kind=kind, frames=25, premultiplied=True)
    master.with_suffix(".toml").write_text('alpha = "premultiplied"\n')
    made = publish(master, tmp_path / "media", tools)
    layered, stacked = made.presentation.dash_sets[0][0], made.presentation.video_sets[0][0]
    assert_layered(pictures(made.folder, layered, tools)[12])
    assert_stacked(pictures(made.folder, stacked, tools)[12])
    assert made.presentation.progressive == layered.file


def test_a_film_cut_into_chunks_keeps_its_alpha_and_its_grid(tools: Tools, tmp_path: Path):
    master = make_transparent(tmp_path / "raw" / "glass.mov", rate="24000/1001", frames=240)
    made = publish(master, tmp_path / "media", tools, chunk_s=Fraction(4))
    assert len(made.plan.chunks) == 3
    film = made.presentation.dash_sets[0][0]
    assert sum(segment.duration for segment in film.segments) == 10010
    for picture in pictures(made.folder, film, tools)[[0, 95, 96, 97, 239]]:
        assert_layered(picture)


def test_an_alpha_channel_in_which_nothing_is_transparent_makes_an_ordinary_film_with_a_note(
    tools: Tools, tmp_path: Path
):
    plan = stages.plan(make_transparent(tmp_path / "glass.mov", frames=10, alphas=(255,) * 4), tools)
    assert {rung.alpha for rung in plan.ladder.rungs} == {""}
    assert "nothing in it is transparent" in plan.master.notes[0]


def test_looking_for_transparency_ends_at_once_when_it_is_cancelled(tools: Tools, glass: Published, tmp_path: Path):
    """A whole film may have to be decoded for it."""
    asleep = tmp_path / "ffmpeg"
    asleep.write_text("#!/bin/sh\nsleep 60\n")
    asleep.chmod(0o755)
    with pytest.raises(ToolCancelled):
        is_transparent(glass.plan.master, replace(tools, ffmpeg=asleep), Care(cancelled=lambda: True))


def test_transparency_that_is_not_wanted_is_left_out(tools: Tools, tmp_path: Path):
    master = make_transparent(tmp_path / "glass.mov", frames=10)
    master.with_suffix(".toml").write_text('alpha = "none"\n')
    assert {rung.alpha for rung in stages.plan(master, tools).ladder.rungs} == {""}


def test_a_word_for_alpha_that_is_none_is_refused_with_those_that_are(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part2.mov", frames=10, tools=tools)
    master.with_suffix(".toml").write_text('alpha = "both"\n')
    with pytest.raises(BadSidecar, match="none, premultiplied, straight"):
        read_sidecar(master, ladder_for(FILM).grid)


def test_an_ffmpeg_that_cannot_encode_alpha_is_said_to_be_so():
    assert alpha.as_told(FILM, None, frozenset()).notes == (alpha.NO_VP9,)
    assert alpha.as_told(FILM, None, frozenset({"vp9"})).notes == (alpha.NO_HEVC,)
    assert alpha.as_told(FILM, None, frozenset({"vp9", "hevc"})) == FILM


def test_what_this_ffmpeg_can_is_found_by_letting_it_do_so(tools: Tools):
    assert layered_codecs(tools.ffmpeg) == {"vp9", "hevc"}
    assert layered_codecs(tools.ffprobe) == frozenset()


def test_stacked_pictures_get_the_level_of_their_own_size():
    (plain,) = ladder_for(FILM).rungs[:1]
    stacked = next(r for r in rungs_of(ladder_for(FILM), hevc=False, below=False).rungs if r.alpha == "stacked")
    assert (plain.level, stacked.level) == ("3.1", "4.0")
    assert stacked_height(720) == 1456


def test_hevc_with_alpha_is_made_where_it_can_be():
    codecs = [rung.codec for rung in rungs_of(ladder_for(FILM), hevc=True, below=False).rungs]
    assert codecs == ["vp9", "vp9", "hevc", "hevc", "h264", "h264", "av1", "av1"]


def test_every_codec_of_a_transparent_film_has_a_process_of_its_own_and_an_opaque_film_has_one():
    ladder = with_trick_play(ladder_for(FILM))
    goes = goes_of(rungs_of(ladder, hevc=True, below=True))
    assert [{rung.codec for rung in rungs} for rungs in goes] == [{"h264"}, {"vp9"}, {"hevc"}, {"av1"}]
    assert sum(map(len, goes)) == len(rungs_of(ladder, hevc=True, below=True).rungs)
    assert goes_of(ladder) == (ladder.rungs,)


def test_progress_goes_on_from_one_process_to_the_next():
    told: list[Progress] = []
    for number in range(2):
        reader = ProgressReader(50, told.append, go=(number, 2))
        for line in ("frame=40", "fps=20", "progress=continue"):
            reader.line(line)
    assert [(progress.frames, progress.of_frames, progress.eta_s) for progress in told] == [(20, 50, 3), (45, 50, 0.5)]
