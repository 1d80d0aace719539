"""Measures what this machine carries with the product itself: a film is drawn, encoded and served, viewers come."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import tempfile
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import numpy as np

from encoder import stages
from encoder.model import Presentation
from encoder.tools import find_tools, open_tool, python_module
from mediaserver.capacity import KINDS, Measured, Pace
from mediaserver.errors import DemoFailed
from mediaserver.jobwork import choices_of
from mediaserver.progress import Progress
from mediaserver.sample import SPEECH_HZ, Script, draw
from mediaserver.settings import Settings
from mediaserver.visit import fetch, open_session, send_photo

CHAPTER = "capacity"
SHORT_S, LONG_S = 2, 6
VIEWERS, AT_ONCE, LOOK_S, SENDING_S = 2, 2, 0.05, 2.0
CLIENTS, TAKEN_BYTES = 4, 1 << 20
SIDECAR = """language = "en"
[[slot]]
id = "you"
start = 0
duration = {seconds}
speaker_consent = "a voice that was made"
face = {{ x = 0.54, y = 0.09, w = 0.36, h = 0.8 }}
"""


def measure(settings: Settings, progress: Progress, *, lines: int = 1080, viewers: int = VIEWERS) -> Measured:
    """Work for about a minute and leave nothing. Raises EncoderError, and DemoFailed where an answer is wrong."""
    with tempfile.TemporaryDirectory(prefix="capacity-") as temporary:
        root = Path(temporary)
        progress.say(f"drawing and encoding a film of {LONG_S} s, {lines} lines high")
        folder, speed = publish(root, settings, lines, LONG_S)
        for kind in KINDS:
            for seconds in (SHORT_S, LONG_S):
                variant(folder, f"{kind}-{seconds}", kind, seconds)
        with serving(root, settings) as server:
            paces = {kind: _pace(server, kind, viewers, progress) for kind in KINDS}
            progress.say(f"sending files for {SENDING_S:g} s")
            film = Presentation.load(folder).videos[0].file
            sent_bps = _delivered_bps(server, f"/{CHAPTER}/{folder.name}/{film}")
            memory_mb = server.memory_mb()
    return Measured(os.cpu_count() or 1, settings.engine, paces, speed, sent_bps, memory_mb)


def publish(root: Path, settings: Settings, lines: int, seconds: int) -> tuple[Path, float]:
    """Draw a film that is one slot, encode and publish it in `root`; return its folder, and film seconds a second."""
    raw, media = root / "raw", root / "media"
    raw.mkdir()
    media.mkdir()
    script = Script(round(lines * 16 / 9 / 2) * 2, lines, seconds, 0, seconds, ())
    speech = syllables(root / "speech.wav", seconds)
    draw(script, speech, raw / f"{CHAPTER}.mov")
    (raw / f"{CHAPTER}.toml").write_text(SIDECAR.format(seconds=seconds), "utf-8")
    tools, began_s = find_tools(), time.monotonic()
    plan = stages.plan(raw / f"{CHAPTER}.mov", tools, choices=choices_of(settings))
    for stage in (stages.encode, stages.assemble, stages.verify):
        stage(plan, media, tools)
    return stages.publish_version(plan, media), seconds / (time.monotonic() - began_s)


def syllables(path: Path, seconds: int) -> Path:
    """Write what sounds like speech to a mouth: vowels that change four times a second, with a pause now and then."""
    at_s, chance = np.arange(seconds * SPEECH_HZ) / SPEECH_HZ, np.random.default_rng(4)
    syllable = (at_s * 4.5).astype(int)
    formants = chance.uniform([280, 850], [780, 2300], (syllable.max() + 1, 2))[syllable]
    loud = np.sin(np.pi * (at_s * 4.5 % 1)) ** 0.7 * (chance.random(syllable.max() + 1) > 0.15)[syllable]
    sound = np.zeros_like(at_s)
    for hz in range(130, 4000, 130):
        sound += (1 / (1 + ((hz - formants) / 90) ** 2)).sum(axis=1) * 130 / hz * np.sin(2 * np.pi * hz * at_s)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, SPEECH_HZ, 0, "NONE", ""))
        out.writeframes((20000 * sound * loud / abs(sound).max()).astype("<i2").tobytes())
    return path


def variant(folder: Path, chapter: str, kind: str, seconds: int) -> None:
    """Publish the same files as another chapter, whose slot is of that kind and as long."""
    media = folder.parents[1]
    target = media / chapter / folder.name
    shutil.copytree(folder, target, copy_function=os.link, ignore=shutil.ignore_patterns("presentation.json"))
    p = Presentation.load(folder)
    slot = replace(p.slots[0], compose=kind, duration_s=Fraction(seconds))  # type: ignore[arg-type]
    (target / "presentation.json").write_text(replace(p, chapter=chapter, slots=(slot,)).to_json(), "utf-8")
    (media / chapter / "current").write_text(f"{folder.name}\n", "utf-8")


@dataclass(frozen=True, slots=True)
class Server:
    page: str
    pid: int

    def memory_mb(self) -> float:
        """Return the most that the server and its workers have held, each at its own time; 0 where that is not told."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
            told = (Path(f"/proc/{pid}/status").read_text("ascii") for pid in (self.pid, *children))
            return sum(int(line.split()[1]) for text in told for line in text.splitlines() if "VmHWM" in line) / 1024
        except OSError:
            return 0.0


@contextmanager
def serving(root: Path, settings: Settings) -> Iterator[Server]:
    """Run a server of its own on loopback, with the operator's engine and nothing else of theirs."""
    words = {"engine": settings.engine, "life": settings.life, "visits_per_minute": 0, "queue_limit": 1000}
    config = root / "mediaserver.toml"
    config.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in words.items()), "utf-8")
    flags = [word for name in ("raw", "media", "state") for word in (f"--{name}", str(root / name))]
    command = (*python_module("mediaserver"), "serve", "--json", "--config", str(config), *flags)
    with open_tool((*command, "--host=127.0.0.1", "--port=0", "--admin-port=0", "--workers=1")) as child:
        line = child.stdout.readline()
        if not line:
            child.check()
        yield Server(json.loads(line)["page"], child.process.pid)
        child.process.terminate()
        child.stdout.read()
        child.check()


def _pace(server: Server, kind: str, viewers: int, progress: Progress) -> Pace:
    took = []
    watch(server.page, f"{kind}-{SHORT_S}")
    for seconds in (SHORT_S, LONG_S):
        progress.say(f"{viewers} viewers of a scene of {seconds} s, {kind}")
        began_s = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda _: watch(server.page, f"{kind}-{seconds}"), range(viewers)))  # noqa: B023
        took.append((time.monotonic() - began_s) / viewers)
    return Pace(SHORT_S, took[0], LONG_S, took[1])


def watch(page: str, chapter: str) -> float:
    """Be a viewer: agree, ask for the manifest, send a photo, wait for the scene, delete it; return the seconds."""
    session, began_s = open_session(page), time.monotonic()
    fetch("GET", f"{session}{chapter}/stream.mpd")
    send_photo(session, files("lipsync").joinpath("demo/man.jpg").read_bytes())
    while (state := json.loads(fetch("GET", session).body)["state"]) != "ready":
        if state in ("failed", "rejected"):
            raise DemoFailed(f"a scene could not be made: {state}.")
        time.sleep(LOOK_S)
    took_s = time.monotonic() - began_s
    fetch("DELETE", session)
    return took_s


def _delivered_bps(server: Server, path: str) -> float:
    until_s = time.monotonic() + SENDING_S
    with ThreadPoolExecutor(CLIENTS) as pool:
        taken = list(pool.map(lambda _: _taken_bytes(server.page, path, until_s), range(CLIENTS)))
    return 8 * sum(taken) / SENDING_S


def _taken_bytes(page: str, path: str, until_s: float) -> int:
    """Ask for a file again and again over one connection; return the bytes of all bodies."""
    host, _, port = page.removeprefix("http://").strip("/").rpartition(":")
    buffer, taken = bytearray(TAKEN_BYTES), 0
    with socket.create_connection((host, int(port)), 10) as connection:
        while time.monotonic() < until_s:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head and (more := connection.recv(4096)):
                head += more
            head, _, body = head.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)", head, re.IGNORECASE)
            if not length or b" 200 " not in head[:15]:
                raise DemoFailed(f"{path} was answered with {head[:40].decode('ascii', 'replace')!r}.")
            left = int(length[1]) - len(body)
            while left > 0 and (got := connection.recv_into(buffer, min(left, TAKEN_BYTES))):
                left -= got
            taken += int(length[1]) - left
    return taken
