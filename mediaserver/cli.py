"""The command `mediaserver`: one verb after another, and the one place where an error becomes text and exit status."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from encoder.errors import EncoderError, MasterMissing
from lipsync.errors import LipsyncError
from lipsync.protocols import EngineName
from mediaserver import __version__
from mediaserver.errors import CannotRead, ServerError, SettingsError
from mediaserver.progress import Progress
from mediaserver.settings import Effective, keys, load_settings, value_of

if TYPE_CHECKING:
    from mediaserver.jobbook import Job

REFUSED, USAGE, INTERRUPTED = 1, 2, 130
FLAGS = ("raw", "media", "state", "host", "port", "admin_port", "workers")


class Command:
    """What every verb is given: its arguments, the settings with their origins, and where to say things."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.as_json: bool = getattr(arguments, "json", False)
        self.progress = Progress(as_json=self.as_json)
        flags = {name: getattr(arguments, name, None) for name in (*FLAGS, "engine")}
        self.effective: Effective = load_settings(getattr(arguments, "config", None), flags=flags)
        self.settings = self.effective.settings

    def print(self, text: str, facts: object) -> None:
        """Print the outcome: `facts` with --json, else `text`."""
        print(json.dumps(facts, ensure_ascii=False, default=str) if self.as_json else text, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 refused or failed, 2 usage, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    arguments = parser().parse_args(words)
    return guarded(lambda: arguments.run(Command(arguments)), as_json=getattr(arguments, "json", False))


def guarded(run: Callable[[], int], *, as_json: bool = False) -> int:
    """Return the status of `run`, or say what went wrong and return the status for that."""
    try:
        return run()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # who read our output has gone; a second complaint at exit is of no use to anybody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except (EncoderError, LipsyncError, ServerError) as error:
        complain(error.code, str(error), error.hint, as_json=as_json)
        return USAGE if isinstance(error, SettingsError) else REFUSED
    except OSError as error:
        sentence = f"The system refused it: {error.strerror or error}{f': {error.filename}' if error.filename else ''}."
        complain("system", sentence, "`mediaserver doctor` looks at folders, disk and ports.", as_json=as_json)
        return REFUSED


def complain(code: str, sentence: str, hint: str, *, as_json: bool) -> None:
    """Say on standard error what went wrong and what to do."""
    if as_json:
        print(json.dumps({"event": "error", "code": code, "text": sentence, "hint": hint}), file=sys.stderr)
    else:
        print(f"error: {sentence}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)


# --- the verbs --------------------------------------------------------------------------------------------------------


def setup(command: Command) -> int:
    from mediaserver.setup import set_up

    set_up(command.progress)
    return 0


def up(command: Command) -> int:
    return _serve(command, watch=True)


def serve(command: Command) -> int:
    return _serve(command, watch=False)


def _serve(command: Command, *, watch: bool) -> int:
    from mediaserver import app
    from mediaserver.announce import Announcer

    announcer = Announcer(command.progress, command.settings.media)
    for folder in (command.settings.raw, command.settings.media):
        folder.mkdir(parents=True, exist_ok=True)
    app.serve(command.settings, watch=watch, ready=announcer.ready, show=announcer.show)
    command.progress.say("stopped")
    return 0


def watch(command: Command) -> int:
    from mediaserver.jobreport import JobReport
    from mediaserver.jobs import Jobs

    command.settings.raw.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(command.settings)
    jobs.on_change(JobReport(command.progress).show)
    told_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told_to_stop.set())
    jobs.start()
    try:
        command.progress.say(f"watching {command.settings.raw}: drop masters there, Ctrl-C stops")
        # a signal that comes while this thread hands over the interpreter would not end a wait without an end
        while not told_to_stop.wait(0.5):
            pass
    finally:
        jobs.stop()
    return 0


def encode(command: Command) -> int:
    from mediaserver.jobreport import JobReport
    from mediaserver.jobs import Jobs

    jobs, ids = Jobs(command.settings, watching=False), []
    jobs.start()
    try:
        for file in command.arguments.files:
            try:
                ids.append(jobs.submit(file, named=True))
            except MasterMissing as error:
                complain(error.code, str(error), error.hint, as_json=command.as_json)
        ended = jobs.wait(ids, JobReport(command.progress).show)
    finally:
        jobs.stop()
    whole = len(ids) == len(command.arguments.files) and all(job.state == "published" for job in ended)
    return 0 if whole else REFUSED


def probe(command: Command) -> int:
    from encoder.ladder import ladder_for
    from encoder.probe import probe as look
    from encoder.tools import find_tools

    master = look(command.arguments.file, find_tools())
    ladder = ladder_for(master)
    main = master.tracks[0] if master.tracks else None
    spoken = f"{main.channels} channels, language {main.sound.language}" if main else "none"
    lines = (
        f"picture   {master.width} x {master.height}, {float(master.rate):g} frames/s, {master.frames} frames",
        f"duration  {float(master.duration_s):.2f} s",
        f"sound     {spoken}",
        f"rungs     {', '.join(f'{rung.name} ({rung.width} x {rung.height})' for rung in ladder.rungs)}",
        f"segments  {ladder.grid.segments} of {ladder.grid.frames_per_segment} frames",
    )
    command.print("\n".join(lines), {"master": asdict(master), "rungs": [asdict(rung) for rung in ladder.rungs]})
    return 0


def status(command: Command) -> int:
    from mediaserver.announce import published
    from mediaserver.jobs import Jobs

    book = Jobs(command.settings, watching=False)
    try:
        jobs = book.jobs()
    finally:
        book.close()
    current = published(media := command.settings.media)
    chapters = {p.chapter: p.version for p in current}
    pictures = {p.chapter: str(media / p.chapter / p.version / p.poster) for p in current if p.poster}
    lines = [f"chapter {chapter}, version {version}" for chapter, version in sorted(chapters.items())]
    lines += [f"poster of {chapter}: {file}" for chapter, file in sorted(pictures.items())]
    lines += [line for job in jobs for line in _job_lines(job)]
    facts = {"chapters": chapters, "posters": pictures, "jobs": [job.to_json() for job in jobs]}
    command.print("\n".join(lines) or "No chapter is published and no master is known.", facts)
    return 0


def _job_lines(job: Job) -> list[str]:
    from mediaserver.jobreport import details, doing, line

    first = f"{doing(job)}: {job.percent or 0:.0f} %{_left(job)}" if job.state == "running" else line(job)
    return [first, *details(job)]


def _left(job: Job) -> str:
    return "" if job.eta_s is None else f", about {int(job.eta_s) // 60}:{int(job.eta_s) % 60:02} left"


def retry(command: Command) -> int:
    return _on_job(command, "retry", "waits for its turn; `mediaserver up` or `watch` makes it")


def cancel(command: Command) -> int:
    return _on_job(command, "cancel", "is cancelled")


def _on_job(command: Command, verb: str, outcome: str) -> int:
    from mediaserver.jobs import Jobs

    jobs = Jobs(command.settings, watching=False)
    try:
        job: Job = getattr(jobs, verb)(command.arguments.name)
    finally:
        jobs.close()
    command.print(f"{job.file} {outcome}.", job.to_json())
    return 0


class _Pace:
    """Shows how many pictures are done, how many in a second, and how long the others will take."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._begun_s = progress, 0.0

    def __call__(self, done: int, pictures: int) -> None:
        now_s = time.monotonic()
        self._begun_s = self._begun_s or now_s
        fps = (done - 1) / max(1e-3, now_s - self._begun_s)
        eta_s = (pictures - done) / fps if fps else None
        self._progress.update(f"rendering, {fps:.0f} pictures/s", 100 * done / pictures, eta_s, fps=round(fps, 1))


def lipsync(command: Command) -> int:
    from lipsync.studio import Studio
    from mediaserver.wording import check_label, stamp_for

    words, settings = command.arguments, command.settings
    check_label(settings)
    # told to end, it takes the half-made file with it, as after Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    Studio(settings.signing, engine=settings.engine_name).render_file(
        words.face,
        words.speech,
        words.out,
        size=words.size,
        stamp=stamp_for(settings),
        life=not words.no_life,
        on_progress=_Pace(command.progress),
    )
    command.progress.say(f"written: {words.out}", file=str(words.out))
    return 0


def verify(command: Command) -> int:
    """Say what credentials and mark tell of any video; 0 if it was made from a face here or says so, else 1."""
    from lipsync.credentials import issuer_for
    from lipsync.findings import inspect

    file: Path = command.arguments.file
    try:
        found = inspect(file, issuer_for(command.settings.signing).anchors)
    except OSError as error:
        raise CannotRead(str(file), error.strerror or str(error)) from error
    command.print("\n".join(found.sentences), found.to_json())
    return 0 if found.made_from_a_face else 1


def narration_bake(command: Command) -> int:
    """Analyse a speech as a slot's narration is analysed, and write the mouth track beside it."""
    import hashlib
    from fractions import Fraction

    from encoder.tools import find_tools
    from lipsync.narration import SAMPLE_RATE_HZ, MouthTrack, analyse, read_speech

    file: Path = command.arguments.file
    rate = Fraction(25)
    samples = read_speech(file, find_tools())
    frames = -(-len(samples) * rate // SAMPLE_RATE_HZ)
    track = MouthTrack(rate, analyse(samples, rate, frames), hashlib.sha256(file.read_bytes()).hexdigest())
    target = file.with_name(f"{file.stem}.track.npz")
    track.save(target)
    command.print(f"written: {target}, {frames} pictures", {"file": str(target), "pictures": frames})
    return 0


def forget(command: Command) -> int:
    from mediaserver.forget import forget_all, forget_expired, forget_one

    words = command.arguments
    if words.session:
        forget_one(command.settings, words.session)
        count = 1
    else:
        count = forget_all(command.settings) if words.all else forget_expired(command.settings)
    command.print(f"{count} session{'' if count == 1 else 's'} deleted.", {"deleted": count})
    return 0


def doctor(command: Command) -> int:
    from mediaserver.doctor import convert, examine

    if checkpoint := command.arguments.convert:
        folder, apart = convert(checkpoint)
        text = f"converted: {folder}; at most {apart:.2g} of 255 levels from the original's pictures"
        command.print(text, {"folder": str(folder), "levels_apart": apart})
        return 0
    if command.arguments.capacity:
        return _capacity(command)
    findings = examine(command.settings)
    lines = [
        f"{finding.state:8}{finding.part}: {finding.sentence}" + (f"\n        {finding.hint}" if finding.hint else "")
        for finding in findings
    ]
    command.print("\n".join(lines), [asdict(finding) for finding in findings])
    return REFUSED if any(finding.state == "bad" for finding in findings) else 0


def _capacity(command: Command) -> int:
    """State what this machine carries; what it does meanwhile is told on standard error."""
    from mediaserver.app import check_engine
    from mediaserver.capacity import Capacity
    from mediaserver.measuring import measure

    check_engine(command.settings)
    capacity = Capacity.of(measure(command.settings, Progress(sys.stderr)))
    command.print("\n".join(capacity.lines()), capacity.to_json())
    return 0


def config(command: Command) -> int:
    """Print every setting as a mediaserver.toml, with its meaning and where its value comes from."""
    lines, facts = [], {}
    for key, field in keys():
        value, origin = value_of(command.settings, key), command.effective.origins[key]
        if key == "consent.controller":
            lines.append("[consent]")
        written = json.dumps(value, default=str, ensure_ascii=False)
        lines += [f"# {field.metadata['help']} ({origin})", f"{key.rpartition('.')[2]} = {written}", ""]
        facts[key] = {"value": value, "from": origin, "help": field.metadata["help"]}
    command.print("\n".join(lines).rstrip(), facts)
    return 0


# --- the words of the command line ------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser; the common flags may stand before or after the verb."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    helps = {key: field.metadata["help"] for key, field in keys() if "." not in key}
    common.add_argument("--config", type=Path, metavar="FILE", help="settings file instead of ./mediaserver.toml")
    for name in FLAGS:
        kind = Path if name in ("raw", "media", "state") else str if name == "host" else int
        metavar = {Path: "DIR", str: "H", int: "N"}[kind]
        common.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=helps[name])
    common.add_argument("--json", action="store_true", help="JSON lines instead of text")
    top = argparse.ArgumentParser(
        prog="mediaserver", description="A film with the viewer's own face inside.", parents=[common]
    )
    top.add_argument("--version", action="version", version=f"mediaserver {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, run: Callable[[Command], int], help: str, into: Any = verbs) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = into.add_parser(name, help=help, description=help, parents=[common])
        added.set_defaults(run=run)
        return added

    verb("setup", setup, "fetch the pinned programs, models and scripts")
    verb("up", up, "serve, and encode what is dropped into raw/")
    verb("serve", serve, "serve what is published, with sessions and renders")
    verb("watch", watch, "encode what is dropped into raw/, without serving")
    verb("encode", encode, "encode and publish these masters, then end").add_argument(
        "files", nargs="+", type=Path, metavar="FILE"
    )
    verb("probe", probe, "say what a master is and what would be made of it").add_argument(
        "file", type=Path, metavar="FILE"
    )
    verb("status", status, "list published chapters and jobs")
    verb("retry", retry, "make a master again that failed").add_argument("name", metavar="NAME")
    verb("cancel", cancel, "cancel a job").add_argument("name", metavar="NAME")
    verb("verify", verify, "say what credentials and mark of a video tell").add_argument(
        "file", type=Path, metavar="FILE"
    )
    speak = verb("lipsync", lipsync, "let the face in a picture speak, as a video file")
    speak.add_argument("face", type=Path, metavar="FACE", help="any picture or video of one face")
    speak.add_argument("speech", type=Path, metavar="SPEECH", help="any file with speech in it")
    speak.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.mp4")
    speak.add_argument("--no-life", action="store_true", help="no blinks, no sway of the head")
    speak.add_argument("--size", default="720p", metavar="LINES", help="height of the video, e.g. 432p; default 720p")
    speak.add_argument("--engine", choices=get_args(EngineName), help="what lets the face speak; default: the setting")
    narration = top_narration(verbs, common)
    verb("bake", narration_bake, "analyse a speech into a mouth track", narration).add_argument(
        "file", type=Path, metavar="FILE"
    )
    which = verb(
        "forget", forget, "delete viewers' sessions with all that was made of them"
    ).add_mutually_exclusive_group(required=True)
    which.add_argument("session", nargs="?", metavar="SESSION", help="a session's address /s/.../")
    which.add_argument("--expired", action="store_true", help="those whose time is over")
    which.add_argument("--all", action="store_true", help="every one")
    look = verb("doctor", doctor, "look at the installation").add_mutually_exclusive_group()
    look.add_argument("--capacity", action="store_true", help="measure, for about a minute, what this machine carries")
    look.add_argument("--convert", type=Path, metavar="FILE", help="make the engine wav2lip of a checkpoint, once")
    verb("config", config, "print every setting, its value and where it comes from")
    return top


def top_narration(verbs: Any, common: argparse.ArgumentParser) -> Any:
    """Return where the verbs of `mediaserver narration` are added."""
    group = verbs.add_parser("narration", help="work on the speech of slots", parents=[common])
    return group.add_subparsers(title="verbs", metavar="VERB", required=True)
