"""The folder of masters: says of each when it has settled, at the start and whenever it or a file beside it changes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

from encoder.chapter import is_master
from encoder.errors import MasterMissing, StillGrowing

TAIL_BYTES = 4096
UNFINISHED = (".part", ".tmp", ".crdownload", ".partial")

# Of a master and everything beside it: name, size, time of change in ns, and the last bytes of the master itself.
Stamp = tuple[tuple[str, int, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one master looked like, since when it has looked so, and whether that was reported."""

    stamp: Stamp
    since_s: float
    reported: bool = False


def settle(
    seen: Mapping[Path, Seen], stamps: Mapping[Path, Stamp], now_s: float, settle_s: float
) -> tuple[dict[Path, Seen], list[Path]]:
    """Compare one look at the folder with what was seen before; pure.

    Returns what is seen now and the masters that have just settled: they look as they did at least `settle_s` ago,
    and were not reported in this form. A master that is gone is forgotten, so that it is reported when it comes back.
    """
    now, settled = {}, []
    for master, stamp in stamps.items():
        before = seen.get(master)
        if before is None or before.stamp != stamp:
            now[master] = Seen(stamp, now_s)
        elif not before.reported and now_s - before.since_s >= settle_s:
            now[master] = Seen(stamp, before.since_s, reported=True)
            settled.append(master)
        else:
            now[master] = before
    return now, settled


def look(raw: Path) -> dict[Path, Stamp]:
    """Stamp every master in `raw`; one that cannot be read now is left out, as is an unreadable folder's content."""
    try:
        names = sorted(entry.name for entry in os.scandir(raw) if entry.is_file())
    except OSError:
        return {}
    stamps = {}
    for name in names:
        if is_master(Path(name)) and (stamp := stamp_of(raw / name, names)):
            stamps[raw / name] = stamp
    return stamps


def stamp_of(master: Path, names: list[str] | None = None) -> Stamp | None:
    """Stamp one master with the files beside it; `names` are those of its folder. None if it cannot be read."""
    try:
        beside = _beside(master, sorted(os.listdir(master.parent)) if names is None else names)
        return (_file_stamp(master, _tail(master)), *(_file_stamp(master.with_name(name)) for name in beside))
    except OSError:
        return None


def _beside(master: Path, names: list[str]) -> Iterator[str]:
    """Yield the names of sidecar, narrations, masks and captions: all that begin with the master's stem and a dot."""
    for name in names:
        own = name.startswith(f"{master.stem}.") and name != master.name
        if own and not is_master(Path(name)) and not name.lower().endswith(UNFINISHED):
            yield name


def _file_stamp(path: Path, tail: bytes = b"") -> tuple[str, int, int, bytes]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns, tail


def _tail(master: Path) -> bytes:
    """Some copies reserve the whole size first: only the last bytes tell that they have arrived.

    A file that may not be read is reported like any other, so that somebody is told why nothing comes of it.
    """
    try:
        with master.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except PermissionError:
        return b"forbidden"


async def settled_masters(raw: Path, settle_s: float, poll_s: float) -> AsyncGenerator[Path, None]:
    """Yield every master in `raw` once it has settled, and again after each change of it or of a file beside it.

    The first look is the start-up scan. Runs until it is cancelled; `raw` is made if it is missing.
    """
    raw.mkdir(parents=True, exist_ok=True)
    seen: dict[Path, Seen] = {}
    async with aclosing(_occasions(raw, poll_s)) as occasions:
        async for _ in occasions:
            stamps = await asyncio.to_thread(look, raw)
            seen, settled = settle(seen, stamps, time.monotonic(), settle_s)
            for master in settled:
                yield master


async def _occasions(raw: Path, poll_s: float) -> AsyncGenerator[None, None]:
    """Yield when it is time to look: at once, at changes, and every `poll_s`, since network mounts tell of none."""
    yield
    timeout_ms = max(1, round(poll_s * 1000))
    while True:
        try:
            changes = awatch(raw, rust_timeout=timeout_ms, debounce=timeout_ms, yield_on_timeout=True, recursive=False)
            async with aclosing(changes):
                async for _ in changes:
                    yield
        except Exception:
            # Unmounted, no watch left for us, a name that is no UTF-8: watchfiles raises many things; looking does it.
            await asyncio.sleep(poll_s)
            yield


def check_settled(master: Path, settle_s: float) -> None:
    """Make sure that a named master is not just being copied; waits `settle_s` if it changed only now.

    Raises MasterMissing, StillGrowing.
    """
    if not master.is_file():
        raise MasterMissing(master)
    if abs(time.time() - master.stat().st_mtime) > settle_s:
        return
    before = stamp_of(master)
    time.sleep(settle_s)
    if before is None or stamp_of(master) != before:
        raise StillGrowing(master)
