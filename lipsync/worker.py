"""The warm process: models loaded once, photos and renders one at a time; and its client in the server's loop.

`python -m lipsync.worker ENGINE alive|still KEYS CERTIFICATE KEY ANCHORS` speaks lipsync.wire on standard input and
output and ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import resource
import sys
import threading
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from encoder.errors import EncoderError, ToolCancelled
from encoder.tools import python_module, start_companion
from lipsync.errors import LipsyncError, RenderFailed, WorkerDied, WorkerOutgrown
from lipsync.protocols import EngineName, Examined, Fragment, Signing, Take
from lipsync.wire import LENGTHS, BadMessage, Header, error_header, error_of, lengths_of, packed, take_header, take_of

if TYPE_CHECKING:
    from lipsync.studio import Studio

_log = logging.getLogger(__name__)

START_S, STOP_S = 60.0, 3.0
"""Longest time for a process to become ready; for a cancelled render, or a process told to end, to stop."""
CEILING_MB, LOOK_S = 512, 0.1
"""Memory that a process may hold, in MB of 2**20 bytes; time between two looks at it."""


class WarmWorker:
    """Implements lipsync.protocols.FaceWorker by a process that is started ahead and again after its death.

    Calls wait for each other. Made inside a running loop, it starts its process at once; else at the first call.
    A call with one answer is asked once more of a new process if the first one dies of it; a render is not, because
    its caller knows what of it is there.
    """

    def __init__(
        self, signing: Signing, *, life: bool = True, engine: EngineName = "drawn", ceiling_mb: int = CEILING_MB
    ) -> None:
        """`life` says whether faces blink and sway where the slot allows it; above `ceiling_mb` a process is killed."""
        self._ceiling_mb = ceiling_mb
        operators = (signing.certificate, signing.key, signing.anchors)
        self._words = (engine, "alive" if life else "still", str(signing.keys.absolute()), *operators)
        self._turn = asyncio.Lock()
        self._process: _Process | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            self._later(self._warm())

    @property
    def pid(self) -> int | None:
        """The living process, if there is one."""
        return self._process.pid if self._process else None

    async def examine(self, photo: bytes) -> Examined:
        """Look for the one face of a photo.

        Raises NotAPicture, PictureTooLarge, PhotoRefused, WorkerDied, ModelMissing.
        """
        header, data = await self._ask({"call": "examine"}, photo)
        return Examined(data[: header["face"]], data[header["face"] :])

    async def _ask(self, header: Header, payload: bytes = b"") -> tuple[Header, bytes]:
        """Say something that has one answer, and return that."""
        async with self._turn:
            try:
                return await self._answer(header, payload)
            except WorkerDied as death:
                if self._closed:
                    raise
                _log.warning("%s What it was asked is asked once more of a new one.", death)
                return await self._answer(header, payload)

    async def _answer(self, header: Header, payload: bytes) -> tuple[Header, bytes]:
        process = await self._ready()
        try:
            await process.say(header, payload)
            return await process.hear()
        except (WorkerDied, asyncio.CancelledError):
            self._bury()
            raise

    async def sign(self, video: bytes, title: str, render_id: int | None) -> bytes:
        """Return a finished flat MP4 with Content Credentials. Raises SigningFailed, WorkerDied."""
        return (await self._ask({"call": "sign", "title": title, "render_id": render_id}, video))[1]

    async def inspect(self, video: Path) -> dict[str, Any]:
        """Return what credentials and mark of a file tell. Raises RenderFailed, WorkerDied."""
        return dict(json.loads((await self._ask({"call": "inspect", "file": str(video)}))[1]))

    async def render(self, face: bytes, take: Take) -> AsyncGenerator[Fragment, None]:
        """Yield the fragments of a take; closing the iterator stops the work within a picture or two.

        Raises RenderFailed, InsertDoesNotFit, WorkerDied.
        """
        await self._turn.acquire()
        settled = True
        try:
            process = await self._ready()
            settled = False
            await process.say({"call": "render", **take_header(take)}, face)
            async for fragment in _fragments(process):
                yield fragment
            settled = True
        except WorkerDied:
            self._bury()
            settled = True
            raise
        except LipsyncError:
            settled = True
            raise
        finally:
            if settled:
                self._turn.release()
            else:
                await asyncio.shield(self._later(self._call_off()))

    async def close(self) -> None:
        """End the process; a call in progress gets WorkerDied."""
        self._closed = True
        process, self._process = self._process, None
        if process:
            await process.end()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call_off(self) -> None:
        """Tell the worker to drop its render and hear it out; kill it if it does not stop. Ends the caller's turn."""
        try:
            if process := self._process:
                async with asyncio.timeout(STOP_S):
                    await process.say({"call": "cancel"})
                    async for _ in _fragments(process):
                        pass
        except LipsyncError as error:
            if isinstance(error, WorkerDied):
                self._bury()
        except (TimeoutError, asyncio.CancelledError):
            self._bury()
        finally:
            self._turn.release()

    async def _ready(self) -> _Process:
        """Return the living process, a new one where there is none; raises WorkerDied, ModelMissing."""
        if self._closed:
            raise WorkerDied
        if self._process is None:
            self._process = await _Process.start(self._words, self._ceiling_mb)
        return self._process

    async def _warm(self) -> None:
        async with self._turn:
            with suppress(LipsyncError):  # the next call tries again and tells
                await self._ready()

    def _bury(self) -> None:
        """Forget the process, make sure that it is dead, and start another."""
        process, self._process = self._process, None
        if process:
            self._later(process.end())
        if not self._closed:
            self._later(self._warm())

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _fragments(process: _Process) -> AsyncIterator[Fragment]:
    """Yield what a render sends until it is done."""
    while True:
        header, data = await process.hear()
        if header["event"] == "done":
            return
        yield Fragment(header["rendition"], header["number"], data)


class _Process:
    """One worker process, ready, with its pipes; it is killed when it holds more than `ceiling_mb`."""

    def __init__(self, process: asyncio.subprocess.Process, ceiling_mb: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._drain = asyncio.create_task(_log_lines(process.stderr))
        self._lengths: tuple[int, int] | None = None
        self.pid, self._ceiling_mb, self._outgrown = process.pid, ceiling_mb, False
        self._watch = asyncio.create_task(self._keep_small())

    @classmethod
    async def start(cls, words: tuple[str, ...], ceiling_mb: int) -> _Process:
        """Start a process and wait until its models are loaded; raises WorkerDied, or what the models lack."""
        command = (*python_module("lipsync.worker"), *words)
        root = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        started = cls(await start_companion(command, {**os.environ, "PYTHONPATH": paths}), ceiling_mb)
        try:
            async with asyncio.timeout(START_S):
                await started.hear()
        except BaseException as error:
            await started.end()
            if isinstance(error, TimeoutError):
                raise WorkerDied from error
            raise
        return started

    async def say(self, header: Header, payload: bytes = b"") -> None:
        try:
            self._stdin.write(packed(header, payload))
            await self._stdin.drain()
        except OSError as error:
            raise self._death() from error

    async def hear(self) -> tuple[Header, bytes]:
        """Return the next message; raises what it says went wrong, WorkerDied at the end of the process."""
        try:
            if self._lengths is None:  # a cancelled caller may have read it already
                self._lengths = lengths_of(await self._stdout.readexactly(LENGTHS.size))
            data = await self._stdout.readexactly(sum(self._lengths))
            header: Header = json.loads(data[: self._lengths[0]])
            data, self._lengths = data[self._lengths[0] :], None
        except (asyncio.IncompleteReadError, BadMessage, OSError, ValueError) as error:
            raise self._death() from error
        if header["event"] == "error":
            raise error_of(header)
        return header, data

    def _death(self) -> WorkerDied:
        return WorkerOutgrown(self._ceiling_mb) if self._outgrown else WorkerDied()

    async def _keep_small(self) -> None:
        """Kill the process when it has outgrown its ceiling (docs/decisions/0022 says why no limit of the kernel's)."""
        while (held := resident_bytes(self.pid)) is not None:
            if held > self._ceiling_mb << 20:
                self._outgrown = True
                with suppress(ProcessLookupError):
                    self._process.kill()
                return
            await asyncio.sleep(LOOK_S)

    async def end(self) -> None:
        """Close its input; kill it if it does not go."""
        with suppress(OSError):
            self._stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            self._watch.cancel()
            await asyncio.gather(self._drain, self._watch, return_exceptions=True)


def resident_bytes(pid: int) -> int | None:
    """Return what a process holds in memory (proc(5), statm); None when it is gone, or where no /proc tells."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return None


async def _log_lines(pipe: asyncio.StreamReader) -> None:
    """Read the worker's standard error to its end, so that it never blocks on it."""
    while text := await pipe.read(4096):
        _log.warning("%s", text.decode("utf-8", "replace").rstrip())


def main() -> None:
    """Serve calls until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not reach the protocol
    calls = Calls(sys.stdin.buffer)
    try:
        studio = _studio()
    except (LipsyncError, EncoderError) as error:
        _send(out, error_header(_ours(error)))
        return
    _send(out, {"event": "ready"})
    for header, payload in calls:
        _serve(studio, header, payload, calls, out)


def _studio() -> Studio:
    import cv2  # noqa: PLC0415 - the client imports this module without picture code

    from lipsync.studio import Studio  # noqa: PLC0415

    cv2.setNumThreads(1)
    engine, alive, keys, *operators = sys.argv[1:]
    return Studio(Signing(Path(keys), *operators), life=alive == "alive", engine=cast(EngineName, engine))


class Calls:
    """The calls from standard input, read in a thread so that a cancel is seen while a render runs."""

    def __init__(self, stdin: IO[bytes]) -> None:
        self._stdin, self._waiting = stdin, queue.Queue[tuple[Header, bytes] | None]()
        self.cancelled, self.ended = threading.Event(), False
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Calls:
        return self

    def __next__(self) -> tuple[Header, bytes]:
        call = self._waiting.get()
        if call is None:
            raise StopIteration
        return call

    def _read(self) -> None:
        with suppress(EOFError, BadMessage, ValueError):
            while True:
                head, payload = lengths_of(self._exactly(LENGTHS.size))
                header, data = json.loads(self._exactly(head)), self._exactly(payload)
                if header["call"] == "cancel":
                    self.cancelled.set()
                else:
                    self.cancelled.clear()
                    self._waiting.put((header, data))
        self.ended = True
        self.cancelled.set()
        self._waiting.put(None)
        last_resort = threading.Timer(STOP_S, os._exit, [1])
        last_resort.daemon = True
        last_resort.start()

    def _exactly(self, size: int) -> bytes:
        data = self._stdin.read(size)
        if len(data) < size:
            raise EOFError
        return data


def _serve(studio: Studio, header: Header, payload: bytes, calls: Calls, out: IO[bytes]) -> None:
    try:
        if header["call"] == "examine":
            face, photo = studio.look(payload)
            data = face.to_bytes()
            _send(out, {"event": "face", "face": len(data)}, data + photo)
        elif header["call"] == "sign":
            _send(out, {"event": "signed"}, studio.sign(payload, header["title"], header["render_id"]))
        elif header["call"] == "inspect":
            _send(out, {"event": "found"}, json.dumps(studio.inspect(Path(header["file"]))).encode())
        else:
            _render(studio, header, payload, calls, out)
    except BrokenPipeError:
        raise SystemExit(0) from None  # the server is gone
    except Exception as error:
        _send(out, error_header(_ours(error)))


def _render(studio: Studio, header: Header, payload: bytes, calls: Calls, out: IO[bytes]) -> None:
    from lipsync.face import Face  # noqa: PLC0415

    face = Face.from_bytes(payload)
    with suppress(ToolCancelled):
        for fragment in studio.render_insert(face, take_of(header), cancelled=calls.cancelled.is_set):
            _send(out, {"event": "fragment", "rendition": fragment.rendition, "number": fragment.number}, fragment.data)
    if not calls.ended:
        _send(out, {"event": "done"})


def _ours(error: Exception) -> LipsyncError:
    """Return the error as one that the protocol knows; of an unforeseen one the log gets the kind and the place.

    Its own words may hold what was being worked on, and that is a face.
    """
    if isinstance(error, LipsyncError):
        return error
    if not isinstance(error, EncoderError):
        sys.stderr.write("".join([f"{type(error).__name__}\n", *traceback.format_tb(error.__traceback__)]))
        return RenderFailed(f"{type(error).__name__} in the worker; its log says where")
    return RenderFailed(str(error))


def _send(out: IO[bytes], header: Header, payload: bytes = b"") -> None:
    out.write(packed(header, payload))
    out.flush()


if __name__ == "__main__":
    main()
