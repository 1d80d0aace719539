"""Two byte workers and their control process, from outside: over sockets, signals and /proc."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from mediaserver import app
from mediaserver.settings import Settings
from tests.mediaserver.conftest import presentation
from tests.mediaserver.house import FILM_BYTES, furnish
from tests.mediaserver.rfc9110 import Facts, Target, run
from tests.mediaserver.rfc9110_cases import cases
from tests.mediaserver.test_address import FILM, HEALTH, LONG_BYTES, keep_asking_while, ready, serving, until_refused
from tests.mediaserver.wire import Answer, Wire, connected

SOUND = b"GET /part2/v1/video_432p_h264.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Crewed:
    """A running server: its control process and its port."""

    process: subprocess.Popen[str]
    port: int
    film: bytes

    @property
    def workers(self) -> list[int]:
        """The byte workers' process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()
        return [int(pid) for pid in children if b"byteworker" in command(int(pid))]

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        with connected("127.0.0.1", self.port) as wire:
            yield wire

    def owner(self, wire: Wire) -> int:
        """The process that has accepted a connection; 0 while it is nobody's."""
        name = self._socket(wire)
        return next((pid for pid in (self.process.pid, *self.workers) if name in opened(pid)), 0)

    def _socket(self, wire: Wire) -> str:
        ours, theirs = f"{self.port:04X}", f"{wire.port:04X}"
        inode = next(
            words[9]
            for words in map(str.split, Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
            if (words[1][-4:], words[2][-4:]) == (ours, theirs)
        )
        return f"socket:[{inode}]"

    def settled_owner(self, wire: Wire) -> int:
        """The process that has a connection, once the one it came from has let go of it."""
        while sum(self._socket(wire) in opened(pid) for pid in (self.process.pid, *self.workers)) > 1:
            time.sleep(0.005)
        return self.owner(wire)

    def one_on_each(self, stack: ExitStack) -> dict[int, Wire]:
        """Connect until every worker has a connection; the kernel spreads them."""
        found: dict[int, Wire] = {}
        while len(found) < len(self.workers):
            wire = stack.enter_context(self.wire())
            assert ask(wire, SOUND).status == 200
            found.setdefault(self.owner(wire), wire)
        return found

    def metrics(self) -> str:
        with connected("127.0.0.1", self.admin_port) as wire:
            return ask(wire, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").body.decode()

    @property
    def admin_port(self) -> int:
        """The other port on which the control process listens."""
        listening = [
            (int(words[1][-4:], 16), words[9])
            for words in map(str.split, Path("/proc/net/tcp").read_text("ascii").splitlines()[1:])
            if words[3] == "0A"
        ]
        mine = opened(self.process.pid)
        return next(port for port, inode in listening if port != self.port and f"socket:[{inode}]" in mine)


def opened(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def command(pid: int) -> bytes:
    """The words of a living process; nothing of a dead one."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def ask(wire: Wire, request: bytes) -> Answer:
    wire.write(request)
    return wire.answer()


@contextmanager
def crewed(root: Path, film: bytes, **settings: object) -> Iterator[Crewed]:
    with serving(root, workers=2, **settings) as (process, port):
        yield Crewed(process, port, film)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crewed]:
    root = tmp_path_factory.mktemp("workers")
    film = furnish(root)
    with crewed(root, film) as crew:
        yield crew


def begin(wire: Wire) -> str:
    consent = json.loads(ask(wire, b"GET /consent HTTP/1.1\r\nHost: localhost\r\n\r\n").body)
    agreed = {"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}
    body = json.dumps(agreed).encode()
    opened = ask(
        wire, b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert opened.status == 201
    return str(json.loads(opened.body)["session"])


def test_what_is_deleted_through_one_worker_is_gone_at_once_through_the_other(crew: Crewed):
    with ExitStack() as stack:
        on_a, on_b = crew.one_on_each(stack).values()
        session = begin(on_a)
        read = f"GET {session}part2/stream.mpd HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        assert ask(on_b, read).status == 200
        assert ask(on_b, SOUND).status == 200
        assert crew.settled_owner(on_b) in crew.workers
        assert ask(on_a, f"DELETE {session} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).status == 204
        found = set()
        for _ in range(1000):
            found.add(ask(on_b, read).status)
            # a file takes the connection back to a worker, so that every read goes through one
            assert ask(on_b, SOUND).status == 200
        assert found == {410}


def test_the_whole_conformance_table_holds_through_a_worker(crew: Crewed):
    folder = "/part2/v1"
    names = (f"{folder}/video_1080p_h264.mp4", crew.film, f"{folder}/audio_en.mp4", f"{folder}/none.mp4")
    facts = Facts.of(Target("127.0.0.1", crew.port, *names))
    found = {str(case): run(case, facts) for case in cases(FILM_BYTES)}
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_a_connection_is_with_whoever_answers(crew: Crewed):
    with crew.wire() as wire:
        assert ask(wire, FILM).body == crew.film
        assert crew.settled_owner(wire) in crew.workers
        assert ask(wire, HEALTH).status == 200
        assert crew.settled_owner(wire) == crew.process.pid
        assert ask(wire, FILM).body == crew.film
        assert crew.settled_owner(wire) in crew.workers


def test_requests_in_one_write_are_answered_in_turn_wherever_that_is(crew: Crewed):
    with crew.wire() as wire:
        wire.write(SOUND + HEALTH + FILM + HEALTH)
        bodies = [wire.answer().body for _ in range(4)]
    assert bodies == [crew.film[:20_000], b'{"status": "ok"}', crew.film, b'{"status": "ok"}']


def test_a_head_in_pieces_and_a_body_larger_than_a_message_come_through(crew: Crewed):
    with crew.wire() as wire:
        wire.write(*(HEALTH[at : at + 9] for at in range(0, len(HEALTH), 9)))
        assert wire.answer().status == 200
        body = b" " * 60_000 + b"{}"
        wire.write(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert wire.answer().status == 403
        assert ask(wire, FILM).body == crew.film


def test_a_foreign_name_is_refused_by_whoever_is_asked(crew: Crewed):
    with crew.wire() as wire:
        for path in ("/healthz", "/part2/v1/video_432p_h264.mp4"):
            request = f"GET {path} HTTP/1.1\r\nHost: foreign.example\r\n\r\n".encode()
            assert ask(wire, request).status == 421


def test_a_new_version_is_seen_by_every_worker_at_once(crew: Crewed):
    media = Path(f"/proc/{crew.process.pid}/cwd").resolve() / "media" / "part2"
    read = b"GET /part2/stream.mpd HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        wires = crew.one_on_each(stack).values()
        assert all(b"v1/video" in ask(wire, read).body for wire in wires)
        shutil.copytree(media / "v1", media / "v2")
        (media / "v2" / "presentation.json").write_text(presentation("part2", "v2").to_json(), "utf-8")
        (media / "current.new").write_text("v2\n", "utf-8")
        (media / "current.new").replace(media / "current")
        found = [ask(wire, read).body for wire in wires]
        assert all(b"v2/video" in text and b"v1/video" not in text for text in found)
        assert {crew.settled_owner(wire) for wire in wires} == set(crew.workers)


def test_figures_count_the_answers_of_all_processes(crew: Crewed):
    def told(name: str) -> float:
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", crew.metrics())
        return float(found[1]) if found else 0

    with ExitStack() as stack:
        wires = [*crew.one_on_each(stack).values()]
        before = told('mediaserver_answers_total{status="206"}')
        said = told("mediaserver_cmcd_requests_total")
        ranged = SOUND.replace(b"\r\n\r\n", b"\r\nRange: bytes=0-9\r\nCMCD-Request: bl=3000\r\n\r\n")
        for wire in wires:
            assert ask(wire, ranged).status == 206
        # answers to earlier tests may be told meanwhile
        while told('mediaserver_answers_total{status="206"}') < before + 2:
            time.sleep(0.05)
        while told("mediaserver_cmcd_requests_total") < said + 2:
            time.sleep(0.05)
        assert told("mediaserver_byte_workers") == 2
        assert told("mediaserver_connections") >= 2


def test_a_worker_that_is_killed_is_started_again_and_that_is_said(tmp_path: Path):
    film = furnish(tmp_path)
    with crewed(tmp_path, film) as crew:
        before = crew.workers
        os.kill(before[0], signal.SIGKILL)
        with ExitStack() as stack:
            # whoever is with the dead worker's socket waits, and is refused by nobody
            for _ in range(20):
                assert ask(stack.enter_context(crew.wire()), FILM).body == film
        assert len(set(crew.workers) - set(before)) == 1
        with crew.wire() as wire:
            while ask(wire, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").status != 200:
                time.sleep(0.02)
        crew.process.send_signal(signal.SIGTERM)
        _, said = crew.process.communicate(timeout=20)
        assert re.search(r"Byte worker [12] ended by signal 9; it is started again\.", said)


def test_told_to_stop_the_workers_finish_what_they_send(tmp_path: Path):
    film = furnish(tmp_path, LONG_BYTES)
    with crewed(tmp_path, film) as crew:
        workers = crew.workers
        with connected("127.0.0.1", crew.port, receive_bytes=4096) as wire:
            wire.write(FILM)
            first = wire.exactly(100_000)
            assert crew.settled_owner(wire) in workers
            crew.process.send_signal(signal.SIGTERM)
            until_refused(crew.port)
            rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 100_000)
            assert (first + rest).partition(b"\r\n\r\n")[2] == film
            assert wire.ended()
        assert crew.process.wait(20) == 0
        assert not [pid for pid in workers if command(pid)]


def test_begun_anew_the_crew_refuses_nobody_and_breaks_nothing_off(tmp_path: Path):
    film = furnish(tmp_path, LONG_BYTES)
    with crewed(tmp_path, film) as crew, keep_asking_while(crew.port) as found:
        before = crew.workers
        with connected("127.0.0.1", crew.port, receive_bytes=4096) as wire:
            wire.write(FILM)
            first = wire.exactly(100_000)
            crew.process.send_signal(signal.SIGHUP)
            rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 100_000)
            assert (first + rest).partition(b"\r\n\r\n")[2] == film
        assert ready(crew.process) == crew.port
        assert set(crew.workers).isdisjoint(before)
        asked = len(found)
        while len(found) < asked + 3:
            time.sleep(0.01)
        assert set(found) == {200}


def test_a_killed_control_process_leaves_no_worker_behind(tmp_path: Path):
    with crewed(tmp_path, furnish(tmp_path)) as crew:
        workers = crew.workers
        crew.process.kill()
        crew.process.wait(20)
        while any(command(pid) for pid in workers):
            time.sleep(0.02)


def test_the_cap_counts_the_connections_of_all_workers(tmp_path: Path):
    with crewed(tmp_path, furnish(tmp_path), connections_max=4) as crew, ExitStack() as stack:
        for _ in range(4):
            assert ask(stack.enter_context(crew.wire()), SOUND).status == 200
        with crew.wire() as refused:
            answer = ask(refused, SOUND)
            assert (answer.status, json.loads(answer.body)["code"]) == (503, "server_full")


def test_lines_of_all_processes_name_the_client_and_no_capability(tmp_path: Path):
    with crewed(tmp_path, furnish(tmp_path), access_log="json", trusted_proxies=("127.0.0.1",)) as crew:
        with crew.wire() as wire:
            session = begin(wire)
            for path in (session, "/part2/v1/video_432p_h264.mp4"):
                lines = ("Host: localhost", "X-Forwarded-For: 203.0.113.9", "", "")
                assert ask(wire, "\r\n".join((f"GET {path} HTTP/1.1", *lines)).encode()).status == 200
        crew.process.send_signal(signal.SIGTERM)
        _, said = crew.process.communicate(timeout=20)
        lines = [json.loads(line) for line in said.splitlines()]
        clients = {line["path"]: line["client"] for line in lines}
        assert clients["/part2/v1/video_432p_h264.mp4"] == clients["/s/…/"] == "203.0.113.9"
        assert clients["/consent"] == "127.0.0.1"
        assert session.split("/")[2] not in said


def test_workers_need_the_fast_path_and_say_so(caplog: pytest.LogCaptureFixture):
    assert not app._has_crew(Settings(workers=2, fast_path=False), None)
    assert "one process serves all" in caplog.text
    assert app._has_crew(Settings(workers=2), None)
    assert not app._has_crew(Settings(), None)


def test_a_port_that_another_crew_has_is_said_to_be_taken(crew: Crewed):
    from mediaserver.address import listen_main
    from mediaserver.errors import PortTaken

    with pytest.raises(PortTaken):
        listen_main(Settings(workers=2, port=crew.port))
    assert socket.create_connection(("127.0.0.1", crew.port)).close() is None
