"""The demo against real servers: the real one for the way that works, small wrong ones for what it must notice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mediaserver import demo
from mediaserver.errors import DemoFailed
from mediaserver.progress import Progress
from mediaserver.settings import Settings
from mediaserver.visit import Piece, Visit, _listed, fetch

PLAYLIST = """#EXTM3U
#EXT-X-MAP:URI="../v1/video.mp4",BYTERANGE="100@0"
#EXTINF:2,
#EXT-X-BYTERANGE:50@100
../v1/video.mp4
#EXTINF:2,
v1/video/1.m4s
#EXTINF:2,
#EXT-X-BYTERANGE:60@150
../v1/video.mp4
#EXT-X-ENDLIST
"""


@pytest.fixture(autouse=True)
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes find the packages from any folder, also where they are not installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(demo.__file__).parents[1]))


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_the_whole_demo_ends_well_with_the_small_film(
    sample_master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDIASERVER_PORT", "0")
    monkeypatch.setenv("MEDIASERVER_ADMIN_PORT", "0")
    shutil.copytree(sample_master.parent, tmp_path / "raw")
    assert demo.main(["--exit"]) == 0
    said = capsys.readouterr().out
    assert "segments show the viewer's face; the shared ones are unchanged" in said
    assert "the session is deleted: its address answers 410" in said
    left = [path.name for path in (tmp_path / "state/inserts").rglob("*") if path.is_file()]
    assert left == ["CACHEDIR.TAG"]


def test_a_master_that_is_there_is_not_joined_by_the_sample(tmp_path: Path):
    (tmp_path / "mine.mov").write_bytes(b"...")
    demo.prepare(Settings(raw=tmp_path), Progress())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mov"]


def test_the_segments_of_a_playlist_are_read_with_their_ranges():
    pieces = list(_listed("http://h/s/cap/part2/v1/video.m3u8", PLAYLIST.split()))
    shared = "http://h/s/cap/part2/v1/video.mp4"
    assert pieces[0] == Piece(shared, (100, 50))
    assert pieces[1] == Piece("http://h/s/cap/part2/v1/v1/video/1.m4s")
    assert pieces[2] == Piece(shared, (150, 60))


def test_a_range_that_is_answered_with_the_whole_file_is_noticed():
    with answering(b"x" * 500) as url, pytest.raises(DemoFailed, match="answered with 200"):
        Visit(url, "part2")._bytes(Piece(f"{url}video.mp4", (100, 50)))


def test_a_page_that_fails_is_noticed():
    with answering(b"", status=500) as url, pytest.raises(DemoFailed, match="answers 500"):
        list(Visit(url, "part2").run(b"", Progress()))


def test_an_address_that_does_not_answer_is_a_sentence():
    with pytest.raises(DemoFailed, match="does not answer"):
        fetch("GET", "http://127.0.0.1:9/")


def test_a_server_that_cannot_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDIASERVER_HOST", "203.0.113.7")
    with pytest.raises(DemoFailed, match=r"203\.0\.113\.7"), demo._server() as said:
        demo._wait_for_chapter(said, Progress())
