"""The pipeline from a photo and a speech to finished pictures; nothing leaves it without label and mark."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from glob import escape
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from encoder.errors import EncoderError, ToolCancelled
from encoder.insert import raw_pictures
from encoder.model import Presentation, Rendition, Slot
from encoder.tools import Tools, find_tools, open_tool
from lipsync.compose import AI, Frame
from lipsync.credentials import issuer_for
from lipsync.errors import CannotWrite, NotASize, RenderFailed
from lipsync.face import Face, FaceFinder
from lipsync.findings import inspect
from lipsync.life import life_of
from lipsync.mark import Mark
from lipsync.narration import PARAMETERS, SAMPLE_RATE_HZ, MouthTrack, read_speech
from lipsync.photo import encode_photo, read_photo
from lipsync.portrait import RATE, Means, portrait_of
from lipsync.protocols import EngineName, Fragment, Signing, Stamp, Take
from lipsync.provenance import Statement, sign, sign_file
from lipsync.slicing import encode_still
from lipsync.speaker import speaker_of
from lipsync.splice import encode_insert, mezzanine_frames, own_picture
from lipsync.still import StillScene, changes
from lipsync.window import Window, into_slot, parts, slots_in, track_of, working_size

SMALLEST_LINES, LARGEST_LINES = 144, 2160
TRACKS = 16
"""Mouth tracks kept in memory."""


class Studio:
    """Holds the loaded models and the signer; one call at a time.

    Everything that leaves it carries the label and the mark, finished files the credentials too; no caller can ask for
    less. Raises ModelMissing, ToolMissing or CertificateUnusable where something is not set up.
    """

    def __init__(
        self,
        signing: Signing,
        tools: Tools | None = None,
        models: Path | None = None,
        *,
        life: bool = True,
        engine: EngineName = "drawn",
    ) -> None:
        """`life` says whether faces in slots blink and sway, where the slot allows it. Raises NotConverted, too."""
        self._life = life
        self._issuer = issuer_for(signing)
        self._speaker = speaker_of(engine)
        self._tools = tools or find_tools()
        self._finder = FaceFinder(models)
        self._tracks: dict[tuple[Path, str], MouthTrack] = {}

    def examine(self, photo: bytes) -> Face:
        """Return the upright head of the one person in a photo.

        Raises NotAPicture, PictureTooLarge, PhotoRefused.
        """
        return self.look(photo)[0]

    def look(self, photo: bytes) -> tuple[Face, bytes]:
        """Return what `examine` does, and the picture encoded anew, which leaves nothing of the file's metadata."""
        picture = read_photo(photo)
        face = self._finder.find(picture).head()
        return face, encode_photo(picture)

    def render_file(
        self,
        face_picture: Path,
        speech: Path,
        out: Path,
        *,
        size: str = "720p",
        stamp: Stamp = AI,
        life: bool = True,
        on_progress: Callable[[int, int], None] = lambda done, pictures: None,
    ) -> None:
        """Write an MP4 (H.264, AAC, 25 pictures/s) of the whole photo or video, `size` lines high, speaking.

        The same inputs give the same pictures, their mark included. `on_progress` gets the pictures done and how many
        there will be. `out` appears when it is whole. Raises NotASize, CannotWrite, NotAPicture, PictureTooLarge,
        PhotoRefused, SpeechUnreadable, all before any picture is made, and RenderFailed for what the encoder may find.
        """
        lines = _lines(size)
        _check_target(out, face_picture, speech)
        samples = read_speech(speech, self._tools)
        frames = -(-len(samples) * int(RATE) // SAMPLE_RATE_HZ)
        portrait = portrait_of(face_picture, lines, frames, stamp, Means(self._tools, self._finder, self._speaker))
        seed = hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()
        states = self._speaker.analyse(samples, RATE, frames)
        signs = life_of(seed, RATE, states[:, : len(PARAMETERS)]) if life else np.zeros((frames, 4), np.float32)
        render_id = _render_id(face_picture, seed, f"{lines} {stamp} {life} {self._speaker.track}")
        part = _part_of(out)
        try:
            command = file_command(self._tools, portrait.width, portrait.height, speech, part)
            mark = Mark(render_id, portrait.width, portrait.height, RATE)
            _encode(command, _marked(portrait.frames(states, signs), mark), lambda done: on_progress(done, frames))
            sign_file(part, out, Statement("A speaking face", render_id), self._issuer)
        except (EncoderError, OSError) as error:
            raise RenderFailed(str(error)) from error
        finally:
            portrait.close()
            part.unlink(missing_ok=True)

    def render_insert(
        self, face: Face, take: Take, *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[Fragment]:
        """Yield the fragments of a take, each as soon as it is encoded.

        `cancelled` is asked at every picture. Raises RenderFailed, InsertDoesNotFit, ToolCancelled.
        """
        try:
            presentation = Presentation.load(take.folder)
            slot = presentation.slot(take.slot)
            if slot is None:
                raise RenderFailed(f"the chapter has no slot {take.slot!r}")
            renditions = [r for r in presentation.videos if r.id in take.renditions and r.insert]
            numbers = _inside(take.segments, presentation.carried_by(slot))
            if not renditions or not numbers:
                raise RenderFailed("nothing of the slot was asked for")
            size = working_size(presentation, numbers, renditions, take.stamp)
            for part, still in parts(presentation, slot, numbers, renditions):
                if still:
                    yield from self._still(
                        face, take, presentation, slot,
                        renditions=renditions, numbers=part, size=size, cancelled=cancelled,
                    )  # fmt: skip
                    continue
                frames = self.insert_frames(
                    face, take, presentation, slot, numbers=part, size=size, cancelled=cancelled
                )
                yield from encode_insert(
                    frames, presentation, self._tools, renditions=renditions, numbers=part, size=size
                )
        except ToolCancelled:
            raise
        except EncoderError as error:
            raise RenderFailed(str(error)) from error

    def insert_frames(
        self,
        face: Face,
        take: Take,
        presentation: Presentation,
        slot: Slot,
        *,
        numbers: range,
        size: tuple[int, int],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Frame]:
        """Yield the pictures of segments `numbers`: the chapter's own, within every slot's window with the face.

        Every picture that shows the face carries the mark; the others are bit by bit the mezzanine's.
        """
        windows = [self._window(take, presentation, seen, life=self._life) for seen in slots_in(presentation, numbers)]
        for window in windows:
            begins = window.frames.start
            window.ground = partial(own_picture, take.folder, window.slot.id, begins, size, self._tools)
        mark = Mark(take.render_id, *size, presentation.grid.rate)
        first = presentation.grid.frames_of(numbers.start).start
        own = mezzanine_frames(take.folder, presentation, slot, self._tools, segments=numbers, size=size)
        with closing(own):  # type: ignore[type-var]
            for number, frame in enumerate(own, first):
                if cancelled():
                    raise ToolCancelled
                shown = frame
                for window in windows:
                    shown = window.filled(face, shown, number)
                if shown is not frame:
                    mark.put(shown, number)
                yield shown

    def _still(
        self,
        face: Face,
        take: Take,
        presentation: Presentation,
        slot: Slot,
        *,
        renditions: Sequence[Rendition],
        numbers: range,
        size: tuple[int, int],
        cancelled: Callable[[], bool],
    ) -> Iterator[Fragment]:
        """Yield the fragments of segments that show nothing but the face in front of a still picture."""
        grid, window = presentation.grid, self._window(take, presentation, slot, life=False)
        frames = range(grid.frames_of(numbers.start).start, grid.frames_of(numbers[-1]).stop)
        scene = own_picture(take.folder, slot.id, frames.start, size, self._tools)
        states = window.states[frames.start - window.frames.start : frames.stop - window.frames.start]
        compositor = into_slot(face, take, replace(slot, grain=0.0), scene, self._speaker)
        compositor.expect(states)
        stage = StillScene(compositor, scene, states[0], lambda w, h: Mark(take.render_id, w, h, grid.rate))

        fresh = changes(states, frames.start, grid)

        def timed() -> Iterator[tuple[int, Sequence[float]]]:
            for number, state in compress(zip(frames, states, strict=True), fresh):
                if cancelled():
                    raise ToolCancelled
                yield number, state

        yield from encode_still(stage, timed(), fresh, grid, self._tools, renditions=renditions, numbers=numbers)

    def _window(self, take: Take, presentation: Presentation, slot: Slot, *, life: bool) -> Window:
        """Return the slot's window with its mouth track: a version never changes, so one serves all its viewers."""
        key = (take.folder, slot.id)
        if key not in self._tracks:
            if len(self._tracks) == TRACKS:
                del self._tracks[next(iter(self._tracks))]
            self._tracks[key] = track_of(take.folder, presentation, slot, self._speaker)
        return Window.of(take, presentation, slot, self._speaker, self._tracks[key], life=life)

    def sign(self, video: bytes, title: str, render_id: int | None) -> bytes:
        """Return a finished flat MP4 with Content Credentials; its fragments stay as they are. Raises SigningFailed."""
        return sign(video, Statement(title, render_id), self._issuer)

    def inspect(self, video: Path) -> dict[str, Any]:
        """Return what credentials and mark of a file tell. Raises OSError if it cannot be read."""
        return inspect(video, self._issuer.anchors, self._tools).to_json()


def _marked(frames: Iterator[Frame], mark: Mark) -> Iterator[Frame]:
    for number, frame in enumerate(frames):
        mark.put(frame, number)
        yield frame


def _encode(command: Sequence[str], frames: Iterator[Frame], on_done: Callable[[int], None]) -> None:
    """Send pictures to an encoder. Raises EncoderError."""
    with open_tool(command, stdin=True) as child:
        assert child.stdin is not None
        try:
            for number, frame in enumerate(frames, 1):
                child.stdin.write(frame.data)
                on_done(number)
            child.stdin.close()
        except BrokenPipeError:
            pass  # the encoder has ended; `check` knows why
        child.check()


def _check_target(out: Path, *inputs: Path) -> None:
    """Raise CannotWrite where the file would have no place, or lie over what it is made from."""
    if not out.parent.is_dir():
        raise CannotWrite(str(out), f"there is no folder {str(out.parent)!r}")
    if out.is_dir():
        raise CannotWrite(str(out), "it is a folder")
    if not os.access(out.parent, os.W_OK):
        raise CannotWrite(str(out), f"nothing may be written into {str(out.parent)!r}")
    if any(out.exists() and path.exists() and out.samefile(path) for path in inputs):
        raise CannotWrite(str(out), "it is one of the files that it is made from")


def _part_of(out: Path) -> Path:
    """Return where a file lies while it is made; parts of it that killed processes have left are deleted."""
    for left in out.parent.glob(f".{escape(out.name)}.*.part"):
        owner = left.name.split(".")[-2]
        if owner.isdecimal() and not _runs(int(owner)):
            left.unlink(missing_ok=True)
    return out.with_name(f".{out.name}.{os.getpid()}.part")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _render_id(face: Path, seed: str, choices: str) -> int:
    """Return a number of 32 bits for the mark: of the same inputs the same."""
    with face.open("rb") as file:
        of_face = hashlib.file_digest(file, "sha256").hexdigest()
    return int(hashlib.sha256(f"{of_face} {seed} {choices}".encode()).hexdigest()[:8], 16)


def _inside(asked: range, whole: range) -> range:
    return range(max(asked.start, whole.start), min(asked.stop, whole.stop))


def _lines(size: str) -> int:
    match = re.fullmatch(r"(\d{3,4})p", size)
    lines = int(match[1]) // 2 * 2 if match else 0
    if not SMALLEST_LINES <= lines <= LARGEST_LINES:
        raise NotASize(size)
    return lines


def file_command(tools: Tools, width: int, height: int, speech: Path, target: Path) -> Sequence[str]:
    """Return the command that makes an MP4 of I420 pictures on standard input and the sound of `speech`."""
    return (
        *(str(tools.ffmpeg), "-hide_banner", "-v", "error", "-y", *raw_pictures((width, height), RATE)),
        *("-i", f"file:{speech}", "-map", "0:v", "-map", "1:a:0", "-map_metadata", "-1"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", "cabac=1", "-crf", "23"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        *("-c:a", "aac", "-b:a", "128k", "-af", "aformat=channel_layouts=mono|stereo"),
        *("-movflags", "+faststart", "-f", "mp4", f"file:{target}"),
    )
