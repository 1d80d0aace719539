"""Label, mark and credentials on everything that leaves a running server, whatever the caller asks for."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession, FormData

from encoder.boxes import boxes
from encoder.tools import find_tools, run_tool
from lipsync.compose import AI, PlacedLabel, area_of
from tests.browser.house import PHOTO, WITHOUT, House, OwnScene

pytestmark = pytest.mark.timeout(300)


async def findings(house: House, http: ClientSession, video: bytes) -> dict:  # type: ignore[type-arg]
    async with http.post(f"{house.url}verify", params=WITHOUT, data=video) as answer:
        assert answer.status == 200
        return dict(await answer.json())


def label_seen(house: House, video: bytes, tmp_path: Path) -> bool:
    """Whether letters and plate stand in the upper right of the slot's rectangle in every picture of its middle."""
    file = tmp_path / "watched.mp4"
    file.write_bytes(video)
    picture = house.presentation.videos[0].picture
    assert picture
    width, lines = picture.width, picture.height
    command = [str(find_tools().ffmpeg), "-v", "error", "-i", str(file), "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    pictures = np.frombuffer(run_tool(command), np.uint8).reshape(-1, lines, width)
    placed = PlacedLabel(area_of(house.slot.face, width, lines), lines, AI)
    box, label = placed.box, placed.label
    middle = pictures[len(pictures) // 3 : len(pictures) * 2 // 3, box.rows, box.columns].astype(np.float32)
    letters, plate = label.luma > 220, (label.cover > 0.7) & (label.luma < 40)
    assert letters.sum() > 20 < plate.sum()
    seen = middle[:, letters].mean(axis=1) - middle[:, plate].mean(axis=1)
    return len(seen) > 5 and bool((seen > 100).all())


def assert_all_layers(found: dict) -> None:  # type: ignore[type-arg]
    assert found["made_from_a_face"]
    assert found["credentials"]["intact"]
    assert found["credentials"]["trusted"]
    assert found["credentials"]["sources"] == ["compositeWithTrainedAlgorithmicMedia"]
    assert found["mark"]["render_id"] == found["credentials"]["render_id"] is not None


async def test_a_viewers_scene_carries_all_layers_and_its_fragments_are_those_that_were_streamed(
    house: House, own_scene: OwnScene, tmp_path: Path
):
    first = next(box for box in boxes(own_scene.signed) if box.type == b"moof")
    assert own_scene.signed[first.start :] == own_scene.streamed
    async with ClientSession() as http:
        assert_all_layers(await findings(house, http, own_scene.signed))
    assert label_seen(house, own_scene.signed, tmp_path)


async def test_the_films_existing_client_gets_them_too(house: House, tmp_path: Path):
    name = str(uuid.uuid4())
    form = FormData(WITHOUT)
    form.add_field("image", PHOTO.read_bytes(), filename=f"{name}.png", content_type="image/png")
    async with ClientSession() as http:
        async with http.post(f"{house.url}add-video", data=form, params=WITHOUT) as answer:
            assert answer.status == 200
        while True:
            async with http.get(f"{house.url}video/{name}.mp4", params=WITHOUT) as answer:
                if answer.status == 200:
                    video = await answer.read()
                    break
                assert (answer.status, (await answer.json())["code"]) == (404, "not_yet")
            await asyncio.sleep(0.1)
        assert_all_layers(await findings(house, http, video))
        assert label_seen(house, video, tmp_path)
        async with http.delete(f"{house.url}video/{name}.mp4") as answer:
            assert answer.status == 204


def test_neither_the_server_nor_its_workers_leave_a_core_dump(house: House):
    """A core dump would hold the photos that are in memory."""
    family = {house.pid} | {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if _parent(folder) == house.pid}
    assert len(family) > 2
    for pid in family:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert core[4] == "0"


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0
