"""The lock that encoders look at is taken exactly while a scene is being made."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from mediaserver.precedence import give_way, viewers_lock


async def test_the_lock_follows_the_renders_and_ends_with_the_server(tmp_path: Path):
    rendering = False
    task = asyncio.create_task(give_way(lambda: rendering, tmp_path))
    for wanted in (True, False, True):
        rendering = wanted
        while viewers_lock(tmp_path).is_taken() != wanted:
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not viewers_lock(tmp_path).is_taken()
