"""Pure: what is wanted to the exact arguments of ffmpeg and the packager (docs/decisions/0005)."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import ffmpeg

from encoder import alpha
from encoder.capabilities import Measure
from encoder.damage import MOST_ERRORS
from encoder.master import Screen
from encoder.model import Footage, Grid, Ladder, Master, Rung, Slot, Track, Transfer
from encoder.screen import svt_words, x265_words
from encoder.tools import Tools

COLOUR = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
# Curves of ITU-R BT.2100 in the words of ffmpeg and zscale.
TRANSFERS = {"pq": "smpte2084", "hlg": "arib-std-b67"}
# What a master says of the screen that it was made on does not hold once its tones are mapped.
OF_WIDE_LIGHT = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
TAGGED = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
# One encoder's settings for all of a chapter: closed groups of pictures of exactly one segment. What follows sps-id
# is no part of the parameter sets: it looks better at the same bytes, on grain most of all (docs/decisions/0018).
CHAPTER_X264 = (
    "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=2:b-pyramid=0:stitchable=1:sps-id=0:"
    "trellis=1:aq-strength=0.5:deblock=-1,-1"
)
CHAPTER_PRESET = "veryfast"
# Key frames by force: at keyint=1 x264 would declare a profile that not every player knows.
TRICK_X264 = "keyint=2:min-keyint=1:scenecut=0:bframes=0:ref=1:stitchable=1:sps-id=0"
AV1_PRESET, AV1_PARAMS = 8, "irefresh-type=2:scd=0"
HEVC_PRESET = "fast"
HEVC_X265 = "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:repeat-headers=0:log-level=error"
MEZZANINE_CRF = 8
AUDIO_BPS = {1: 96_000, 2: 160_000, 6: 320_000}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
PREROLL_S = Fraction(1)
LEAST_TIMESCALE = 10_000
FRAGMENTS = "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets"


def chunk_command(
    master: Master, ladder: Ladder, frames: range, work: Path, tools: Tools, *, seek: bool = True
) -> list[str]:
    """Return the one ffmpeg process that decodes `frames` of a master once for all rungs.

    `frames` begins on the grid. Writes the file of each rung into `work`; without `seek` the master is decoded
    from its beginning, which is slow and does without an index.
    """
    base = _frames(master, ladder.grid, frames, seek=seek)
    shown, screen = _pictures(base, master.footage, ladder.rungs), master.footage.screen
    return _whole([_encoded(shown[rung], rung, ladder.grid, work / rung.file, screen) for rung in ladder.rungs], tools)


def sample_command(
    master: Master, ladder: Ladder, tries: tuple[Rung, ...], frames: range, *, work: Path, tools: Tools
) -> list[str]:
    """Return the process that encodes a few frames with each of `tries`, as `<name>_<crf>.mp4` in `work`."""
    originals = _frames(master, ladder.grid, frames, preroll_s=Fraction(0))
    shown = _pictures(originals, master.footage, tries)
    return _whole([_encoded(shown[r], r, ladder.grid, work / trial_file(r, "mp4")) for r in tries], tools)


def score_command(
    master: Master,
    ladder: Ladder,
    tries: tuple[Rung, ...],
    frames: range,
    *,
    measure: Measure,
    work: Path,
    tools: Tools,
) -> list[str]:
    """Return the process that compares them with the master at the size of the top rung.

    Writes `<name>_<crf>.log` for each: libvmaf's JSON, or a line of XPSNR for every picture.
    """
    top = ladder.rungs[0]
    whole = _frames(master, ladder.grid, frames, preroll_s=Fraction(0))
    originals = _scaled(_common_light(whole, master.footage, top), top).split()
    outputs = []
    for i, rung in enumerate(tries):
        made = _scaled(ffmpeg.input(str(work / trial_file(rung, "mp4"))).video.filter("setpts", "PTS-STARTPTS"), top)
        log = str(work / trial_file(rung, "log"))
        vmaf = {"log_fmt": "json", "log_path": log, "n_threads": 2, "n_subsample": 4}
        how = vmaf if measure == "libvmaf" else {"stats_file": log}
        scored = ffmpeg.filter([made, originals[i]], measure, **how)
        outputs.append(ffmpeg.output(scored, "-", f="null"))
    return _whole(outputs, tools)


def trial_file(rung: Rung, suffix: str) -> str:
    return f"{rung.name}_{rung.crf}.{suffix}"


def audio_command(ladder: Ladder, work: Path, tools: Tools) -> list[str]:
    """Return the process that writes every track whole as its `audio_file` into `work`."""
    files = {path: ffmpeg.input(f"file:{path}") for path in dict.fromkeys(track.path for track in ladder.tracks)}
    mixes = defaultdict[tuple[Path, int], list[Track]](list)
    for track in ladder.tracks:
        mixes[track.path, track.number].append(track)
    outputs = []
    for (path, number), tracks in mixes.items():
        # Split before anything is resampled, or the channels of one mix would be those of all.
        branches = _split(files[path][f"a:{number}"], len(tracks), "asplit")
        outputs += [_audio(branch, track, ladder.grid, work) for branch, track in zip(branches, tracks, strict=True)]
    return _whole(outputs, tools)


def loudness_command(track: Track, tools: Tools) -> list[str]:
    """Return the process that prints a track's loudness and true peak, as it is after a downmix."""
    shown = ",".join(f"ametadata=mode=print:key=lavfi.r128.{key}:file=-" for key in ("I", "true_peak"))
    graph = f"aformat=channel_layouts={LAYOUTS[track.sound.channels]},ebur128=peak=true:metadata=1,{shown}"
    source = ("-i", f"file:{track.path}", "-map", f"0:a:{track.number}")
    return [str(tools.ffmpeg), "-hide_banner", "-nostdin", "-v", "error", *source, "-af", graph, "-f", "null", "-"]


def mezzanine_command(master: Master, ladder: Ladder, slot: Slot, work: Path, tools: Tools) -> list[str]:
    """Return the process that writes a slot's mezzanine; it reads no more of the master than the slot's segments."""
    grid, top = ladder.grid, ladder.rungs[0]
    touched = grid.touched_by(slot.start_s, slot.duration_s)
    frames = range(grid.frames_of(touched[0]).start, grid.frames_of(touched[-1]).stop)
    pictures = _common_light(_frames(master, grid, frames), master.footage, top)
    return _whole([_mezzanine(pictures, slot, top, grid, work)], tools)


def narration_command(ladder: Ladder, slot: Slot, own: Path | None, work: Path, tools: Tools) -> list[str]:
    """Return the process that writes a slot's speech: of the file `own`, else the chapter's sound in the window."""
    if own:
        return _whole([_narration(ffmpeg.input(f"file:{own}").audio, slot, work)], tools)
    main = ladder.tracks[0]
    source = _source(main.path, max(slot.start_s - PREROLL_S, Fraction(0)))[f"a:{main.number}"]
    return _whole([_narration(_window(source, slot), slot, work)], tools)


def _whole(outputs: list[Any], tools: Tools) -> list[str]:
    command: list[str] = ffmpeg.merge_outputs(*outputs).global_args(*_quiet()).compile(cmd=str(tools.ffmpeg))
    return [*command, "-y"]


def _quiet() -> tuple[str, ...]:
    # Times stay those of the master after a seek, so that every chunk lies on the same grid.
    return (
        *("-hide_banner", "-nostdin", "-v", "repeat+error", "-progress", "pipe:1", "-stats_period", "0.5"),
        *("-copyts", "-start_at_zero", "-max_error_rate", str(MOST_ERRORS)),
    )


def _source(file: Path, start_s: Fraction) -> Any:
    """A file from `start_s` on; what lies between the key picture before it and there is decoded and dropped."""
    seek = {"ss": f"{float(start_s):.6f}"} if start_s else {}
    return ffmpeg.input(f"file:{file}", **seek)


def _frames(master: Master, grid: Grid, frames: range, *, seek: bool = True, preroll_s: Fraction = PREROLL_S) -> Any:
    """Exactly these frames of the grid, whatever the container claims; the first one has the time 0."""
    # A picture shown for longer than others began before the chunk does.
    first = max(0, frames.start - ceil(preroll_s * grid.rate)) if seek else 0
    source = _source(master.path, max(Fraction(0), (first - Fraction(1, 2)) / grid.rate))
    base = _whole_pictures(source[f"v:{master.footage.number}"], master.footage)
    base = base.filter("fps", fps=str(grid.rate), start_time=float(first / grid.rate))
    if frames.stop == grid.frames:
        base = base.filter("tpad", stop_mode="clone", stop=2)
    return base.filter("trim", start_pts=frames.start, end_pts=frames.stop).filter("setpts", "PTS-STARTPTS")


def _whole_pictures(stream: Any, footage: Footage) -> Any:
    """One picture of two fields (bwdif of ffmpeg-filters(1)); the rate stays that of the pictures."""
    if not footage.fields:
        return stream
    return stream.filter("bwdif", mode="send_frame", parity=footage.fields, deint="all")


def _pictures(base: Any, footage: Footage, rungs: tuple[Rung, ...]) -> dict[Rung, Any]:
    """Return the picture that each rung's encoder gets; those of the same look share one, which is scaled once."""
    alike = defaultdict[tuple[object, ...], list[Rung]](list)
    for rung in rungs:
        alike[rung.width, rung.height, rung.transfer, rung.alpha, rung.every].append(rung)
    first = tuple(group[0] for group in alike.values())
    shown: dict[Rung, Any] = {}
    for branch, group in zip(_lights(base, footage, first), alike.values(), strict=True):
        shown |= zip(group, _split(_picture(branch, group[0]), len(group)), strict=True)
    return shown


def _lights(base: Any, footage: Footage, rungs: tuple[Rung, ...]) -> list[Any]:
    """Return a branch for each rung: tones are mapped once for all that need it, and not for those that keep them."""
    wide = sum(rung.transfer != "sdr" for rung in rungs)
    common = len(rungs) - wide
    whole = _split(base, 2 if wide and common else 1)
    mapped = iter(_split(_common_light(whole[0], footage, rungs[0]), common) if common else ())
    kept = iter(_split(whole[-1], wide) if wide else ())
    return [next(mapped if rung.transfer == "sdr" else kept) for rung in rungs]


def _split(stream: Any, count: int, name: str = "split") -> list[Any]:
    if count == 1:
        return [stream]
    branches = stream.filter_multi_output(name, count)
    return [branches[i] for i in range(count)]


def _common_light(stream: Any, footage: Footage, top: Rung) -> Any:
    """Bring HDR to BT.709 at the size of the top rung: linear light, mapped tones, then the usual curve.

    A transparent picture becomes one multiplied by its alpha.

    The white of graphics and paper (203 cd/m2, ITU-R BT.2408) becomes 1.0 before the tones are mapped.
    """
    if footage.alpha:
        return alpha.premultiplied(stream, footage)
    if footage.transfer == "sdr":
        return stream
    told = {"tin": TRANSFERS[footage.transfer], "min": "bt2020nc", "pin": "bt2020"}
    linear = {"t": "linear", "p": "bt2020", "npl": 203}
    stream = stream.filter("zscale", w=top.width, h=top.height, filter="bicubic", **told, **linear)
    stream = stream.filter("format", "gbrpf32le").filter("zscale", p="bt709")
    stream = stream.filter("tonemap", "hable", desat=0)
    stream = stream.filter("zscale", t="bt709", m="bt709", r="tv").filter("format", "yuv420p")
    for words in OF_WIDE_LIGHT:
        stream = stream.filter("sidedata", mode="delete", type=words)
    return stream


def _scaled(stream: Any, rung: Rung) -> Any:
    """The picture at the rung's size, in square pixels: BT.709 in 8 bits, or BT.2020 in 10; always limited range."""
    told = _colour(rung.transfer)
    if rung.transfer != "sdr":
        # What a master leaves untold would be taken for BT.709.
        stream = stream.filter("setparams", colorspace=told["colorspace"])
    stream = stream.filter(
        "scale", rung.width, rung.height, flags="bicubic", out_color_matrix=told["colorspace"], out_range="tv"
    )
    stream = stream.filter("setsar", 1).filter("format", "yuv420p" if rung.transfer == "sdr" else "yuv420p10le")
    return _tagged(stream, told)


def _tagged(stream: Any, told: dict[str, str]) -> Any:
    """Tell the colours in the stream, too: the options of the encoder alone leave primaries and transfer untold."""
    tags = {"range": "tv", **{key: told[key] for key in ("colorspace", "color_primaries", "color_trc")}}
    return stream.filter("setparams", **tags)


def _colour(transfer: Transfer) -> dict[str, str]:
    """Return ffmpeg's words for the colours of ITU-R BT.709, or of BT.2100 with one of its curves."""
    if transfer == "sdr":
        return COLOUR
    told = {"color_primaries": "bt2020", "color_trc": TRANSFERS[transfer], "colorspace": "bt2020nc"}
    return {**told, "color_range": "tv"}


def _picture(stream: Any, rung: Rung) -> Any:
    """The picture as the rung's codec gets it; one with transparency comes multiplied by it, thus over black."""
    if rung.every > 1:
        stream = stream.filter("framestep", rung.every)
    if not rung.alpha:
        return _scaled(stream, rung)
    stream = alpha.stacked(stream, rung) if rung.alpha == "stacked" else alpha.layered(stream, rung)
    return _tagged(stream.filter("setsar", 1), COLOUR)


def _encoded(picture: Any, rung: Rung, grid: Grid, target: Path, screen: Screen | None = None) -> Any:
    if rung.codec == "vp9":
        return ffmpeg.output(picture, str(target), **alpha.vp9(rung, grid), **COLOUR)
    made = {"h264": _x264, "av1": _svt_av1, "hevc": _x265}[rung.codec](rung, grid)
    if screen and rung.transfer != "sdr":
        # Branches of a filter graph lose it.
        key, words = {"av1": ("svtav1-params", svt_words), "hevc": ("x265-params", x265_words)}[rung.codec]
        made[key] += words(screen)
    return ffmpeg.output(
        picture,
        str(target),
        **made,
        **_colour(rung.transfer),
        **_rate(rung),
        movflags=FRAGMENTS,
    )


def _rate(rung: Rung) -> dict[str, int]:
    """SVT-AV1 takes a ceiling beside a CRF alone; with a rate it keeps to that by itself.

    Under a CRF the buffer is small: a full one at the beginning must not lift a short film above its ceiling.
    """
    ceiling = {"maxrate": rung.maxrate_bps, "bufsize": rung.maxrate_bps}
    if rung.crf is not None:
        return {"crf": rung.crf, **ceiling}
    ceiling["bufsize"] *= 2
    return {"b:v": rung.maxrate_bps, **({} if rung.codec == "av1" else ceiling)}


def _x264(rung: Rung, grid: Grid) -> dict[str, Any]:
    return {
        "c:v": "libx264",
        "profile:v": "high",
        "level:v": rung.level,
        "preset": CHAPTER_PRESET,
        "x264-params": CHAPTER_X264.format(gop=grid.frames_per_segment) if rung.every == 1 else TRICK_X264,
        **({} if rung.every == 1 else _key_frames(grid)),
    }


def _key_frames(grid: Grid) -> dict[str, Any]:
    """Every picture is one; the last one may last any number of the chapter's, so each of these is whole ticks."""
    timescale = grid.rate.numerator * ceil(LEAST_TIMESCALE / grid.rate.numerator)
    return {"force_key_frames": "expr:1", "forced-idr": 1, "video_track_timescale": timescale}


def _svt_av1(_: Rung, grid: Grid) -> dict[str, Any]:
    """Key frames on the grid and nowhere else, and groups of pictures that need nothing of their neighbours."""
    return {"c:v": "libsvtav1", "preset": AV1_PRESET, "g": grid.frames_per_segment, "svtav1-params": AV1_PARAMS}


def _x265(_: Rung, grid: Grid) -> dict[str, Any]:
    """Parameter sets in the init alone (hvc1), closed groups of pictures."""
    params = HEVC_X265.format(gop=grid.frames_per_segment)
    return {"c:v": "libx265", "preset": HEVC_PRESET, "tag:v": "hvc1", "x265-params": params}


def _mezzanine(stream: Any, slot: Slot, top: Rung, grid: Grid, work: Path) -> Any:
    """The chapter's own frames of every segment that the slot touches, near-lossless.

    They are decoded while a viewer waits: what makes that dear is left out, 2.5 times as fast for 6 % more bytes.
    """
    return ffmpeg.output(
        _scaled(stream, top),
        str(work / slot.mezzanine),
        **{"c:v": "libx264", **COLOUR},
        preset="superfast",
        tune="fastdecode",
        crf=MEZZANINE_CRF,
        g=grid.frames_per_segment,
        **{"x264-params": f"min-keyint={grid.frames_per_segment}:scenecut=0:open-gop=0:bframes=0"},
    )


def audio_file(track: Track) -> str:
    return f"audio_{track.sound.language}{'_surround' if track.sound.is_surround else ''}.mp4"


def _audio(stream: Any, track: Track, grid: Grid, work: Path) -> Any:
    """AAC that is exactly as long as the picture."""
    samples = round(grid.duration_s * 48000)
    stream = stream.filter("aresample", 48000, **{"async": 1}, first_pts=0)
    stream = stream.filter("apad", whole_len=samples).filter("atrim", end_sample=samples)
    if track.gain_db:
        stream = stream.filter("volume", f"{track.gain_db:.2f}dB")
    rate, channels = AUDIO_BPS[track.sound.channels], track.sound.channels
    target = str(work / audio_file(track))
    return ffmpeg.output(stream, target, **{"c:a": "aac", "b:a": rate}, ac=channels, movflags="+faststart")


def _window(stream: Any, slot: Slot) -> Any:
    start, end = slot.start_s, slot.start_s + slot.duration_s
    return stream.filter("atrim", start=float(start), end=float(end)).filter("asetpts", "PTS-STARTPTS")


def _narration(stream: Any, slot: Slot, work: Path) -> Any:
    return ffmpeg.output(stream, str(work / slot.narration), ac=1, ar=16000, **{"c:a": "pcm_s16le"})


def package_command(source: Path, kind: str, target: Path, grid: Grid, tools: Tools) -> list[str]:
    """Return the packager's command for one flat file with `sidx`; `kind` is "video" or "audio"."""
    segment_s = float(grid.frames_per_segment / grid.rate)
    if kind == "video":
        # The source is cut on the grid already; a hundredth less makes sure that no two groups become one segment.
        segment_s *= 0.99
    duration = f"{segment_s:.6f}"
    stream = f"in={source},stream={kind},output={target}"
    # What it writes twice it writes beside the rest: the system's own folder for that may be small.
    aside = ("--temp_dir", str(source.parent), "--quiet")
    return [str(tools.packager), stream, "--segment_duration", duration, "--fragment_duration", duration, *aside]


def decode_command(file: Path, tools: Tools) -> list[str]:
    """Return the command that decodes a whole file and fails at the first error; progress tells the frames."""
    # Of all decoders of VP9 only this one looks at the alpha layer.
    decoder = ("-c:v", "libvpx-vp9") if file.suffix == ".webm" else ()
    return [
        *(str(tools.ffmpeg), "-hide_banner", "-v", "error", "-xerror", "-err_detect", "explode", *decoder),
        *("-i", f"file:{file}", "-f", "null", "-progress", "pipe:1", "-"),
    ]
