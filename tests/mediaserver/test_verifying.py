"""A video that somebody sends to be looked at: answered, and gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.mediaserver.conftest import ScriptedFaceWorker, Serve


async def test_a_video_is_looked_at_and_nothing_of_it_stays(serve: Serve, tmp_path: Path):
    seen: list[tuple[str, int]] = []

    class Looking(ScriptedFaceWorker):
        async def inspect(self, video: Path) -> dict[str, object]:
            seen.append((str(video.parent), video.stat().st_mode & 0o777))
            return await super().inspect(video)

    served = await serve(Looking())
    async with served.client.post(f"{served.url}verify", data=b"x" * 5000) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "private, no-store")
        assert json.loads(await answer.text())["sentences"] == ["It has 5000 bytes."]
    folder = tmp_path / "state" / "verify"
    assert seen == [(str(folder), 0o600)]
    assert os.listdir(folder) == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_video_that_is_too_large_is_refused(serve: Serve, tmp_path: Path, chunked: bool):
    served = await serve(verify_max_bytes=1024)

    async def pieces():
        for _ in range(100):
            yield bytes(1000)

    body = pieces() if chunked else bytes(2000)
    async with served.client.post(f"{served.url}verify", data=body) as answer:
        assert (answer.status, (await answer.json())["code"]) == (413, "video_too_large")
    assert os.listdir(tmp_path / "state" / "verify") == []


async def test_what_a_crash_left_is_deleted_at_the_start(serve: Serve, tmp_path: Path):
    left = tmp_path / "state" / "verify"
    left.mkdir(parents=True)
    (left / "old").write_bytes(b"face")
    await serve()
    assert os.listdir(left) == []


async def test_nobody_checks_videos_all_day(serve: Serve):
    served = await serve()
    statuses = []
    for _ in range(8):
        async with served.client.post(f"{served.url}verify", data=b"x") as answer:
            statuses.append(answer.status)
    assert statuses == [200] * 6 + [429] * 2


async def test_the_page_is_served(serve: Serve):
    served = await serve()
    status, headers, page = await served.get("verify")
    assert (status, b"{{" in page) == (200, False)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
