"""Everything that can go wrong while a master becomes a chapter: one exception per cause."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import ClassVar


class EncoderError(Exception):
    """The family: `code` for programs, `str(error)` is the sentence for people, `hint` says what to do."""

    code: ClassVar[str] = "encoder_error"
    hint: str = "Look at the message above; `mediaserver doctor` checks the installation."


class ToolMissing(EncoderError):
    code = "tool_missing"
    hint = "Run `mediaserver setup`: it fetches the pinned programs into the cache."

    def __init__(self, name: str) -> None:
        super().__init__(f"The program {name} was not found.")


class ToolLacks(EncoderError):
    """The ffmpeg that was found cannot do what this master needs."""

    code = "tool_lacks"
    hint = "Run `mediaserver setup`: it fetches an ffmpeg that can do all of it and goes before every other."

    def __init__(self, ffmpeg: Path, names: Iterable[str], master: Path) -> None:
        super().__init__(f"{ffmpeg} lacks {', '.join(names)}: without that no chapter can be made of {master.name!r}.")


class ToolFailed(EncoderError):
    """A child process exited with a status other than 0, or printed what cannot be."""

    code = "tool_failed"
    hint = "The exact command and the end of its output are kept with the job."

    def __init__(self, command: tuple[str, ...], status: int, stderr_tail: str) -> None:
        last = stderr_tail.strip().splitlines()[-1] if stderr_tail.strip() else "no message"
        super().__init__(f"{Path(command[0]).name} failed with status {status}: {last}")
        self.command, self.status, self.stderr_tail = command, status, stderr_tail


class ToolStalled(ToolFailed):
    """A program ran on without getting any further, and was killed."""

    code = "tool_stalled"
    hint = "It was tried twice. Check that the disks and network mounts answer, then `mediaserver retry`."

    def __init__(self, command: tuple[str, ...], stall_s: float, stderr_tail: str) -> None:
        super().__init__(command, -9, stderr_tail)
        self.args = (f"{Path(command[0]).name} made no progress for {stall_s:g} s and was stopped.",)


class ToolCancelled(EncoderError):
    code = "cancelled"
    hint = "Start it again with `mediaserver retry`."

    def __init__(self) -> None:
        super().__init__("The work was cancelled.")


class MasterMissing(EncoderError):
    code = "master_missing"
    hint = "Check the path; masters lie in raw/."

    def __init__(self, path: Path) -> None:
        super().__init__(f"There is no file {path.name!r}.")


class MasterUnreadable(EncoderError):
    code = "master_unreadable"
    hint = "Open it in a player. If it does not play there either, export it again."

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name!r} is not a readable video file: {reason}")


class MasterTruncated(EncoderError):
    code = "master_truncated"
    hint = "The copy was cut off or the export did not finish: copy or export the file again."

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name!r} ends too early: {reason}")


class MasterForbidden(EncoderError):
    code = "master_forbidden"
    hint = "Give the user that runs this server the right to read the file, then `mediaserver retry`."

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name!r} may not be read.")


class MasterDamaged(EncoderError):
    code = "master_damaged"
    hint = "The file is damaged in the middle: copy it again, or export it again."

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"Too much of {path.name!r} cannot be decoded: {reason}")


class CodecUnsupported(EncoderError):
    code = "codec_unsupported"
    hint = "Export the master as ProRes, DNxHR, H.264 or another codec that ffmpeg knows."

    def __init__(self, path: Path, part: str) -> None:
        super().__init__(f"The codec of {path.name!r} is not known here: {part} cannot be decoded.")


class MasterChanged(EncoderError):
    code = "master_changed"
    hint = "Nothing was published of it. Let the new file lie in raw/: it is a job of its own."

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name!r}, or a file beside it, was changed or removed while it was encoded.")


class NoPicture(EncoderError):
    code = "no_picture"
    hint = "A chapter needs a video track; export the master with its picture."

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name!r} has no video track.")


class PictureTooSmall(EncoderError):
    code = "picture_too_small"
    hint = "Export the master with at least 64 x 64 pixels."

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"The picture of {width} x {height} pixels is too small to stream.")


class PictureTooLarge(EncoderError):
    code = "picture_too_large"
    hint = "Export the master with at most 16384 pixels in width and height."

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"The picture of {width} x {height} pixels is too large to decode.")


class StillGrowing(EncoderError):
    code = "still_growing"
    hint = "Wait until the copy has finished, or drop the file into raw/ and let `mediaserver watch` wait for it."

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path.name!r} is still being written.")


class CurrentMoved(EncoderError):
    """Another version was published since this one was planned; `current` is its name."""

    code = "current_moved"
    hint = "The newer master of the chapter stays published; `mediaserver retry` publishes this one instead."

    def __init__(self, version: str, current: str | None) -> None:
        super().__init__(f"Version {version} was not published: {current or 'none'} came before it.")
        self.current = current


class BadChapterName(EncoderError):
    code = "bad_chapter_name"
    hint = "Rename the file: letters, digits, '-', '_' and '.', at most 80 characters, not beginning with a dot."

    def __init__(self, stem: str) -> None:
        super().__init__(f"{stem!r} cannot be the name of a chapter.")


class ReservedChapterName(EncoderError):
    code = "reserved_chapter_name"
    hint = "Rename the file: this name is a fixed address of the server."

    def __init__(self, stem: str) -> None:
        super().__init__(f"A chapter cannot be called {stem!r}.")


class SameChapterTwice(EncoderError):
    code = "same_chapter_twice"
    hint = "Rename or remove one of the two files; the first one stays published."

    def __init__(self, path: Path, other: Path, chapter: str) -> None:
        super().__init__(f"{path.name!r} and {other.name!r} are both masters of the chapter {chapter!r}.")


class BadSidecar(EncoderError):
    code = "bad_sidecar"
    hint = "Correct the .toml file beside the master; README, section for editors, shows every key."

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name!r} cannot be used: {reason}")


class SlotOutsideChapter(EncoderError):
    code = "slot_outside_chapter"
    hint = "Correct start and duration of the slot in the .toml file beside the master."

    def __init__(self, start_s: Fraction, duration_s: Fraction, chapter_s: Fraction) -> None:
        super().__init__(
            f"The slot from {float(start_s):g} s, {float(duration_s):g} s long, "
            f"does not lie inside the chapter of {float(chapter_s):g} s."
        )


class BadBoxes(EncoderError):
    """A file is not the ISO-BMFF that it should be."""

    code = "bad_boxes"
    hint = "The file is damaged or was made by another program; encode the master again."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The MP4 structure is wrong: {reason}")


class VerificationFailed(EncoderError):
    code = "verification_failed"
    hint = "Nothing was published. Retry; if it happens again, keep the master and report it."

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} is not what was planned: {reason}")


class BadPresentation(EncoderError):
    code = "bad_presentation"
    hint = "Encode the master again: `mediaserver encode FILE`."

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}")
