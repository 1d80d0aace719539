"""Jobs are changed by whoever knows the operator's key, from a page of this server or from no page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from mediaserver.app import build_app
from mediaserver.errors import JobUnknown
from mediaserver.settings import Settings
from tests.mediaserver.conftest import ScriptedFaceWorker

LISTED = {"id": "1", "name": "part2.mov", "state": "running", "percent": 40.0}
SECRET = {"path": "/srv/raw/part2.mov", "commands": ["ffmpeg -i x"], "command": None, "stderr_tail": "odd"}


@dataclass
class Listed:
    """Jobs that note what is done to them."""

    done: list[str] = field(default_factory=list)

    def listing(self) -> list[dict[str, Any]]:
        return [LISTED | SECRET]

    def retry(self, name: str) -> None:
        if name != "1":
            raise JobUnknown(name)
        self.done.append("retry")

    def cancel(self, name: str) -> None:
        self.done.append("cancel")


@dataclass
class Office:
    server: TestServer
    client: ClientSession
    jobs: Listed
    key: str

    async def post(self, path: str, **headers: str) -> int:
        async with self.client.post(self.server.make_url(path), headers=headers) as answer:
            return answer.status

    async def listing(self, **headers: str) -> dict[str, Any]:
        async with self.client.get(self.server.make_url("/api/jobs"), headers=headers) as answer:
            return dict(await answer.json())


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "media").mkdir()
    worker, jobs = ScriptedFaceWorker(), Listed()
    settings = Settings(media=tmp_path / "media", state=tmp_path / "state")
    async with TestServer(build_app(settings, worker, worker, jobs=jobs)) as server, ClientSession() as client:
        file = tmp_path / "state" / "keys" / "operator.key"
        assert file.stat().st_mode & 0o077 == 0
        yield Office(server, client, jobs, f"Bearer {file.read_text('ascii')}")


async def test_jobs_are_listed_without_what_concerns_this_machine_alone(office: Office):
    assert await office.listing() == {"jobs": [LISTED], "operator": False}
    assert await office.listing(Authorization="Bearer guess") == {"jobs": [LISTED], "operator": False}
    assert await office.listing(Authorization=office.key) == {"jobs": [LISTED | SECRET], "operator": True}


async def test_an_operator_retries_and_cancels(office: Office):
    assert await office.post("/api/jobs/1/retry", Authorization=office.key) == 204
    own = f"http://{office.server.host}:{office.server.port}"
    assert await office.post("/api/jobs/1/cancel", Authorization=office.key, Origin=own) == 204
    assert office.jobs.done == ["retry", "cancel"]
    assert await office.post("/api/jobs/2/retry", Authorization=office.key) == 404


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer guess", "Basic abc", "Bearer ä"])
async def test_nobody_else_does(office: Office, given: str):
    assert await office.post("/api/jobs/1/cancel", Authorization=given) == 401
    assert office.jobs.done == []


@pytest.mark.parametrize("origin", ["https://other.example", "null", "http://127.0.0.1:1"])
async def test_a_page_of_somebody_else_does_not_even_with_the_key(office: Office, origin: str):
    assert await office.post("/api/jobs/1/cancel", Authorization=office.key, Origin=origin) == 403
    assert office.jobs.done == []


async def test_what_is_not_possible_with_a_job_has_no_address(office: Office):
    assert await office.post("/api/jobs/1/delete", Authorization=office.key) == 404
