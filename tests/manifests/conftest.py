"""A chapter with everything that manifests can name, and a server that sends it to everybody and to one session."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from encoder import stages
from encoder.model import Presentation
from encoder.tools import find_tools, run_tool
from tests.masters import make_master, with_slot
from tests.mediaserver.house import housed

SUBRIP = "1\n00:00:00,500 --> 00:00:02,000\n{}\n"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Site:
    """`session` is the address below which one viewer's own manifests lie; without a photo, slots are the chapter's."""

    connection: http.client.HTTPConnection
    presentation: Presentation
    session: str

    def get(self, url: str, span: tuple[int, int] | None = None) -> Answer:
        """Fetch an address, or a part of it."""
        headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1]}"}
        self.connection.request("GET", urlsplit(url).path, headers=headers)
        with self.connection.getresponse() as answer:
            return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def base(self, *, personal: bool) -> str:
        return f"http://here{self.session if personal else '/'}{self.presentation.chapter}/"


def make_chapter(root: Path) -> Presentation:
    """Publish 133 frames at 30000/1001 with a slot, two sounds, captions in two languages and both codecs."""
    tools = find_tools()
    master = make_master(root / "raw" / "part2.mov", rate="30000/1001", frames=133, tools=tools)
    with_slot(master, start=2.2, duration=2.2, more='marker = [{at = 1.5, title = "The door"}]')
    dub = [str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", "sine=frequency=330:duration=4.4"]
    run_tool([*dub, str(root / "raw" / "part2.fr.wav")])
    for language, said in (("en", "Hello"), ("ar", "مرحبا")):
        (root / "raw" / f"part2.{language}.srt").write_text(SUBRIP.format(said), "utf-8")
    media = root / "media"
    plan = stages.plan(master, tools)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    return Presentation.load(stages.publish_version(plan, media))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    presentation = make_chapter(root)
    with housed(root) as house:
        connection = http.client.HTTPConnection(house.host, house.port)
        yield Site(connection, presentation, _session(connection))
        connection.close()


def _session(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/consent?lang=en")
    with connection.getresponse() as answer:
        text = json.load(answer)
    agreed = {"consent": text["sha256"], "boxes": {box["id"]: True for box in text["boxes"]}}
    connection.request("POST", "/sessions", json.dumps(agreed), {"Content-Type": "application/json"})
    with connection.getresponse() as answer:
        return str(json.load(answer)["session"])
