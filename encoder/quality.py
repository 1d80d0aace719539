"""How finely a film must be encoded: short samples at two qualities, measured against the master by VMAF.

VMAF (Netflix, libvmaf of ffmpeg) says how good a picture looks at the size of the largest rung, from 0 to 100. An
ffmpeg without it has XPSNR (Helmrich et al., 2020), whose decibels are brought to that scale.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import exp, log
from pathlib import Path

from encoder.capabilities import Measure
from encoder.commands import sample_command, score_command, trial_file
from encoder.guard import ANY, Care
from encoder.ladder import in_codec
from encoder.model import Grid, Ladder, Master, Rung
from encoder.tools import Tools, run_guarded

# A shorter film is not worth the samples: it gets the usual qualities.
SHORTEST_S = 10
# One sample for so many seconds of film, within limits.
SAMPLE_EVERY_S, FEWEST, MOST, SAMPLE_FRAMES = 30, 2, 8, 16
CRFS = (20, 27)
FINEST, COARSEST = 16, 30
TARGET = 94.0
# A smaller rung is blurred by being enlarged: so much below its own best is not seen any more.
BELOW_BEST = 1.5
# A rung must look that much better than the next one, or need that much less, or it is left out.
LEAST_GAIN, LEAST_SAVING = 1.0, 0.15
EQUAL_DB = 60.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One rung at one CRF: its mean VMAF and its size in bytes, over all samples."""

    rung: str
    crf: int
    vmaf: float
    bytes: int


def chosen(
    master: Master,
    ladder: Ladder,
    measure: Measure | None,
    tools: Tools,
    *,
    care: Care = ANY,
    known: dict[str, int] | None = None,
) -> Ladder:
    """Return the ladder with each rung's CRF for this film, without the rungs that bring nothing.

    Without a `measure` it stays as it is. `known` is what was measured of the same film before: the CRFs of its rungs
    by name. Raises ToolFailed, ToolStalled, ToolCancelled.
    """
    if not measure:
        return ladder
    h264 = tuple(rung for rung in ladder.rungs if rung.codec == "h264")
    crfs = known or _measured(master, replace(ladder, rungs=h264), measure, tools, care)
    kept = {rung.name: replace(rung, crf=crfs[rung.name]) for rung in h264 if rung.name in crfs}
    others = [
        in_codec(kept[rung.name], rung.codec, rung.transfer)
        for rung in ladder.rungs
        if rung.codec != "h264" and rung.name in kept
    ]
    return replace(ladder, rungs=(*kept.values(), *others))


def _measured(master: Master, ladder: Ladder, measure: Measure, tools: Tools, care: Care) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="samples-") as folder:
        trials = _tried(master, ladder, Path(folder), measure, tools=tools, care=care)
    return decide([rung.name for rung in ladder.rungs], trials)


def samples_of(grid: Grid) -> tuple[range, ...]:
    """Return short runs of frames, evenly spread, none at the very beginning or end."""
    count = max(FEWEST, min(MOST, round(grid.duration_s / SAMPLE_EVERY_S)))
    places = (Fraction(2 * i + 1, 2 * count) for i in range(count))
    starts = [int(grid.frames * place) for place in places]
    return tuple(range(start, min(start + SAMPLE_FRAMES, grid.frames)) for start in starts)


def _tried(master: Master, ladder: Ladder, folder: Path, measure: Measure, *, tools: Tools, care: Care) -> list[Trial]:
    """Encode every sample with every rung and CRF, and let ffmpeg compare them with the master."""
    tries = tuple(replace(rung, crf=crf) for rung in ladder.rungs for crf in CRFS)
    results: dict[Rung, list[tuple[float, int]]] = {one: [] for one in tries}
    for number, frames in enumerate(samples_of(ladder.grid)):
        work = folder / str(number)
        work.mkdir()
        encode = sample_command(master, ladder, tries, frames, work=work, tools=tools)
        score = score_command(master, ladder, tries, frames, measure=measure, work=work, tools=tools)
        for command in (encode, score):
            run_guarded(command, care, on_line=lambda _: None)
        for one in tries:
            report = (work / trial_file(one, "log")).read_text("utf-8")
            results[one].append((SCORES[measure](report), (work / trial_file(one, "mp4")).stat().st_size))
    return [Trial(one.name, one.crf or 0, *_pooled(found)) for one, found in results.items()]


def vmaf_of(report: str) -> float:
    return float(json.loads(report)["pooled_metrics"]["vmaf"]["mean"])


def xpsnr_score_of(report: str) -> float:
    """Return the mean of the pictures' luma XPSNR on VMAF's scale, by a curve through 36 samples of three films.

    Where a top rung is decided, from 35 to 42 dB, it is within 5 of VMAF. An equal picture has an infinite XPSNR.
    """
    pictures_db = [min(EQUAL_DB, float(found)) for found in re.findall(r"n: *\d+ +XPSNR y: *(\S+)", report)]
    return 100 - 33 * exp(0.18 * (30 - sum(pictures_db) / len(pictures_db)))


SCORES: dict[Measure, Callable[[str], float]] = {"libvmaf": vmaf_of, "xpsnr": xpsnr_score_of}


def _pooled(found: Iterable[tuple[float, int]]) -> tuple[float, int]:
    scores, sizes = zip(*found, strict=True)
    return sum(scores) / len(scores), sum(sizes)


def decide(names: list[str], trials: Iterable[Trial]) -> dict[str, int]:
    """Return the CRF of every rung worth having; `names` from the largest to the smallest. Pure.

    A smaller rung that would need nearly as many bytes as the next larger one is made coarser until it does not.
    """
    by_rung = {name: sorted((t for t in trials if t.rung == name), key=lambda t: t.crf) for name in names}
    kept: list[Trial] = []
    for name in names:
        trial = _planned(by_rung[name], is_top=name == names[0])
        if kept:
            trial = _saving(by_rung[name], trial, round(kept[-1].bytes * (1 - LEAST_SAVING)))
        if kept and kept[-1].vmaf - trial.vmaf < LEAST_GAIN:
            kept[-1] = trial
        elif not kept or trial.bytes <= kept[-1].bytes * (1 - LEAST_SAVING):
            kept.append(trial)
    return {trial.rung: trial.crf for trial in kept}


def _planned(trials: list[Trial], *, is_top: bool) -> Trial:
    """Return what the rung would be like at the coarsest CRF that is good enough.

    The top rung is as large as what it is compared with, so more bytes bring it up to the target.
    """
    fine, coarse = trials
    target = TARGET if is_top else min(TARGET, fine.vmaf - BELOW_BEST)
    slope = (fine.vmaf - coarse.vmaf) / (coarse.crf - fine.crf)
    crf = COARSEST if slope <= 0 else int(fine.crf + (fine.vmaf - target) / slope)
    return _at(trials, max(FINEST, min(COARSEST, crf)))


def _saving(trials: list[Trial], planned: Trial, most_bytes: int) -> Trial:
    """Return the rung at the first CRF from the planned one on that needs no more than `most_bytes`, or at the last."""
    tried = (_at(trials, crf) for crf in range(planned.crf, COARSEST))
    return next((trial for trial in tried if trial.bytes <= most_bytes), _at(trials, COARSEST))


def _at(trials: list[Trial], crf: int) -> Trial:
    """Return what lies on the line through two trials; bytes shrink by the same factor with every step."""
    fine, coarse = trials
    share = (crf - fine.crf) / (coarse.crf - fine.crf)
    size = exp(log(fine.bytes) + share * (log(coarse.bytes) - log(fine.bytes)))
    return Trial(fine.rung, crf, fine.vmaf + share * (coarse.vmaf - fine.vmaf), round(size))
