"""When a master has settled: first without files and clocks, then on a real folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from encoder import watch
from encoder.errors import MasterMissing, StillGrowing
from encoder.watch import Seen, Stamp, check_settled, look, settle, settled_masters, stamp_of

A, B = Path("raw/a.mov"), Path("raw/b.mov")


def stamp(size: int, tail: bytes = b"end", name: str = "a.mov") -> Stamp:
    return ((name, size, 1, tail),)


class Clockwork:
    """Looks at a folder that exists in the test alone; masters settle after 2 s."""

    def __init__(self) -> None:
        self.seen: dict[Path, Seen] = {}

    def look(self, now_s: float, **stamps: Stamp) -> list[str]:
        self.seen, settled = settle(self.seen, {Path(f"raw/{k}.mov"): v for k, v in stamps.items()}, now_s, 2)
        return [path.stem for path in settled]


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


def test_a_master_settles_when_it_looks_the_same_long_enough(clockwork: Clockwork):
    assert clockwork.look(0, a=stamp(5)) == []
    assert clockwork.look(1.9, a=stamp(5)) == []
    assert clockwork.look(2, a=stamp(5)) == ["a"]


def test_it_is_reported_once(clockwork: Clockwork):
    assert [clockwork.look(t, a=stamp(5)) for t in (0, 2, 4, 100)] == [[], ["a"], [], []]


def test_a_file_that_grows_never_settles(clockwork: Clockwork):
    assert [clockwork.look(t, a=stamp(t)) for t in range(20)] == [[]] * 20


def test_a_file_of_full_size_settles_when_its_end_has_arrived(clockwork: Clockwork):
    assert clockwork.look(0, a=stamp(5, b"\0\0\0")) == []
    assert clockwork.look(2, a=stamp(5, b"end")) == []
    assert clockwork.look(4, a=stamp(5, b"end")) == ["a"]


def test_a_changed_sidecar_reports_its_master_again(clockwork: Clockwork):
    with_sidecar = (*stamp(5), ("a.toml", 9, 1, b""))
    assert [clockwork.look(t, a=stamp(5)) for t in (0, 2)] == [[], ["a"]]
    assert [clockwork.look(t, a=with_sidecar) for t in (3, 5)] == [[], ["a"]]
    assert [clockwork.look(t, a=stamp(5)) for t in (6, 8)] == [[], ["a"]]


def test_one_growing_master_does_not_hold_back_another(clockwork: Clockwork):
    assert clockwork.look(0, a=stamp(1), b=stamp(5)) == []
    assert clockwork.look(2, a=stamp(2), b=stamp(5)) == ["b"]


def test_a_master_that_comes_back_is_reported_again(clockwork: Clockwork):
    assert [clockwork.look(t, a=stamp(5)) for t in (0, 2)] == [[], ["a"]]
    assert clockwork.look(3) == []
    assert [clockwork.look(t, a=stamp(5)) for t in (4, 6)] == [[], ["a"]]


def test_only_masters_are_looked_at(tmp_path: Path):
    for name in ("a.mov", "b.mp4.part", "c.tmp", "~$d.mov", ".e.mov", ".DS_Store", "f.toml", "g.wav"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.mov").mkdir()
    (tmp_path / "gone.mov").symlink_to(tmp_path / "nowhere")
    assert list(look(tmp_path)) == [tmp_path / "a.mov"]


def test_what_lies_beside_a_master_belongs_to_it(tmp_path: Path):
    beside = ["a.toml", "a.slot.you.wav", "a.mask.png", "a.en.srt"]
    for name in [*beside, "a.mov", "a.mkv", "ab.toml", "a.toml.part", "b.wav"]:
        (tmp_path / name).write_bytes(b"x")
    found = stamp_of(tmp_path / "a.mov")
    assert found is not None
    assert sorted(name for name, *_ in found) == sorted(["a.mov", *beside])


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path):
    assert look(tmp_path / "unmounted") == {}


def test_a_master_that_cannot_be_read_is_not_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.mov").write_bytes(b"x")
    monkeypatch.setattr(watch, "_tail", lambda _: (_ for _ in ()).throw(PermissionError()))
    assert look(tmp_path) == {}


@contextlib.asynccontextmanager
async def watching(raw: Path, settle_s: float = 0.2) -> AsyncIterator[asyncio.Queue[str]]:
    """Follow a folder; the names of settled masters come out of the queue."""
    names: asyncio.Queue[str] = asyncio.Queue()

    async def follow() -> None:
        async for master in settled_masters(raw, settle_s, 0.05):
            names.put_nowait(master.name)

    task = asyncio.create_task(follow())
    try:
        yield names
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_masters_that_lie_there_already_are_found_at_the_start(tmp_path: Path):
    for name in ("a.mov", "it's 2.mp4", "فيلم.mkv", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    async with watching(tmp_path) as names:
        assert {await names.get() for _ in range(3)} == {"a.mov", "it's 2.mp4", "فيلم.mkv"}


async def test_a_copy_is_reported_when_it_has_its_name_and_its_end(tmp_path: Path):
    async with watching(tmp_path / "raw") as names:
        while not (tmp_path / "raw").is_dir():
            await asyncio.sleep(0.01)
        part = tmp_path / "raw" / "a.mov.part"
        part.write_bytes(b"x" * 100)
        (tmp_path / "raw" / "b.mov").write_bytes(b"x")
        assert await names.get() == "b.mov"
        part.rename(part.with_suffix(""))
        assert await names.get() == "a.mov"


async def test_a_growing_file_waits_for_its_last_byte(tmp_path: Path):
    async with watching(tmp_path, settle_s=1) as names:
        with (tmp_path / "a.mov").open("wb") as copy:
            for _ in range(15):
                copy.write(b"x")
                copy.flush()
                await asyncio.sleep(0.1)
                assert names.empty()
        assert await names.get() == "a.mov"


async def test_a_sidecar_reports_its_master_again(tmp_path: Path):
    (tmp_path / "a.mov").write_bytes(b"x")
    async with watching(tmp_path) as names:
        assert await names.get() == "a.mov"
        (tmp_path / "a.toml").write_text('title = "A"')
        assert await names.get() == "a.mov"


async def test_where_the_system_tells_of_no_change_looking_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def none_left(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watch, "awatch", none_left)
    async with watching(tmp_path) as names:
        await asyncio.sleep(0)
        (tmp_path / "a.mov").write_bytes(b"x")
        assert await names.get() == "a.mov"


def test_a_named_master_that_has_lain_there_is_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    (tmp_path / "a.mov").write_bytes(b"x")
    os.utime(tmp_path / "a.mov", (1, 1))
    check_settled(tmp_path / "a.mov", 5)


def test_a_named_master_that_still_grows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    master = tmp_path / "a.mov"
    master.write_bytes(b"x")
    monkeypatch.setattr(time, "sleep", lambda _: master.write_bytes(b"xy"))
    with pytest.raises(StillGrowing, match="still being written") as caught:
        check_settled(master, 5)
    assert "drop the file into raw/" in caught.value.hint


def test_a_named_master_that_is_not_there_is_missing(tmp_path: Path):
    with pytest.raises(MasterMissing):
        check_settled(tmp_path / "a.mov", 5)
