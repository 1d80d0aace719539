"""Looks at the installation and says of each part, in one sentence, whether it will do."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encoder.capabilities import REMEDY, probe_capabilities
from encoder.errors import EncoderError
from encoder.tools import cache_folder, find_tools
from lipsync.checkpoint import check_converted, converted
from lipsync.errors import NotConverted
from mediaserver.errors import ExtraMissing, NotSetUp
from mediaserver.pins import pins, this_machine
from mediaserver.settings import Settings
from mediaserver.setup import is_whole, npm_folder

State = Literal["ok", "warning", "bad"]
LOW_BYTES = 5 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One part, how it is, the sentence, and what to do unless it is "ok"."""

    part: str
    state: State
    sentence: str
    hint: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; changes nothing."""
    return [
        *_files(),
        *_programs(),
        _scripts(),
        *_folders(settings),
        _disk(settings),
        *_ports(settings),
        _cores(),
        _sqlite(),
        *_engine(settings),
    ]


def convert(checkpoint: Path) -> tuple[Path, float]:
    """Make the networks of the engine wav2lip of a checkpoint; return their folder and how far they are from it.

    That is of a picture's levels, 0..255. Raises ExtraMissing, WeightsUnusable.
    """
    try:
        from lipsync.train.wav2lip import convert as made  # noqa: PLC0415 - torch, which nothing else here needs
    except ImportError as error:
        raise ExtraMissing("Converting a checkpoint", "train") from error
    return converted(), made(checkpoint, converted())


def _files() -> Iterator[Finding]:
    cache = cache_folder()
    for pin in pins(this_machine()):
        if is_whole(pin, cache):
            yield Finding(pin.file, "ok", f"is exactly the pinned one ({pin.licence}).")
        else:
            how = "has other bytes than the pinned one" if (cache / pin.file).exists() else "is missing"
            yield Finding(pin.file, "bad", f"{how} in {cache}.", "Run `mediaserver setup`.")


def _programs() -> Iterator[Finding]:
    try:
        tools = find_tools()
        able = probe_capabilities(tools.ffmpeg)
    except EncoderError as error:
        yield Finding("ffmpeg", "bad", str(error), error.hint)
        return
    if able.missing:
        yield Finding("ffmpeg", "bad", f"{tools.ffmpeg} cannot do {', '.join(able.missing)}.", f"{REMEDY}.")
    elif lacks := able.lacks(able.absent):
        yield Finding("ffmpeg", "warning", f"{tools.ffmpeg} {lacks}.", f"{REMEDY}.")
    else:
        yield Finding("ffmpeg", "ok", f"{tools.ffmpeg} can do all that is asked of it.")


def _scripts() -> Finding:
    try:
        return Finding("players", "ok", f"their scripts lie in {npm_folder()}.")
    except NotSetUp as error:
        return Finding("players", "bad", str(error), error.hint)


def _folders(settings: Settings) -> Iterator[Finding]:
    for name, folder in (("raw", settings.raw), ("media", settings.media), ("state", settings.state)):
        if not folder.is_dir():
            yield Finding(name, "warning", f"{folder} does not exist yet.", "It is made at the first start.")
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield Finding(name, "bad", f"{folder} cannot be written.", f"Give it to the user {os.getuid()}.")
        else:
            yield Finding(name, "ok", f"{folder.absolute()} can be written.")
    if _lies_in(settings.state, settings.media):
        yield Finding("state", "bad", "state lies inside media, which is served.", "Name another folder with --state.")


def _lies_in(inner: Path, outer: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def _disk(settings: Settings) -> Finding:
    place = settings.media.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    sentence = f"{free / 1024**3:.0f} GiB are free where media lies."
    if free < LOW_BYTES:
        return Finding("disk", "warning", sentence, "A chapter of an hour needs about 5 GiB; make room.")
    return Finding("disk", "ok", sentence)


def _ports(settings: Settings) -> Iterator[Finding]:
    for flag, host, port in (
        ("--port", settings.host, settings.port),
        ("--admin-port", "127.0.0.1", settings.admin_port),
    ):
        try:
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            hint = f"If it is not this server that runs already, choose another one: {flag} N."
            yield Finding("port", "warning", f"{host}:{port} is not free ({error.strerror or error}).", hint)
        else:
            yield Finding("port", "ok", f"{host}:{port} is free.")


def _cores() -> Finding:
    cores = os.cpu_count() or 1
    if cores < 2:
        return Finding("cores", "warning", "there is one core.", "Encoding and rendering will take turns: allow time.")
    return Finding("cores", "ok", f"there are {cores} cores.")


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    # DBOS 3.4 writes unixepoch('subsec') into its tables from Python 3.12 on; SQLite knows it since 3.42
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        hint = "Use a Python that comes with SQLite 3.42 or newer, or Python 3.11."
        return Finding("sqlite", "bad", f"SQLite {version} is too old for the jobs under this Python.", hint)
    return Finding("sqlite", "ok", f"SQLite {version} will do.")


def _engine(settings: Settings) -> Iterator[Finding]:
    if settings.engine != "wav2lip":
        return
    try:
        check_converted(converted())
        yield Finding("engine", "ok", f"the networks of wav2lip lie in {converted()}.")
    except NotConverted as error:
        yield Finding("engine", "bad", str(error), error.hint)
