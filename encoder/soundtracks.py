"""Which sounds a chapter has: those inside the master, and those of the files beside it."""

from __future__ import annotations

from dataclasses import replace
from math import log10
from pathlib import Path

from encoder.commands import loudness_command
from encoder.errors import BadSidecar, EncoderError
from encoder.guard import ANY, Care
from encoder.languages import UNKNOWN
from encoder.model import Master, Track
from encoder.probe import probe_tracks
from encoder.sidecar import Sidecar
from encoder.tools import Tools, run_tool

# EBU R 128 (2023): programme loudness and the highest true peak.
TARGET_LUFS, HIGHEST_PEAK_DBTP = -23.0, -1.0
# What the meter says of silence (its absolute gate, ITU-R BS.1770).
SILENCE_LUFS = -70.0
SURROUND = 6
LOUDNESS, PEAK = "lavfi.r128.I", "lavfi.r128.true_peak"


def tracks_of(master: Master, sidecar: Sidecar, tools: Tools) -> tuple[Track, ...]:
    """Return one track per language, the master's main one first; a file beside it replaces the track inside.

    After them comes the 5.1 mix of each that has as many channels. Raises BadSidecar if such a file holds no sound.
    """
    tracks = {track.sound.language: track for track in _named(master.tracks, sidecar.language)}
    for language, file in sidecar.sounds:
        first = _first(file, tools)
        tracks[language] = replace(first, sound=replace(first.sound, language=language))
    return with_surround(tuple(tracks.values()))


def with_surround(tracks: tuple[Track, ...]) -> tuple[Track, ...]:
    """Every client gets stereo; a track of six channels or more is there in 5.1 as well."""
    wide = (replace(t, sound=replace(t.sound, channels=SURROUND)) for t in tracks if t.channels >= SURROUND)
    return (*tracks, *wide)


def channel_notes(tracks: tuple[Track, ...]) -> tuple[str, ...]:
    """Tell the editor of channels that are mixed into fewer."""
    counts = dict.fromkeys(track.channels for track in tracks if track.channels > track.sound.channels)
    how = "published in stereo, and in 5.1 for who chooses it", "mixed down to stereo"
    return tuple(f"Sound of {count} channels is {how[count < SURROUND]}." for count in counts)


def levelled(tracks: tuple[Track, ...], tools: Tools, care: Care = ANY) -> tuple[Track, ...]:
    """Return the tracks with the gain that brings each to EBU R128, measured over its whole length.

    One gain for all of a track, so that its quiet and loud places stay so; less of it where peaks would be cut off.
    Silence stays silence. Raises ToolFailed, ToolCancelled.
    """
    return tuple(replace(track, gain_db=_gain_db(track, tools, care)) for track in tracks)


def _gain_db(track: Track, tools: Tools, care: Care) -> float:
    found: dict[str, float] = {}

    def hear(line: str) -> None:
        key, _, value = line.partition("=")
        if key in (LOUDNESS, PEAK):
            found[key] = float(value)

    run_tool(loudness_command(track, tools), on_line=hear, care=replace(care, silent=True))
    loudness = found.get(LOUDNESS, SILENCE_LUFS)
    if not loudness > SILENCE_LUFS:
        return 0.0
    peak_db = 20 * log10(max(found.get(PEAK, 1.0), 1e-6))
    return round(min(TARGET_LUFS - loudness, HIGHEST_PEAK_DBTP - peak_db), 2)


def _named(tracks: tuple[Track, ...], language: str | None) -> tuple[Track, ...]:
    """Call the main track by the sidecar's language; another track that claims it is left out."""
    if not tracks or language is None:
        return tracks
    main, *others = tracks
    kept = (track for track in others if track.sound.language not in (language, UNKNOWN))
    return (replace(main, sound=replace(main.sound, language=language)), *kept)


def _first(file: Path, tools: Tools) -> Track:
    try:
        tracks = probe_tracks(file, tools)
    except EncoderError as error:
        raise BadSidecar(file, str(error)) from error
    if not tracks:
        raise BadSidecar(file, "there is no sound in it.")
    return tracks[0]
