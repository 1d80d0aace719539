from __future__ import annotations

import json

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from mediaserver.app import FIGURES, build_app
from mediaserver.ops import admin_app
from mediaserver.settings import Settings
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("healthz", {"status": "ok"}),
        ("readyz", {"ready": True}),
        ("version", {"name": "mediaserver", "version": "0.1.0"}),
    ],
)
async def test_operators_are_answered(serve: Serve, path: str, expected: dict[str, object]):
    served = await serve()
    status, headers, sent = await served.get(path)
    assert (status, json.loads(sent), headers["Cache-Control"]) == (200, expected, "no-store")


async def test_a_server_without_its_media_is_not_ready(serve: Serve, tmp_path):
    served = await serve()
    (tmp_path / "media").rmdir()
    assert (await served.get("readyz"))[0] == 503


async def test_figures_are_not_on_the_main_address(serve: Serve):
    served = await serve()
    assert (await served.get("metrics"))[0] == 404


async def test_no_answer_names_the_version_of_a_program(serve: Serve):
    served = await serve()
    assert (await served.get("healthz"))[1]["Server"] == "mediaserver"


async def test_the_admin_address_counts_answers_and_scenes(publish: Publish, tmp_path):
    publish()
    worker = ScriptedFaceWorker()
    app = build_app(Settings(media=tmp_path / "media", state=tmp_path / "state"), worker, worker)
    async with TestServer(app) as main, TestServer(admin_app(app[FIGURES])) as admin, ClientSession() as client:
        for path in ("/part2/stream.mpd", "/part2/stream.mpd", "/nothing"):
            await (await client.get(main.make_url(path))).read()
        answer = await client.get(admin.make_url("/metrics"))
        text = await answer.text()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'mediaserver_answers_total{status="200"} 2' in text
    assert 'mediaserver_answers_total{status="404"} 1' in text
    assert "\nmediaserver_sessions 0\n" in text
