"""Tells whoever started the server where to look, when it listens and whenever a chapter is published."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.model import Presentation
from mediaserver.library import Library
from mediaserver.progress import Progress

if TYPE_CHECKING:
    from mediaserver.app import Addresses
    from mediaserver.jobbook import Job


def published(media: Path) -> list[Presentation]:
    """Return every published chapter in its current version."""
    return [edition.presentation for edition in Library(media).chapters()] if media.is_dir() else []


class Announcer:
    """Says every address once; `ready` and `show` may be called from different threads."""

    def __init__(self, progress: Progress, media: Path) -> None:
        from mediaserver.jobreport import JobReport  # noqa: PLC0415 - needs the engine of the jobs

        self._progress, self._media = progress, media
        self._report = JobReport(progress)
        self._main = ""
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def ready(self, addresses: Addresses) -> None:
        """Take the addresses on which the server now listens."""
        self._main = addresses.main
        self._progress.say(f"viewer's page   {addresses.main}", page=addresses.main)
        self._progress.say(f"editors' page   {addresses.main}editor", editor=f"{addresses.main}editor")
        if addresses.admin:
            self._progress.say(f"figures         {addresses.admin}metrics", metrics=f"{addresses.admin}metrics")
        self._tell_chapters()

    def show(self, jobs: list[Job]) -> None:
        """Take the jobs whenever they have changed."""
        self._report.show(jobs)
        if self._main:
            self._tell_chapters()

    def _tell_chapters(self) -> None:
        with self._lock:
            for chapter in (p.chapter for p in published(self._media)):
                if chapter not in self._told:
                    self._told.add(chapter)
                    self._tell(chapter)

    def _tell(self, chapter: str) -> None:
        dash, hls = (f"{self._main}{chapter}/{name}" for name in ("stream.mpd", "master.m3u8"))
        self._progress.say(f"chapter {chapter}: DASH {dash}", chapter=chapter, dash=dash)
        self._progress.say(f"chapter {chapter}: HLS  {hls}", chapter=chapter, hls=hls)
