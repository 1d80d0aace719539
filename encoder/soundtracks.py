"""Which sounds a chapter has: those inside the master, and those of the files beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from encoder.errors import BadSidecar, EncoderError
from encoder.languages import UNKNOWN
from encoder.model import Master, Track
from encoder.probe import probe_tracks
from encoder.sidecar import Sidecar
from encoder.tools import Tools


def tracks_of(master: Master, sidecar: Sidecar, tools: Tools) -> tuple[Track, ...]:
    """Return one track per language, the master's main one first; a file beside it replaces the track inside.

    Raises BadSidecar if such a file holds no sound.
    """
    tracks = {track.sound.language: track for track in _named(master.tracks, sidecar.language)}
    for language, file in sidecar.sounds:
        first = _first(file, tools)
        tracks[language] = replace(first, sound=replace(first.sound, language=language))
    return tuple(tracks.values())


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
