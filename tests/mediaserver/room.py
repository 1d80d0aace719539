"""One installation on the disk of a test, and the processes that work in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder import publish
from encoder.model import Presentation
from mediaserver.jobs import Jobs
from mediaserver.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass
class Room:
    """The folders of one installation, and the processes that work in them."""

    settings: Settings

    @classmethod
    def below(cls, folder: Path, **more: Any) -> Room:
        """Make the folders of a new installation inside `folder`."""
        lying = {name: folder / name for name in ("raw", "media", "state")}
        settings = Settings(**lying, settle_s=0.2, poll_s=0.1, **more)
        settings.raw.mkdir()
        settings.media.mkdir()
        return cls(settings)

    def drop(self, master: Path, name: str) -> Path:
        """Put a copy in raw/ that has lain there for a while."""
        target = self.settings.raw / name
        shutil.copyfile(master, target)
        os.utime(target, (1_700_000_000, 1_700_000_000))
        return target

    @contextlib.contextmanager
    def running(self, *, watching: bool = True) -> Iterator[Jobs]:
        jobs = Jobs(self.settings, watching=watching)
        jobs.start()
        try:
            yield jobs
        finally:
            jobs.stop()

    def current(self, chapter: str) -> str | None:
        return publish.current_version(self.settings.media / chapter)

    def presentation(self, chapter: str) -> Presentation:
        return Presentation.load(self.settings.media / chapter / (self.current(chapter) or "nothing"))

    def leftovers(self) -> list[str]:
        """Folders of unfinished work; os.walk does not mind that one goes while it looks."""
        folders = (folder for folder, _, _ in os.walk(self.settings.media))
        return [folder for folder in folders if folder.endswith((".part", "work"))]

    def flags(self) -> list[str]:
        s = self.settings
        return ["--raw", str(s.raw), "--media", str(s.media), "--state", str(s.state)]

    def variables(self) -> dict[str, str]:
        """The settings that differ from the defaults, for a process of its own."""
        s, plain = self.settings, Settings()
        keys = ("settle_s", "poll_s", "chunk_s", "encoders", "av1", "jobs_database", "jobs_silent_s")
        return {
            f"MEDIASERVER_{key.upper()}": str(getattr(s, key)) for key in keys if getattr(s, key) != getattr(plain, key)
        }

    def command(self, *words: str, code: str = "") -> subprocess.Popen[str]:
        """Start `mediaserver WORDS` as a process of its own; `code` is run in it before."""
        program = f"{code}\nfrom mediaserver.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, *words, *self.flags()],
            cwd=ROOT,
            env=os.environ | self.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def children() -> set[str]:
    """The ffmpeg processes that this process has started and that run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if name == "ffmpeg" and rest.split()[1] == str(os.getpid()) and rest.split()[0] != "Z":
                found.add(stat.parent.name)
    return found


def encoder_of(jobs: Jobs, name: str) -> str:
    """Wait until the encode of a master has begun, and return its process."""
    while True:
        stages_now = {job["name"]: job["stage"] for job in jobs.listing()}
        if stages_now.get(name) == "encode" and (running := children()):
            return running.pop()
        time.sleep(0.01)


def state_of(pid: str) -> str:
    """The kernel's letter for what a process does: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(jobs: Jobs, **states: str) -> dict[str, dict[str, Any]]:
    """Wait until the masters are in these states and return all jobs by file; a vain wait ends with the test."""
    while True:
        listed = {job["name"]: job for job in jobs.listing()}
        if all(listed.get(f"{stem}.mov", {}).get("state") == state for stem, state in states.items()):
            return listed
        time.sleep(0.05)
