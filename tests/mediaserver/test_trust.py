"""The public figures, and that nobody is in them."""

from __future__ import annotations

from pathlib import Path

from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from lipsync.credentials import own_issuer
from mediaserver.app import build_app
from mediaserver.settings import Consent, Settings
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve, Served


async def tally(served: Served) -> dict:  # type: ignore[type-arg]
    async with served.client.get(f"{served.url}trust", headers={"Accept": "application/json"}) as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def test_what_happens_is_counted_and_survives_a_restart(publish: Publish, serve: Serve):
    publish()
    now = [1_800_000_000.0]
    served = await serve(clock=lambda: now[0])
    deleted, expired = await served.begin(), await served.begin()
    await served.get(f"{deleted}part2/stream.mpd")
    await served.put_photo(deleted, b"nobody")
    await served.put_photo(deleted)
    await served.until(deleted, "ready")
    async with served.client.delete(served.url + deleted):
        pass
    now[0] += 3 * 3600
    assert (await served.get(expired))[0] == 410
    counted = {"made": 1, "deleted": 1, "expired": 1, "refused": 1}
    assert counted.items() <= (await tally(served)).items()
    await serve.stop(served)
    assert counted.items() <= (await tally(await serve())).items()


async def test_the_page_names_the_contact_for_takedown(serve: Serve):
    served = await serve(consent=Consent(controller="Film <House>", contact="mail@film.example"))
    _, headers, page = await served.get("trust")
    assert headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    for words in (b"Film &lt;House&gt;", b"mail@film.example", b"2 h after the last use"):
        assert words in page
    assert b"{{" not in page


async def test_the_authority_s_certificates_are_handed_out_and_no_key(tmp_path: Path):
    issuer = own_issuer(tmp_path / "state" / "keys")
    (tmp_path / "media").mkdir()
    settings, worker = Settings(media=tmp_path / "media", state=tmp_path / "state"), ScriptedFaceWorker()
    app = build_app(settings, worker, worker, authority=lambda: issuer.anchors)
    async with TestServer(app) as server, ClientSession() as client:
        sent = await (await client.get(server.make_url("/trust/authority.pem"))).text()
    assert sent == issuer.anchors
    assert "PRIVATE" not in sent


async def test_without_an_authority_there_is_none_to_hand_out(serve: Serve):
    assert (await (await serve()).get("trust/authority.pem"))[0] == 404
