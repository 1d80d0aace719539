"""From a finished `.part` folder to a published version: fsync, rename, then the pointer `current`, last."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from encoder.errors import CurrentMoved

POINTER = "current"
PART = ".part"
# Nobody can still be watching an older version after the longest life of a session.
KEEP_SUPERSEDED_S = 24 * 3600


def current_version(chapter_folder: Path) -> str | None:
    """Return the published version's name, or None."""
    try:
        return (chapter_folder / POINTER).read_text("utf-8").strip() or None
    except OSError:
        return None


def part_folder(chapter_folder: Path, version: str) -> Path:
    return chapter_folder / f"{version}{PART}"


def publish(chapter_folder: Path, version: str, instead_of: str | Literal[False] | None = False) -> Path:
    """Make the finished part folder of `version` the current one and return its final folder.

    Safe to run twice, also at once by two processes, and at every moment either the old or the new version is whole on
    disk. With `instead_of` the version, or None, that was current when the work was planned, the pointer is changed
    only if it is so still, or is ours already; else raises CurrentMoved.
    """
    part, final = part_folder(chapter_folder, version), chapter_folder / version
    if not final.exists():
        for file in part.iterdir():
            _fsync(file)
        _fsync(part)
        try:
            part.rename(final)
        except OSError:
            if not final.exists():
                raise
        _fsync(chapter_folder)
    shutil.rmtree(part, ignore_errors=True)
    with _alone(chapter_folder):
        now = current_version(chapter_folder)
        if instead_of is not False and now not in (instead_of, version):
            raise CurrentMoved(version, now)
        if now != version:
            _point(chapter_folder, version)
    return final


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that comparing and setting are one; some network mounts lock no folders."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _point(chapter_folder: Path, version: str) -> None:
    new = chapter_folder / f"{POINTER}.new"
    new.write_text(version + "\n", "utf-8")
    _fsync(new)
    new.replace(chapter_folder / POINTER)
    _fsync(chapter_folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def retire(chapter_folder: Path, *, keep_s: int = KEEP_SUPERSEDED_S, pinned: Collection[str] = ()) -> list[str]:
    """Delete versions that were superseded more than `keep_s` seconds ago; return their names.

    Those that somebody still plays are named by `pinned` and stay.
    """
    pointer = chapter_folder / POINTER
    if not pointer.exists() or time.time() - pointer.stat().st_mtime < keep_s:
        return []
    kept = {current_version(chapter_folder), *pinned}
    old = [f for f in chapter_folder.iterdir() if f.is_dir() and f.name not in kept and f.suffix != PART]
    for folder in old:
        shutil.rmtree(folder)
    return [folder.name for folder in old]
