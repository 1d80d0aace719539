"""What the terminal says of jobs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from mediaserver.jobbook import Job
from mediaserver.jobreport import JobReport, details, doing, line
from mediaserver.progress import Progress

JOB = Job("1", "part2.mov", "/raw/part2.mov", "queued", "2026", "2026", "watched")
ENCODED = replace(JOB, state="running", stage="encode", chapter="part2", percent=41.2, fps=50.4, eta_s=7)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_state_has_a_sentence():
    refused = replace(JOB, state="refused", sentence="It ends too early.", hint="Copy it again.")
    assert line(JOB) == "part2.mov waits for its turn."
    assert line(replace(JOB, state="published", chapter="part2")) == "part2.mov is published as the chapter part2."
    varies = replace(JOB, state="published", chapter="part2", notes=["Its frame rate varies."])
    assert line(varies).endswith("the chapter part2.\n  Its frame rate varies.")
    assert line(refused) == "part2.mov is refused: It ends too early.\n  Copy it again."
    assert line(replace(refused, state="failed")).startswith("part2.mov has failed: It ends")
    assert line(replace(JOB, place=3)) == "part2.mov waits for its turn, number 3 in the queue."
    assert line(replace(JOB, state="cancelled")) == "part2.mov is cancelled."


def test_a_bar_shows_percent_speed_and_time_left():
    terminal = Terminal()
    JobReport(Progress(terminal)).show([ENCODED])
    bar = terminal.getvalue().splitlines()[-1]
    assert bar.startswith("part2.mov is encoded at 50 pictures/s  [##########--")
    assert bar.endswith("41 %  about 0:07 left")


def test_what_has_not_changed_is_not_said_again():
    log = io.StringIO()
    report = JobReport(Progress(log))
    for job in (JOB, JOB, ENCODED, ENCODED, replace(ENCODED, state="published")):
        report.show([job])
    assert log.getvalue().splitlines() == [
        line(JOB),
        "part2.mov is running.",
        line(replace(ENCODED, state="published")),
    ]


def test_programs_get_the_whole_job_in_every_line():
    log = io.StringIO()
    JobReport(Progress(log, as_json=True)).show([ENCODED])
    said, progress = map(json.loads, log.getvalue().splitlines())
    assert said["job"]["state"] == "running"
    assert (progress["percent"], progress["eta_s"], progress["job"]["fps"]) == (41.2, 7, 50.4)


def test_a_job_between_two_stages_is_running():
    assert doing(replace(ENCODED, stage=None, fps=None)) == "part2.mov is running"


def test_status_shows_rungs_of_a_running_job_and_command_and_output_of_a_failed_one():
    running = replace(ENCODED, rungs={"video_720p_h264": 41.2}, commands=["ffmpeg -i a", "ffmpeg -i b"])
    assert details(running) == ["  video_720p_h264  41 %", "  command: ffmpeg -i b"]
    failed = replace(running, state="failed", command=["ffmpeg", "-i", "it's"], stderr_tail="1\n2\n3\n4\n5\n6\n")
    assert details(failed) == ["  command: ffmpeg -i 'it'\"'\"'s'", *(f"  | {n}" for n in range(2, 7))]
    assert details(replace(running, state="published")) == []
