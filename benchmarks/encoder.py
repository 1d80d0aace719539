"""Our encoder beside the original film's script: bytes, quality and time on three films that are drawn here.

    .venv/bin/python -m benchmarks.encoder films|compare|score|growth|queue|report [--film NAME] [--seconds 10]
        [--pairs 1]

`films` makes the masters (1920x1080, 24 pictures/s, ProRes 422 HQ). `compare` runs, one after the other in the same go,
the script's settings (for each of 1080p, 720p, 432p two passes of libx264 at 8, 5, 2.5 Mb/s) and ours (probing and all
H.264 rungs); `score` makes the AV1 rungs and measures the VMAF of every picture of every rung at 1080p. `growth`
encodes a film that is shown once, twice and four times, `queue` two films at once and one after the other through
`mediaserver encode`. Every part adds to results.json in `--work`, from which `report` prints the tables. The BD-rate
compares the two ladders, piecewise linear in the logarithm of the rate, over the VMAF that both reach.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import exp, log
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.footage import FILMS, write  # noqa: E402
from encoder import stages  # noqa: E402
from encoder.model import Choices  # noqa: E402
from encoder.tools import find_tools, python_module, run_tool  # noqa: E402

SCRIPT = (("1080p", 1080, "8M"), ("720p", 720, "5M"), ("432p", 432, "2500k"))
SCRIPT_X264 = "keyint=48:min-keyint=48:scenecut=-1:nal-hrd=cbr"
Json = dict[str, Any]
Points = dict[str, tuple[int, float]]


def script(master: Path, folder: Path) -> dict[str, Path]:
    """Encode as the original film's script did; the rungs' files by name."""
    files = {}
    for name, height, rate in SCRIPT:
        files[name] = folder / f"{name}.mp4"
        for number in (1, 2):
            settings = (
                "-c:v",
                "libx264",
                "-x264-params",
                SCRIPT_X264,
                "-b:v",
                rate,
                "-maxrate",
                rate,
                "-bufsize",
                "16M",
            )
            picture = ("-an", "-vf", f"scale=-2:{height}", "-pix_fmt", "yuv420p", *settings)
            turn = ("-pass", str(number), "-passlogfile", str(folder / name))
            out = ("-f", "null", "-") if number == 1 else (str(files[name]),)
            run_tool((str(find_tools().ffmpeg), "-v", "error", "-y", "-i", str(master), *picture, *turn, *out))
    return files


def ours(master: Path, media: Path, codec: str) -> dict[str, Path]:
    """Plan and encode as a job does, the rungs of one codec; their files by name."""
    tools = find_tools()
    plan = stages.plan(master, tools, choices=Choices(av1=codec == "av1"))
    rungs = tuple(rung for rung in plan.ladder.rungs if rung.codec == codec and rung.every == 1)
    plan = replace(plan, ladder=replace(plan.ladder, rungs=rungs))
    for chunk in plan.chunks:
        stages.encode_chunk(plan, chunk, media, tools)
    crfs = ", ".join(f"{rung.name} {rung.crf}" for rung in rungs)
    print(f"  {codec}: {crfs}", flush=True)
    return {rung.name: plan.work(media) / plan.chunks[0].folder / f"{rung.rendition}.mp4" for rung in rungs}


def timed(do: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what it gives, wall seconds, and seconds of all children's processors."""
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    given = do()
    wall_s, after = time.monotonic() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return given, wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def scored(files: dict[str, Path], master: Path) -> Points:
    """Return bytes and VMAF of each rung, all seen at 1080p."""
    points = {}
    for name, file in files.items():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "vmaf.json"
            made = "[0:v]scale=1920:1080:flags=bicubic,format=yuv420p,setpts=PTS-STARTPTS[a]"
            # Every picture: a step could fall in with the pattern of B-frames and see none of them.
            told = f"libvmaf=n_threads=2:log_fmt=json:log_path={report}"
            graph = f"{made};[1:v]format=yuv420p,setpts=PTS-STARTPTS[b];[a][b]{told}"
            sources = ("-i", str(file), "-i", str(master))
            run_tool((str(find_tools().ffmpeg), "-v", "error", *sources, "-lavfi", graph, "-an", "-f", "null", "-"))
            vmaf = json.loads(report.read_text("utf-8"))["pooled_metrics"]["vmaf"]["mean"]
        points[name] = (file.stat().st_size, round(vmaf, 2))
    return points


def compare(name: str, options: argparse.Namespace) -> Json:
    """Run script and ours in turns; the files of the last turn are kept for `score`."""
    master, walls, processors = film(name, options), [], []
    kept = options.work / name
    for _ in range(options.pairs):
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        _, their_s, their_cpu_s = timed(lambda: script(master, kept))
        made, own_s, own_cpu_s = timed(lambda: ours(master, kept / "media", "h264"))
        walls.append(own_s / their_s)
        processors.append(own_cpu_s / their_cpu_s)
        print(f"  wall {own_s:.1f} / {their_s:.1f} s, processor {own_cpu_s:.1f} / {their_cpu_s:.1f} s", flush=True)
    for rung, file in made.items():
        shutil.copyfile(file, kept / f"h264_{rung}.mp4")
    return {"wall": statistics.median(walls), "processor": statistics.median(processors)}


def score(name: str, options: argparse.Namespace) -> Json:
    """Bytes and VMAF of what `compare` has left, and of the AV1 rungs, which are made here."""
    master, kept = film(name, options), options.work / name
    sets = {"script": {rung: kept / f"{rung}.mp4" for rung, *_ in SCRIPT}}
    sets["h264"] = {file.stem.removeprefix("h264_"): file for file in sorted(kept.glob("h264_*.mp4"))}
    sets["av1"] = ours(master, kept / "media", "av1")
    return {kind: scored(files, master) for kind, files in sets.items()}


def growth(name: str, options: argparse.Namespace) -> Json:
    """Time and the largest process for a film that is shown once, twice and four times, shortest first."""
    master, rows = film(name, options), []
    for times in (1, 2, 4):
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            looped, length_s = Path(folder) / "looped.mov", options.seconds * times
            source = ("-stream_loop", str(times - 1), "-i", str(master), "-t", str(length_s), "-c", "copy")
            run_tool((str(find_tools().ffmpeg), "-v", "error", *source, str(looped)))
            _, wall_s, cpu_s = timed(partial(ours, looped, Path(folder) / "media", "h264"))
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        rows.append({"seconds": length_s, "wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb})
    return {"rows": rows}


def queue(names: list[str], options: argparse.Namespace) -> Json:
    """Two masters given to the queue at once against one after the other, in turns; H.264 alone."""
    masters, ratios = [film(name, options) for name in names[:2]], []
    for _ in range(options.pairs):
        together = _queued([masters], options)
        ratios.append(together / _queued([[master] for master in masters], options))
        print(f"  at once / one after the other: {ratios[-1]:.3f}", flush=True)
    return {"ratios": ratios, "median": statistics.median(ratios)}


def _queued(groups: list[list[Path]], options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        where = [word for name in ("raw", "media", "state") for word in (f"--{name}", f"{folder}/{name}")]
        start_s = time.monotonic()
        for masters in groups:
            run_tool((*python_module("mediaserver"), "encode", *map(str, masters), *where))
        return time.monotonic() - start_s


def film(name: str, options: argparse.Namespace) -> Path:
    path: Path = options.work / f"{name}_{options.seconds}s.mov"
    if not path.is_file():
        # Drawn in another process that is not a child of ours, or its memory would count as the encoder's.
        raise SystemExit(f"{path} is missing: run `films` first.")
    return path


def bd_rate(theirs: Points, own: Points) -> float | None:
    """Return the mean difference of rate at the same VMAF, as a share: -0.4 is 40 % less. None without overlap."""
    curves = [sorted((vmaf, log(size)) for size, vmaf in points.values()) for points in (theirs, own)]
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if high <= low:
        return None
    places = [low + (high - low) * (i + 0.5) / 200 for i in range(200)]
    return exp(statistics.mean(_on(curves[1], place) - _on(curves[0], place) for place in places)) - 1


def _on(curve: list[tuple[float, float]], vmaf: float) -> float:
    for (left, below), (right, above) in pairwise(curve):
        if vmaf <= right:
            return below + (above - below) * (vmaf - left) / max(1e-9, right - left)
    return curve[-1][1]


def report(results: Json) -> str:
    lines = [
        "| film | set | MB 1080p / 720p / 432p | VMAF at 1080p | bytes | BD-rate | wall | processor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shares: dict[str, list[float]] = {"h264": [], "av1": []}
    walls = []
    for name, found in results.get("films", {}).items():
        if "script" not in found:
            continue
        whole = sum(size for size, _ in found["script"].values())
        for kind in ("script", "h264", "av1"):
            points = found[kind]
            sizes = " / ".join(f"{points[rung][0] / 1e6:.1f}" if rung in points else "-" for rung, *_ in SCRIPT)
            scores = " / ".join(f"{points[rung][1]:.1f}" if rung in points else "-" for rung, *_ in SCRIPT)
            cells = ["1", "", "", ""]
            if kind != "script":
                share, rate = sum(size for size, _ in points.values()) / whole, bd_rate(found["script"], points)
                shares[kind].append(share)
                cells = [f"{share:.2f}x", "-" if rate is None else f"{rate:+.0%}", "", ""]
            if kind == "h264":
                cells[2:] = [f"{found['wall']:.2f}x", f"{found['processor']:.2f}x"]
                walls.append(found["wall"])
            lines.append(" | ".join(["| " + name, kind, sizes, scores, *cells]) + " |")
    for kind, found in shares.items():
        if found:
            lines.append(
                f"\n{kind}: {statistics.mean(found):.2f}x of the script's bytes in the mean of {len(found)} films"
            )
    if walls:
        mean = statistics.mean(walls)
        lines.append(f"\nwall time of the H.264 rungs, probing included: {mean:.2f}x in the mean of {len(walls)} films")
    for row in results.get("growth", {}).get("rows", ()):
        each = row["wall_s"] / row["seconds"]
        lines.append(
            f"\n{row['seconds']:g} s of film: {each:.2f} s of time each, largest process so far {row['peak_mb']:.0f} MB"
        )
    if "queue" in results:
        lines.append(f"\ntwo at once / one after the other: {results['queue']['median']:.2f} (median)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("films", "compare", "score", "growth", "queue", "report"))
    parser.add_argument("--film", action="append", choices=tuple(FILMS), help="only this one; may be repeated")
    parser.add_argument("--seconds", type=int, default=10, help="length of the films (10)")
    parser.add_argument("--pairs", type=int, default=1, help="how often both are run; the median counts (1)")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "encoder-benchmark")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    names, file = options.film or list(FILMS), options.work / "results.json"
    results: Json = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if options.part == "films":
        for name in names:
            write(name, options.seconds, options.work / f"{name}_{options.seconds}s.mov")
    elif options.part == "compare":
        for name in names:
            results.setdefault("films", {}).setdefault(name, {}).update(compare(name, options))
    elif options.part == "score":
        for name in names:
            results["films"][name] |= score(name, options)
    elif options.part == "growth":
        results["growth"] = growth(names[0], options)
    elif options.part == "queue":
        results["queue"] = queue(names, options)
    file.write_text(json.dumps(results, indent=1), "utf-8")
    print(report(results))


if __name__ == "__main__":
    os.environ["MEDIASERVER_AV1"] = "off"
    main()
