"""Whoever listens is told every change of a job once, and no job ever waits for it."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mediaserver import jobhooks
from mediaserver.errors import SettingsError
from mediaserver.jobbook import Job, now
from mediaserver.jobhooks import JobHooks, mark
from mediaserver.settings import Settings, load_settings
from tests.mediaserver.room import Room, until

JOB = Job("1", "part2.mov", "/raw/part2.mov", "running", "2026-01-01", now(), "watched")


@dataclass
class Listener:
    """A web server that keeps what it is sent, and answers as the test says."""

    status: int = 204
    location: str = ""
    heard: list[dict[str, str]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    @property
    def states(self) -> list[str]:
        return [job["state"] for job in self.heard]


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(jobhooks, "PAUSE_S", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    listener = Listener()
    listener.go.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append(json.loads(body)["job"])
            listener.go.wait()
            self.send_response(listener.status)
            if listener.location:
                self.send_header("Location", listener.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - their names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.address = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield listener
    listener.go.set()
    server.shutdown()
    thread.join()
    server.server_close()


def told_of(settings: Settings, *looks: list[Job]) -> list[tuple[str, str]]:
    """Let hooks look at the jobs, one look after the other, and return what they say they have told."""
    told: list[tuple[str, str]] = []
    hooks = JobHooks(settings, lambda id, mark: told.append((id, mark)))  # noqa: A006
    hooks.start()
    for jobs in looks:
        hooks.look(jobs)
    hooks.stop()
    return told


def test_every_change_is_told_once_and_in_order(listener: Listener):
    published = replace(JOB, state="published")
    told = told_of(Settings(job_webhook=listener.address), [JOB], [JOB], [published], [published])
    assert listener.states == ["running", "published"]
    assert listener.heard[0]["name"] == "part2.mov"
    assert told == [("1", mark(JOB)), ("1", mark(published))]


def test_a_command_finds_the_change_on_its_input(tmp_path: Path):
    out = tmp_path / "it's told.json"
    write = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read())"
    command = shlex.join([sys.executable, "-c", write])
    told_of(Settings(job_command=command), [replace(JOB, state="failed", sentence="It ends too early.")])
    assert json.loads(out.read_text("utf-8"))["job"]["sentence"] == "It ends too early."


@pytest.mark.parametrize("status", [500, 404])
def test_who_answers_with_an_error_is_tried_three_times_and_then_given_up(listener: Listener, status: int):
    listener.status = status
    told = told_of(Settings(job_webhook=listener.address), [JOB])
    assert listener.states == ["running"] * 3
    assert told == [("1", mark(JOB))]


def test_who_cannot_be_reached_and_a_command_that_is_not_there_are_given_up(listener: Listener):
    settings = Settings(job_webhook="http://127.0.0.1:1/", job_command="no-such-program --told")
    assert told_of(settings, [JOB]) == [("1", mark(JOB))]


def test_who_sends_elsewhere_is_not_followed(listener: Listener):
    listener.status, listener.location = 302, listener.address + "/elsewhere"
    told_of(Settings(job_webhook=listener.address), [JOB])
    assert listener.states == ["running"] * 3


def test_who_never_answers_holds_nobody_up(listener: Listener):
    listener.go.clear()
    told_of(Settings(job_webhook=listener.address, job_hook_timeout_s=0.2), [JOB])
    assert set(listener.states) == {"running"}


def test_what_was_told_before_a_restart_is_not_told_again_and_what_was_not_is_made_up_for(listener: Listener):
    before = replace(JOB, state="published", told=mark(replace(JOB, state="published")))
    missed = replace(before, id="2", told=mark(JOB))
    old = replace(missed, id="3", updated=(datetime.now(UTC) - timedelta(days=2)).isoformat())
    told = told_of(Settings(job_webhook=listener.address), [old, missed, before])
    assert [id for id, _ in told] == ["2"]  # noqa: A001


def test_a_job_that_is_begun_again_is_told_again(listener: Listener):
    failed = replace(JOB, state="failed")
    told_of(Settings(job_webhook=listener.address), [failed], [replace(failed, submitted="2026-01-02")])
    assert listener.states == ["failed", "failed"]


def test_a_real_job_tells_of_itself_and_the_book_remembers(tmp_path: Path, film: Path, listener: Listener):
    room = Room.below(tmp_path, job_webhook=listener.address)
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="published")
    assert listener.states[-1] == "published"
    assert len(set(listener.states)) == len(listener.states)
    with room.running() as jobs:
        until(jobs, part2="published")
    assert listener.states.count("published") == 1


def test_an_address_or_a_command_that_is_none_is_refused():
    with pytest.raises(SettingsError, match="must begin with http"):
        load_settings(env={"MEDIASERVER_JOB_WEBHOOK": "film.example/hook"})
    with pytest.raises(SettingsError, match="No closing quotation"):
        load_settings(env={"MEDIASERVER_JOB_COMMAND": "tell 'the editor"})
