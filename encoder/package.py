"""One encoded track to one flat fragmented MP4 with a segment index, and to the Rendition that describes it."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

from encoder import webm
from encoder.alpha import PROGRESSIVE, stacked_height
from encoder.bitstreams import (
    annexb_units,
    codecs_of,
    hevc_profile,
    hevc_sets,
    length_prefixed_units,
    parameter_sets,
    sequence_header,
    told_hevc_profile,
    with_parameter_sets,
    with_sequence_header,
)
from encoder.boxes import Layout, Sample, decode_time, edit_start, find, read_layout, read_samples
from encoder.chunk import Chunk
from encoder.commands import decode_command, package_command
from encoder.errors import BadBoxes, VerificationFailed
from encoder.guard import ANY, Care
from encoder.insert import INSERT_PRESET, insert_x264, parameter_sets_command
from encoder.model import CODECS, Grid, InsertFormat, Picture, Rendition, Rung, Sound, target_s
from encoder.tools import Tools, run_guarded

# An insert may need more than a quiet chapter does, and the declared peak must hold for both.
PEAK_FLOOR = Fraction(3, 10)
# Samples in an access unit, and those that ffmpeg's encoder puts before the first one (ISO/IEC 14496-3).
AAC_FRAME = 1024


def package_video(encoded: Path, folder: Path, rung: Rung, grid: Grid, *, tools: Tools, care: Care = ANY) -> Rendition:
    """Package one rung; H.264 gets the reserved parameter sets into its init.

    Raises ToolFailed, ToolCancelled, BadBoxes.
    """
    target = folder / rung.file
    run_guarded(package_command(encoded, "video", target, grid.thinned(rung.every), tools), care)
    layout = read_layout(target)
    picture = _picture(rung, grid)
    if rung.every > 1:
        _end_with_chapter(target, layout, grid)
        layout, thin = read_layout(target), replace(picture, rate=grid.rate / rung.every)
        return replace(_rendition(target, "video/mp4", layout, _peak_bps(layout)), picture=thin, trick=True)
    if rung.codec == "av1":
        _correct_av1c(target, layout)
    if rung.codec != "h264" or rung.alpha:
        rendition = _rendition(target, "video/mp4", layout, _peak_bps(layout))
        return replace(rendition, picture=picture, alpha=rung.alpha)
    peak_bps = max(_peak_bps(layout), int(rung.maxrate_bps * PEAK_FLOOR))
    insert = _insert_format(rung, grid, peak_bps, tools, care)
    _rewrite_init(target, layout, insert)
    rendition = _rendition(target, "video/mp4", read_layout(target), peak_bps)
    return replace(rendition, picture=picture, insert=insert)


def _picture(rung: Rung, grid: Grid) -> Picture:
    """The size of the coded picture, which players are told."""
    height = stacked_height(rung.height) if rung.alpha == "stacked" else rung.height
    return Picture(rung.width, height, grid.rate, rung.transfer)


def package_webm(
    files: Sequence[tuple[Chunk, Path]],
    work: Path,
    folder: Path,
    rung: Rung,
    grid: Grid,
    *,
    tools: Tools,
    care: Care = ANY,
) -> Rendition:
    """Join the chunks of a VP9 rung to one WebM with its cues in front (the packager would lose its alpha).

    Raises ToolFailed, ToolCancelled, BadBoxes.
    """
    target, listed = folder / rung.file, work / f"{rung.rendition}.ffconcat"
    listed.write_text(webm.listing(files, work, grid), "utf-8")
    run_guarded(webm.join_command(listed, target, tools), care)
    layout = webm.read_layout(target, grid)
    codecs = webm.codecs_of(rung.width, rung.height, grid.rate)
    described = _described(target, "video/webm", codecs, layout, _peak_bps(layout))
    return replace(described, picture=_picture(rung, grid), alpha=rung.alpha)


def package_progressive(
    folder: Path, videos: Sequence[Rendition], audio: Rendition, tools: Tools, care: Care = ANY
) -> None:
    """Put the largest VP9 picture and a sound together; raises ToolFailed, ToolCancelled."""
    film = next(video for video in videos if video.mime == "video/webm")
    run_guarded(webm.progressive_command(folder / film.file, folder / audio.file, folder / PROGRESSIVE, tools), care)


def package_audio(
    encoded: Path, folder: Path, sound: Sound, grid: Grid, *, tools: Tools, care: Care = ANY
) -> Rendition:
    """Package one sound under its own name; raises ToolFailed, ToolCancelled, BadBoxes."""
    target = folder / encoded.name
    run_guarded(package_command(encoded, "audio", target, grid, tools), care)
    layout = read_layout(target)
    return replace(_rendition(target, "audio/mp4", layout, _peak_bps(layout)), sound=sound)


def _insert_format(rung: Rung, grid: Grid, peak_bps: int, tools: Tools, care: Care) -> InsertFormat:
    x264 = insert_x264(grid.frames_per_segment, rung.level, peak_bps, _shortest_s(grid))
    stream = run_guarded(parameter_sets_command(rung, grid, INSERT_PRESET, x264, tools), care)
    units = {unit[0] & 0x1F: unit for unit in annexb_units(stream)}
    return InsertFormat(x264, INSERT_PRESET, sps=units[7], pps=units[8], composition_offset=0)


def _shortest_s(grid: Grid) -> Fraction:
    """Return how long the shortest segment is whose rate counts for itself."""
    lengths_s = [len(grid.frames_of(n)) / grid.rate for n in (0, grid.segments - 1)]
    half_s = Fraction(target_s(lengths_s), 2)
    return min((length_s for length_s in lengths_s if length_s >= half_s), default=half_s)


def _correct_av1c(file: Path, layout: Layout) -> None:
    """Write the bitstream's own sequence header into the init, in place."""
    with file.open("r+b") as opened:
        init = opened.read(layout.init_size)
        opened.seek(layout.segments[0].offset)
        first = read_samples(opened.read(layout.segments[0].size))[0]
        opened.seek(0)
        opened.write(with_sequence_header(init, first.data))


def _rewrite_init(file: Path, layout: Layout, insert: InsertFormat) -> None:
    """Put the second pair into avcC: the init grows, sidx and everything after it only moves."""
    new = file.with_suffix(".init")
    with file.open("rb") as old, new.open("wb") as out:
        out.write(with_parameter_sets(old.read(layout.init_size), insert.sps, insert.pps))
        shutil.copyfileobj(old, out, 1 << 20)
    os.replace(new, file)


def _end_with_chapter(file: Path, layout: Layout, grid: Grid) -> None:
    """Let the last picture last until the chapter ends, in place: in its fragment, in sidx and in mehd."""
    last = layout.segments[-1]
    whole = int(grid.duration_s * layout.timescale)
    duration = whole - sum(s.duration for s in layout.segments[:-1])
    with file.open("r+b") as opened:
        init = opened.read(layout.init_size)
        opened.seek(last.offset)
        fragment = opened.read(last.size)
        for place, ticks in (
            (find(init, b"moov", b"mvex", b"mehd").end - 4, whole),
            (layout.index_offset + layout.index_size - 8, duration),
            (last.offset + _duration_at(fragment), duration),
        ):
            opened.seek(place)
            opened.write(struct.pack(">I", ticks & 0xFFFFFFFF))


def _duration_at(fragment: bytes) -> int:
    """Return where the duration of a fragment's samples stands in its tfhd; raises BadBoxes if it is not told there."""
    tfhd = find(fragment, b"moof", b"traf", b"tfhd")
    present = struct.unpack_from(">I", fragment, tfhd.body)[0]
    if not present & 0x8 or len({sample.duration for sample in read_samples(fragment)}) != 1:
        raise BadBoxes("tfhd does not tell the duration of all samples")
    return tfhd.body + 8 + (8 if present & 0x1 else 0) + (4 if present & 0x2 else 0)


def _rendition(file: Path, mime: str, layout: Layout, peak_bps: int) -> Rendition:
    with file.open("rb") as opened:
        init = opened.read(layout.init_size)
    return _described(file, mime, codecs_of(init), layout, peak_bps)


def _described(file: Path, mime: str, codecs: str, layout: Layout, peak_bps: int) -> Rendition:
    total = sum(s.size for s in layout.segments)
    ticks = sum(s.duration for s in layout.segments)
    return Rendition(
        file=file.name,
        mime=mime,
        codecs=codecs,
        timescale=layout.timescale,
        init_size=layout.init_size,
        index_offset=layout.index_offset,
        index_size=layout.index_size,
        segments=layout.segments,
        bandwidth_bps=peak_bps,
        average_bandwidth_bps=-(-8 * total * layout.timescale // ticks),
    )


def _peak_bps(layout: Layout) -> int:
    """Return the largest rate of any run of segments that lasts 0.5 to 1.5 target durations (RFC 8216bis, 4.4.6.2).

    In bits per second, rounded up; a file that is shorter counts as if it lasted half of one. It holds for DASH, too
    (ISO/IEC 23009-1, 5.3.5.2), with a buffer of the longest segment.
    """
    times, sizes = [Fraction(s.duration, layout.timescale) for s in layout.segments], [s.size for s in layout.segments]
    half_s = Fraction(target_s(times), 2)
    rates = [8 * sum(sizes) / max(half_s, sum(times))]
    for first in range(len(times)):
        for end in range(first + 1, len(times) + 1):
            if (length_s := sum(times[first:end])) > 3 * half_s:
                break
            if length_s >= half_s:
                rates.append(8 * sum(sizes[first:end]) / length_s)
    return ceil(max(rates))


def verify(rendition: Rendition, folder: Path, grid: Grid, tools: Tools, care: Care = ANY) -> None:
    """Decode a packaged file to its end and compare it with the grid and with what is said of it.

    Raises VerificationFailed, BadBoxes, ToolFailed, ToolCancelled.

    Decoding matters: ffmpeg can end with status 0 and leave a file that is cut.
    """
    file = folder / rendition.file
    _verify_ranges(rendition, file, grid)
    if rendition.picture:
        grid = grid.thinned(int(grid.rate / rendition.picture.rate))
        _verify_grid(rendition, file, grid)
        verify_pictures(file, grid, tools, care)
    else:
        _verify_sound(rendition, file, grid)
        run_guarded(decode_command(file, tools), care, on_line=lambda _: None)


def verify_pictures(file: Path, grid: Grid, tools: Tools, care: Care = ANY) -> None:
    """Decode a file and count its pictures; raises VerificationFailed, ToolFailed, ToolCancelled."""
    progress: list[str] = []
    run_guarded(decode_command(file, tools), care, on_line=progress.append)
    frames = next((line[6:] for line in reversed(progress) if line.startswith("frame=")), "0")
    if int(frames) != grid.frames:
        raise VerificationFailed(file.name, f"{frames} frames can be decoded, {grid.frames} were planned.")


def _verify_ranges(rendition: Rendition, file: Path, grid: Grid) -> None:
    """The byte ranges and durations that manifests name are those of the file's own index."""
    layout = webm.read_layout(file, grid) if rendition.mime == "video/webm" else read_layout(file)
    told = Layout(
        rendition.timescale, rendition.init_size, rendition.index_offset, rendition.index_size, rendition.segments
    )
    if layout != told:
        raise VerificationFailed(rendition.file, "its index is not what is said of it.")


def _verify_sound(rendition: Rendition, file: Path, grid: Grid) -> None:
    """The sound begins with the picture, but for what the encoder needs to start up, and is as long to a frame."""
    with file.open("rb") as opened:
        init = opened.read(rendition.init_size)
        opened.seek(rendition.segments[0].offset)
        begins = decode_time(opened.read(rendition.segments[0].size))
    if codecs_of(init) != rendition.codecs:
        raise VerificationFailed(rendition.file, f"it is {codecs_of(init)}, not {rendition.codecs}.")
    if begins - edit_start(init) not in (0, -AAC_FRAME):
        raise VerificationFailed(rendition.file, "it does not begin with the picture.")
    length = sum(segment.duration for segment in rendition.segments)
    if abs(length - grid.duration_s * rendition.timescale) > 2 * AAC_FRAME:
        raise VerificationFailed(rendition.file, "it is not as long as the picture.")


def _verify_codecs(rendition: Rendition, file: Path) -> None:
    """What manifests say of the codec is what the bitstream says, and inserts find both their parameter sets."""
    with file.open("rb") as opened:
        init = opened.read(rendition.init_size)
        opened.seek(rendition.segments[0].offset)
        first = read_samples(opened.read(rendition.segments[0].size))[0]
    if codecs_of(init) != rendition.codecs:
        raise VerificationFailed(rendition.file, f"it is {codecs_of(init)}, not {rendition.codecs}.")
    if rendition.insert is None and not rendition.trick:
        _verify_other(rendition, init, first.data)
        return
    sets = parameter_sets(init)
    if f"avc1.{sets.sps[0][1:4].hex()}" != rendition.codecs:
        raise VerificationFailed(rendition.file, "its parameter sets say another profile or level.")
    insert = rendition.insert
    if insert and ((insert.sps, insert.pps) != (sets.sps[-1], sets.pps[-1]) or len(sets.sps) != 2):
        raise VerificationFailed(rendition.file, "the parameter sets of inserts are not in its init.")


def _verify_other(rendition: Rendition, init: bytes, first: bytes) -> None:
    if rendition.codecs.startswith(CODECS["av1"]) and not first.startswith(sequence_header(init)):
        raise VerificationFailed(rendition.file, "its first picture has another sequence header than its init.")
    if not rendition.codecs.startswith(CODECS["hevc"]):
        return
    if hevc_profile(init) != told_hevc_profile(init):
        raise VerificationFailed(rendition.file, "its parameter sets say another profile or level.")
    if rendition.alpha == "own" and _layers(hevc_sets(init)) != {0, 1}:
        raise VerificationFailed(rendition.file, "its init has no parameter sets of its transparency.")


def _all_layered(samples: Sequence[Sample]) -> bool:
    """Say whether every picture of HEVC has one of alpha, too."""
    return all(_layers(length_prefixed_units(sample.data)) >= {0, 1} for sample in samples)


def _layers(units: Iterable[bytes]) -> set[int]:
    """Return nuh_layer_id of NAL units (ITU-T H.265, 7.3.1.2)."""
    return {(unit[0] & 1) << 5 | unit[1] >> 3 for unit in units}


def _verify_grid(rendition: Rendition, file: Path, grid: Grid) -> None:
    """Every segment starts with a key frame at its place on the grid and has its number of frames."""
    if file.suffix == ".webm":
        webm.check(file, grid, range(grid.segments))
        return
    _verify_codecs(rendition, file)
    if len(rendition.segments) != grid.segments:
        raise VerificationFailed(
            rendition.file, f"it has {len(rendition.segments)} segments, {grid.segments} were planned."
        )
    ticks = rendition.timescale / grid.rate
    layered_hevc = rendition.codecs.startswith(CODECS["hevc"]) and rendition.alpha == "own"
    with file.open("rb") as opened:
        for number, segment in enumerate(rendition.segments):
            opened.seek(segment.offset)
            fragment = opened.read(segment.size)
            samples, frames = read_samples(fragment), grid.frames_of(number)
            if len(samples) != len(frames) or decode_time(fragment) != frames.start * ticks:
                raise VerificationFailed(rendition.file, f"segment {number} does not lie on the grid.")
            if layered_hevc and not _all_layered(samples):
                raise VerificationFailed(rendition.file, f"segment {number} has lost its transparency.")
            if samples[0].composition_offset != 0:
                raise VerificationFailed(rendition.file, f"segment {number} does not begin with its first picture.")
