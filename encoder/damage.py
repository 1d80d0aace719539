"""What of a master could not be decoded: counted from ffmpeg's complaints, kept with the chunk, told to the editor."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from encoder.errors import MasterDamaged, ToolFailed

# The share of packets that may fail before a master is refused; ffmpeg itself counts (`-max_error_rate`).
MOST_ERRORS = 0.1
FILE = "decode_errors"
_ERROR = re.compile(r"Error submitting packet to decoder|corrupt decoded frame")
_RATE = re.compile(r"[Dd]ecode error rate ([0-9.]+) exceeds")


def decode_errors(complaints: str) -> int:
    """Return how many packets ffmpeg says it could not decode; at least that many, since only the end is kept."""
    return len(_ERROR.findall(complaints))


def refusal(master: Path, failure: ToolFailed) -> MasterDamaged | None:
    """Return the refusal if a run failed because too much could not be decoded."""
    if not (rate := _RATE.search(failure.stderr_tail)):
        return None
    return MasterDamaged(master, f"{float(rate[1]):.0%} of its pictures or sounds.")


def write(folder: Path, errors: int) -> None:
    (folder / FILE).write_text(f"{errors}\n", "ascii")


def counted(folders: Iterable[Path]) -> int:
    """Return the errors of all chunks together."""
    return sum(int(file.read_text("ascii")) for folder in folders if (file := folder / FILE).is_file())


def notes(errors: int) -> tuple[str, ...]:
    """Return the sentence on them, if there is something to say."""
    if not errors:
        return ()
    times = "once" if errors == 1 else f"{errors} times"
    return (f"The master is damaged: ffmpeg could not decode it {times}; look at what was published.",)
