from __future__ import annotations

import io
import json

import pytest

from mediaserver.progress import Progress, bar_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_line_replaces_the_bar_and_the_bar_a_longer_bar():
    stream = Terminal()
    progress = Progress(stream)
    progress.update("part2.mov is encoded", 50, 41)
    progress.update("part2", 60)
    progress.say("done")
    shown = stream.getvalue().rpartition("\r")
    assert shown[2] == "done\n"
    assert "about 0:41 left" in shown[0]


def test_in_a_log_only_the_lines_appear():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.update("part2", 50)
    progress.say("done")
    progress.done()
    assert stream.getvalue() == "done\n"


def test_as_json_every_line_is_an_object_with_its_facts():
    stream = Terminal()
    progress = Progress(stream, as_json=True)
    progress.update("part2", 33.333, 7.0, job={"id": "x"})
    progress.say("Köln", page="http://x/")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == {"event": "progress", "what": "part2", "percent": 33.3, "eta_s": 7.0, "job": {"id": "x"}}
    assert second == {"event": "line", "text": "Köln", "page": "http://x/"}


@pytest.mark.parametrize(("percent", "full"), [(-5, 0), (0, 0), (50, 12), (100, 24), (130, 24)])
def test_the_bar_is_never_longer_than_full(percent: float, full: int):
    assert bar_text("x", percent, None).count("#") == full
