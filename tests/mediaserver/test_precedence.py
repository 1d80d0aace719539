"""The lock that encoders look at is taken from the look at a photo until the scene is made."""

from __future__ import annotations

import asyncio
import fcntl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mediaserver.precedence import give_way, viewers_lock
from mediaserver.pulse import Pulse
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve


@dataclass
class Viewers:
    at_work: bool = False
    stirred: Pulse = field(default_factory=Pulse)


async def taken(state: Path, wanted: bool) -> None:
    while viewers_lock(state).is_taken() != wanted:
        await asyncio.sleep(0.01)


async def test_the_lock_follows_the_work_and_ends_with_the_server(tmp_path: Path):
    viewers = Viewers()
    task = asyncio.create_task(give_way(viewers, tmp_path))
    for wanted in (True, False, True):
        viewers.at_work = wanted
        viewers.stirred.fire()
        await taken(tmp_path, wanted)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not viewers_lock(tmp_path).is_taken()


async def test_an_encoder_that_looks_just_then_only_delays_it(tmp_path: Path):
    viewers, file = Viewers(), tmp_path / "viewers.lock"
    with file.open("w") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        viewers.at_work = True
        task = asyncio.create_task(give_way(viewers, tmp_path))
        await asyncio.sleep(0.05)
        fcntl.flock(looker, fcntl.LOCK_UN)
    await taken(tmp_path, True)
    task.cancel()
    await asyncio.wait([task])


async def test_encoders_stand_still_from_the_look_at_the_photo_to_the_last_rung(
    publish: Publish, serve: Serve, tmp_path: Path
):
    class Watched(ScriptedFaceWorker):
        looked = asyncio.Event()
        may_go = asyncio.Event()

        async def examine(self, photo):
            self.looked.set()
            await self.may_go.wait()
            return await super().examine(photo)

    publish()
    worker, state = Watched(steps=asyncio.Semaphore(0)), tmp_path / "state"
    served = await serve(worker)
    session = await served.begin()
    await served.get(f"{session}part2/stream.mpd")
    assert not viewers_lock(state).is_taken()
    sending = asyncio.create_task(served.put_photo(session))
    await worker.looked.wait()
    await taken(state, True)
    worker.may_go.set()
    await sending
    for _ in range(6):
        assert viewers_lock(state).is_taken()
        worker.steps.release()
        await asyncio.sleep(0)
    await served.until(session, "ready")
    await taken(state, False)
