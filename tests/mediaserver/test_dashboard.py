from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from mediaserver.app import build_app
from mediaserver.dashboard import PAGES, SCRIPTS, Assets
from mediaserver.settings import Settings
from tests.mediaserver.conftest import ScriptedFaceWorker, Serve

OURS = sorted(path for path in PAGES.iterdir() if path.suffix in (".html", ".css", ".js"))


def scripts_folder(folder: Path, text: str = "player") -> Path:
    for path in SCRIPTS.values():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("path", ["", "editor"])
async def test_a_page_loads_only_what_the_server_itself_sends(serve: Serve, path: str):
    served = await serve()
    status, headers, sent = await served.get(path)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    scripts = "'self'" if path else "'self' 'wasm-unsafe-eval'"
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", scripts, "'self'")
    assert "{{" not in sent.decode()
    for file in set(re.findall(r'"(assets/[^"]+)"', sent.decode())):
        found, kept, _ = await served.get(file)
        assert (found, kept["Cache-Control"]) == (200, "public, max-age=31536000, immutable")


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_no_page_names_another_host_or_the_root_of_this_one(page: Path):
    text = page.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://(?!\w*\))[\w.]", text)
    assert not re.search(r"""(?:href|src|action)=["']/""", text)
    assert not re.search(r"""(?:fetch|ask|URL)\(["'`]/""", text)


@pytest.mark.parametrize("page", [page for page in OURS if page.suffix == ".html"], ids=lambda page: page.name)
def test_no_page_needs_what_its_policy_forbids(page: Path):
    text = page.read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))


@pytest.mark.parametrize("name", ["viewer", "editor"])
def test_every_element_that_a_script_looks_for_is_on_its_page(name: str):
    html = (PAGES / f"{name}.html").read_text("utf-8")
    wanted = set(re.findall(r'\$\("([\w-]+)"\)', (PAGES / f"{name}.js").read_text("utf-8")))
    assert wanted
    assert wanted <= set(re.findall(r'\sid="([\w-]+)"', html))


def test_the_boxes_of_the_consent_are_not_ticked_in_advance():
    assert "checked" not in (PAGES / "viewer.html").read_text("utf-8")


def test_a_changed_file_has_a_changed_address(tmp_path: Path):
    first = Assets(scripts_folder(tmp_path, "one")).folder
    assert Assets(scripts_folder(tmp_path, "one")).folder == first
    assert Assets(scripts_folder(tmp_path, "two")).folder != first


async def test_the_players_scripts_are_served_from_where_set_up_put_them(tmp_path: Path):
    (tmp_path / "media").mkdir()
    worker = ScriptedFaceWorker()
    settings = Settings(media=tmp_path / "media", state=tmp_path / "state")
    app = build_app(settings, worker, worker, scripts=scripts_folder(tmp_path / "node_modules", "let player"))
    async with TestServer(app) as server, ClientSession() as client:
        page = await (await client.get(server.make_url("/"))).text()
        folder = re.search(r"assets/\w+", page)
        assert folder
        for name in ("lib/dash.js", "lib/hls.js"):
            answer = await client.get(server.make_url(f"/{folder[0]}/{name}"))
            assert (answer.status, await answer.text()) == (200, "let player")
            assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        for name in ("lib/other.js", "package.json", "viewer.html", "../app.py"):
            assert (await client.get(server.make_url(f"/{folder[0]}/{name}"))).status in (400, 404)


async def test_what_a_script_imports_by_name_has_an_address_and_webassembly_its_type(tmp_path: Path):
    (tmp_path / "media").mkdir()
    folder, worker = (
        scripts_folder(tmp_path / "node_modules", 'import { merge } from "ts-deepmerge";'),
        ScriptedFaceWorker(),
    )
    settings = Settings(media=tmp_path / "media", state=tmp_path / "state")
    async with TestServer(build_app(settings, worker, worker, scripts=folder)) as server, ClientSession() as client:
        assets = re.search(r"assets/\w+", await (await client.get(server.make_url("/"))).text())
        assert assets
        script = await client.get(server.make_url(f"/{assets[0]}/lib/c2pa/index.js"))
        assert await script.text() == 'import { merge } from "./ts-deepmerge.js";'
        wasm = await client.get(server.make_url(f"/{assets[0]}/lib/c2pa/c2pa.wasm"))
        assert wasm.headers["Content-Type"] == "application/wasm"


async def test_a_page_answers_304_to_its_tag(serve: Serve):
    served = await serve()
    _, headers, _ = await served.get("")
    assert (await served.get("", **{"If-None-Match": headers["ETag"]}))[0] == 304


async def test_the_page_knows_whether_a_file_may_be_chosen(serve: Serve):
    allowed, forbidden = await serve(photo_file_input=True), await serve()
    assert b'data-photo-file-input="on"' in (await allowed.get(""))[2]
    assert b'data-photo-file-input="off"' in (await forbidden.get(""))[2]
