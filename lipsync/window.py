"""When a slot is seen in a render, at what size it is composed, and with which pictures of the mouth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.model import Presentation, Rendition, Slot
from lipsync.compose import AI, Compositor, Frame, check_room
from lipsync.errors import RenderFailed
from lipsync.face import Face
from lipsync.life import life_of
from lipsync.narration import PARAMETERS, MouthTrack, read_narration
from lipsync.protocols import Stamp, Take
from lipsync.slicing import fits
from lipsync.speaker import Speaker


@dataclass(slots=True)
class Window:
    """One slot's pictures in a render: when the face is seen, where, and what its mouth does.

    `ground` gives the chapter's picture at which the slot begins, for a piece that does not hold it.
    """

    take: Take
    slot: Slot
    frames: range
    states: NDArray[np.float32]
    speaker: Speaker
    life: NDArray[np.float32]
    compositor: Compositor | None = None
    ground: Callable[[], Frame] | None = None

    @classmethod
    def of(
        cls, take: Take, presentation: Presentation, slot: Slot, speaker: Speaker, track: MouthTrack, *, life: bool
    ) -> Window:
        frames = presentation.grid.frames_within(slot.start_s, slot.duration_s)
        signs = np.zeros((len(frames), 4), np.float32)
        if life and slot.life and slot.compose == "moving":
            shown = track.states[: len(frames), : len(PARAMETERS)]
            signs = life_of(track.audio_sha256, presentation.grid.rate, shown)
        return cls(take, slot, frames, track.states, speaker, signs)

    def filled(self, face: Face, frame: Frame, number: int) -> Frame:
        """Return frame `number` of the chapter with the face in it, or as it is outside the window."""
        if number not in self.frames:
            return frame
        if self.compositor is None:
            self.compositor = into_slot(face, self.take, self.slot, frame, self.speaker)
            self.compositor.expect(self.states[number - self.frames.start :])
            if self.ground and number > self.frames.start:
                self.compositor.begin(self.ground(), number - self.frames.start)
        at = number - self.frames.start
        return self.compositor.compose(frame, self.states[at], self.life[at])


def slots_in(presentation: Presentation, numbers: range) -> list[Slot]:
    """Return the slots that are seen in any of the segments, by the time at which they begin."""
    return [s for s in presentation.slots_in_order if set(presentation.segments_of(s)) & set(numbers)]


def working_size(
    presentation: Presentation, numbers: range, renditions: Sequence[Rendition], stamp: Stamp = AI
) -> tuple[int, int]:
    """Return the picture size at which a take is composed: that of its largest rendition.

    Where a slot's rectangle is too small for a face there, the next larger size of the ladder in which it is not.
    Raises RenderFailed if there is none.
    """
    slots, least = slots_in(presentation, numbers), max(r.picture.height for r in renditions if r.picture)
    for rendition in reversed(presentation.videos):
        picture = rendition.picture
        if picture is None or picture.height < least:
            continue
        try:
            for slot in slots:
                check_room(slot.face, picture.width, picture.height, stamp)
        except RenderFailed:
            if rendition is presentation.videos[0]:
                raise
            continue
        return picture.width, picture.height
    raise RenderFailed("the chapter has no picture")


def parts(
    presentation: Presentation, slot: Slot, numbers: range, renditions: Sequence[Rendition]
) -> Iterator[tuple[range, bool]]:
    """Yield `numbers` in runs, each with whether slices can be spliced there: where one still slot is all there is."""
    window = presentation.grid.frames_within(slot.start_s, slot.duration_s)

    def still(number: int) -> bool:
        frames = presentation.grid.frames_of(number)
        inside = window.start <= frames.start and frames.stop <= window.stop
        # a short last segment has not the bytes for a background of its own
        whole = inside and len(frames) == presentation.grid.frames_per_segment
        return whole and len(slots_in(presentation, range(number, number + 1))) == 1

    able = slot.compose == "still" and all(fits(r) for r in renditions)
    for key, run in groupby(numbers, lambda number: able and still(number)):
        found = list(run)
        yield range(found[0], found[-1] + 1), key


def track_of(folder: Path, presentation: Presentation, slot: Slot, speaker: Speaker) -> MouthTrack:
    """Return the slot's mouth track: the one baked beside it, or a new one where that is missing or of another engine.

    Raises SpeechUnreadable if the narration is missing, too.
    """
    rate, window = presentation.grid.rate, presentation.grid.frames_within(slot.start_s, slot.duration_s)
    try:
        track = MouthTrack.load(folder / slot.track)
        if track.engine == speaker.track and track.rate == rate and len(track.states) >= len(window):
            return track
    except (OSError, ValueError):
        pass
    samples, sha256 = read_narration(folder / slot.narration)
    states = speaker.analyse(samples, rate, len(window), slot.start_s * rate - window.start)
    return MouthTrack(rate, states, sha256, speaker.track)


def into_slot(face: Face, take: Take, slot: Slot, frame: Frame, speaker: Speaker) -> Compositor:
    mask = _mask(take.folder / slot.mask) if slot.mask else None
    width, height = frame.shape[1], frame.shape[0] * 2 // 3
    return Compositor.into_slot(
        face, slot.face, width, height, mask, grain=slot.grain, stamp=take.stamp, mouth=speaker.mouth
    )


def _mask(path: Path) -> NDArray[np.uint8]:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise RenderFailed(f"the mask {path.name!r} cannot be read")
    return np.asarray(mask, np.uint8)
