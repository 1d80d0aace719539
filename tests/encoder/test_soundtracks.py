"""Loudness: measured over the whole track, changed by one gain."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from encoder.commands import audio_command, audio_file
from encoder.model import Grid, Ladder, Sound, Track
from encoder.probe import probe_tracks
from encoder.soundtracks import channel_notes, levelled, with_surround
from encoder.tools import Tools, run_tool


def sound(tools: Tools, path: Path, graph: str) -> Path:
    run_tool((str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", graph, str(path)))
    return path


@pytest.mark.parametrize(("volume", "gain_db"), [(1.0, 0.0), (0.1, 20.0)])
def test_a_track_is_brought_to_the_same_loudness_however_loud_it_was(
    tools: Tools, tmp_path: Path, volume: float, gain_db: float
):
    graph = f"sine=frequency=997:r=48000:d=4,volume={volume},aformat=channel_layouts=stereo"
    (plain,) = levelled(probe_tracks(sound(tools, tmp_path / "plain.wav", graph), tools), tools)
    reference = "sine=frequency=997:r=48000:d=4,aformat=channel_layouts=stereo"
    (loud,) = levelled(probe_tracks(sound(tools, tmp_path / "loud.wav", reference), tools), tools)
    assert plain.gain_db - loud.gain_db == pytest.approx(gain_db, abs=0.3)


@pytest.mark.parametrize(
    ("channels", "made", "note"),
    [
        (1, [1], []),
        (2, [2], []),
        (4, [2], ["Sound of 4 channels is mixed down to stereo."]),
        (6, [2, 6], ["Sound of 6 channels is published in stereo, and in 5.1 for who chooses it."]),
        (8, [2, 6], ["Sound of 8 channels is published in stereo, and in 5.1 for who chooses it."]),
    ],
)
def test_every_client_gets_stereo_and_more_channels_are_told_of(channels: int, made: list[int], note: list[str]):
    track = Track(Path("/raw/part2.mov"), 0, Sound(min(2, channels), 48000, "en"), channels=channels)
    tracks = with_surround((track,))
    assert [one.sound.channels for one in tracks] == made
    assert list(channel_notes(tracks)) == note


def test_what_is_published_has_the_loudness_of_ebu_r128(tools: Tools, tmp_path: Path):
    """In stereo and in 5.1, whatever the mix does to it."""
    graph = "sine=frequency=997:r=48000:d=5,pan=5.1|FL=.5*c0|FR=.5*c0|FC=.3*c0|BL=.2*c0"
    tracks = levelled(with_surround(probe_tracks(sound(tools, tmp_path / "film.wav", graph), tools)), tools)
    grid = Grid(Fraction(25), 50, 125)
    run_tool(audio_command(Ladder(grid, (), tracks), tmp_path, tools))
    made = [replace(track, path=tmp_path / audio_file(track), gain_db=0.0, number=0) for track in tracks]
    assert [track.sound.channels for track in made] == [2, 6]
    assert [track.gain_db for track in levelled(tuple(made), tools)] == [pytest.approx(0, abs=0.3)] * 2


def test_silence_stays_silence(tools: Tools, tmp_path: Path):
    path = sound(tools, tmp_path / "silence.wav", "anullsrc=r=48000:cl=mono:d=2")
    (track,) = levelled(probe_tracks(path, tools), tools)
    assert track.gain_db == 0


def test_peaks_are_never_cut_off(tools: Tools, tmp_path: Path):
    """A click in near silence: the loudness asks for much, the peak allows little."""
    graph = "aevalsrc='if(eq(n,48000),0.9,0.002*sin(2*PI*500*t))':s=48000:d=3"
    (track,) = levelled(probe_tracks(sound(tools, tmp_path / "click.wav", graph), tools), tools)
    assert track.gain_db < 1
