"""`make demo`: everything from nothing to a playing film; with --exit it looks at the result over HTTP and stops."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from encoder.chapter import is_master
from encoder.errors import ToolFailed
from encoder.tools import Child, open_tool, python_module
from mediaserver import cli
from mediaserver.errors import DemoFailed
from mediaserver.progress import Progress
from mediaserver.sample import make
from mediaserver.settings import Settings, load_settings
from mediaserver.setup import set_up
from mediaserver.visit import Visit

PATIENCE_S = 900


def main(words: Sequence[str] | None = None) -> int:
    """Set up, make the sample master if there is no other, then serve; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="check one viewer's film over HTTP, then stop")
    arguments = parser.parse_args(words)
    return cli.guarded(lambda: _run(check=arguments.exit))


def _run(*, check: bool) -> int:
    began_s = time.monotonic()
    progress, settings = Progress(), load_settings().settings
    set_up(progress)
    prepare(settings, progress)
    if not check:
        return cli.main(["up"])
    with _server() as said:
        page, chapter = _wait_for_chapter(said, progress)
        for line in Visit(page, chapter).run(_sample_viewer(), progress):
            progress.say(f"  {line}")
    progress.say(f"the whole path works; it took {time.monotonic() - began_s:.0f} s")
    return 0


def prepare(settings: Settings, progress: Progress) -> None:
    """Make the sample master if raw/ holds no master."""
    settings.raw.mkdir(parents=True, exist_ok=True)
    if any(is_master(path) for path in settings.raw.iterdir()):
        return
    master = make(settings.raw, on_progress=lambda percent: progress.update("drawing the sample film", percent))
    progress.say(f"the sample master: {master} with its sidecar {master.with_suffix('.toml').name}")


def _sample_viewer() -> bytes:
    return files("lipsync").joinpath("demo/man.jpg").read_bytes()


@contextmanager
def _server() -> Iterator[Iterator[dict[str, Any]]]:
    """Run `mediaserver up` as a child and give what it says; it is told to stop at the end, and must do so cleanly."""
    with open_tool((*python_module("mediaserver"), "up", "--json")) as child:
        yield _events(child)
        child.process.terminate()
        child.stdout.read()
        child.check()


def _events(child: Child) -> Iterator[dict[str, Any]]:
    for line in child.stdout:
        yield json.loads(line)
    try:
        child.check()
    except ToolFailed as error:
        raise _what_it_said(error) from error


def _what_it_said(error: ToolFailed) -> DemoFailed:
    """Return the server's own complaint, which is the last line that it wrote."""
    try:
        said = json.loads(error.stderr_tail.strip().splitlines()[-1])
        failed = DemoFailed(said["text"])
        failed.hint = said["hint"]
    except (IndexError, KeyError, TypeError, ValueError):
        return DemoFailed(str(error))
    return failed


def _wait_for_chapter(said: Iterator[dict[str, Any]], progress: Progress) -> tuple[str, str]:
    """Return the page's address and the first chapter that is published, showing what the server says meanwhile."""
    page, end_s = "", time.monotonic() + PATIENCE_S
    for event in said:
        if event["event"] == "progress":
            progress.update(event["what"], event["percent"], event["eta_s"])
        else:
            progress.say(event["text"])
        page = event.get("page", page)
        if "hls" in event:
            return page, event["chapter"]
        if event.get("job", {}).get("state") in ("refused", "failed") or time.monotonic() > end_s:
            break
    raise DemoFailed("no chapter was published.")


if __name__ == "__main__":
    sys.exit(main())
