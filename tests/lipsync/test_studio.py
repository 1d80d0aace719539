"""The whole way from a photo and a speech to a file and to an insert."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from encoder.boxes import read_samples
from encoder.errors import ToolCancelled
from encoder.model import Picture, Placement, Presentation, Rendition
from encoder.tools import run_tool
from lipsync import Studio
from lipsync.compose import rectangle_of, views_of
from lipsync.errors import CannotWrite, NotAPicture, NotASize, PhotoRefused, RenderFailed, SpeechUnreadable
from lipsync.face import Face
from lipsync.markreader import read_mark
from lipsync.narration import bake
from lipsync.protocols import Fragment, Signing, Take
from lipsync.speaker import DrawnSpeaker
from lipsync.splice import mezzanine_frames
from lipsync.window import track_of, working_size
from tests.lipsync.conftest import DEMO, room, spoken, vowel, write_wav
from tests.lipsync.scenery import changed


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    return Studio(Signing(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="module")
def face(studio) -> Face:
    return studio.examine((DEMO / "man.jpg").read_bytes())


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """1 s of silence, 1 s of `a`, 1 s of silence."""
    path = tmp_path_factory.mktemp("speech") / "it's a speech.wav"
    return write_wav(path, spoken(room(1), vowel("a", 1), room(1)))


@pytest.fixture(scope="module")
def film(studio, speech, tools, tmp_path_factory) -> tuple[Path, list[np.ndarray], list[tuple[int, int]]]:
    """A flat file of 360 lines, its pictures (BGR), and what was told of its progress."""
    out = tmp_path_factory.mktemp("film") / "out.mp4"
    told: list[tuple[int, int]] = []
    photo, tell = DEMO / "man.jpg", lambda done, pictures: told.append((done, pictures))
    studio.render_file(photo, speech, out, size="360p", life=False, on_progress=tell)
    command = [str(tools.ffmpeg), "-v", "error", "-i", str(out), "-f", "rawvideo", "-pix_fmt", "bgr24", "pipe:1"]
    pictures = np.frombuffer(run_tool(command), np.uint8).reshape(-1, 360, 360, 3)
    return out, list(pictures), told


def whole(chapter: Path) -> Take:
    """The slot of the small chapter, every segment for every rung."""
    presentation = Presentation.load(chapter)
    slot = presentation.slots[0]
    return Take(chapter, slot.id, tuple(r.id for r in presentation.videos), presentation.carried_by(slot), 0xC0FFEE)


def mouth_of(picture: np.ndarray) -> np.ndarray:
    """Where the demo man's mouth and chin are in his photo."""
    height, width = picture.shape[:2]
    return picture[round(0.70 * height) : round(0.85 * height), round(0.40 * width) : round(0.62 * width)].astype(int)


def test_a_file_has_the_length_of_its_speech_and_both_tracks(film, tools):
    out, pictures, _ = film
    assert len(pictures) == 75
    probe = ["-v", "error", "-show_entries", "stream=codec_name,color_space,pix_fmt", "-of", "csv", str(out)]
    said = run_tool([str(tools.ffprobe), *probe]).decode()
    assert "h264,yuv420p,bt709" in said
    assert "aac" in said


def test_the_mouth_of_a_file_moves_with_the_voice_and_rests_without_it(film):
    pictures = film[1]
    rest = mouth_of(pictures[5])
    moved = np.array([abs(mouth_of(picture) - rest).mean() for picture in pictures])
    assert moved[30:48].min() > 8
    assert moved[:18].max() < 4
    assert moved[64:].max() < 4


def test_a_file_shows_the_whole_photo_with_the_label(film):
    photo = cv2.resize(cv2.imread(str(DEMO / "man.jpg")), (360, 360), interpolation=cv2.INTER_AREA)
    first = film[1][0]
    assert abs(first[60:].astype(int) - photo[60:]).mean() < 8
    badge = first[:40, 300:]
    assert (badge.min(axis=2) > 205).sum() > 30
    assert (badge.max(axis=2) < 90).sum() > 60


def test_progress_counts_every_picture(film):
    assert film[2] == [(done, 75) for done in range(1, 76)]


def test_the_same_face_and_speech_give_the_same_pictures(studio, speech, film, tools, tmp_path):
    studio.render_file(DEMO / "man.jpg", speech, tmp_path / "again.mp4", size="360p", life=False)
    first, again = (
        run_tool([str(tools.ffmpeg), "-v", "error", "-i", str(file), "-map", "0:v", "-f", "md5", "-"])
        for file in (film[0], tmp_path / "again.mp4")
    )
    assert first == again


def test_a_file_is_never_laid_over_what_it_is_made_from(studio, speech):
    before = speech.read_bytes()
    with pytest.raises(CannotWrite, match="made from"):
        studio.render_file(DEMO / "man.jpg", speech, speech)
    assert speech.read_bytes() == before


def test_a_file_that_cannot_be_made_says_why_and_leaves_nothing(studio, speech, tmp_path):
    with pytest.raises(NotAPicture, match="missing"):
        studio.render_file(tmp_path / "missing.jpg", speech, tmp_path / "out.mp4")
    with pytest.raises(NotAPicture, match="neither a picture nor a video"):
        studio.render_file(speech, speech, tmp_path / "out.mp4")
    with pytest.raises(NotASize, match="'huge'"):
        studio.render_file(DEMO / "man.jpg", speech, tmp_path / "out.mp4", size="huge")
    assert list(tmp_path.iterdir()) == []


def test_a_speech_or_a_folder_that_is_not_there_is_told(studio, speech, tmp_path):
    with pytest.raises(SpeechUnreadable):
        studio.render_file(DEMO / "man.jpg", tmp_path / "none.wav", tmp_path / "out.mp4")
    with pytest.raises(CannotWrite, match="no folder"):
        studio.render_file(DEMO / "man.jpg", speech, tmp_path / "none" / "out.mp4")


def test_an_old_file_stays_until_the_new_one_is_whole(studio, speech, tmp_path, monkeypatch):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    monkeypatch.setattr("lipsync.studio.file_command", lambda tools, *_: (str(tools.ffmpeg), "-nonsense"))
    with pytest.raises(RenderFailed):
        studio.render_file(DEMO / "man.jpg", speech, out, size="144p")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_what_a_killed_process_left_is_cleared_away_and_a_living_ones_is_not(studio, speech, tmp_path, monkeypatch):
    dead, living, others = (tmp_path / f".{name}.part" for name in ("out.mp4.999999999", "out.mp4.1", "out.mp4.old"))
    for part in (dead, living, others):
        part.write_bytes(b"half")
    monkeypatch.setattr("lipsync.studio.file_command", lambda tools, *_: (str(tools.ffmpeg), "-nonsense"))
    with pytest.raises(RenderFailed):
        studio.render_file(DEMO / "man.jpg", speech, tmp_path / "out.mp4", size="144p")
    assert set(tmp_path.iterdir()) == {living, others}


def test_a_photo_is_examined_before_anything_else(studio):
    with pytest.raises(PhotoRefused):
        studio.examine(bytes(cv2.imencode(".png", np.full((1, 1, 3), 9, np.uint8))[1].tobytes()))


def test_an_insert_changes_only_the_slot_in_time_and_in_the_picture(studio, face, chapter, tools):
    presentation = Presentation.load(chapter)
    slot = presentation.slots[0]
    numbers = presentation.segments_of(slot)
    own = list(mezzanine_frames(chapter, presentation, slot, tools, segments=numbers, size=(640, 360)))
    mine = list(studio.insert_frames(face, whole(chapter), presentation, slot, numbers=numbers, size=(640, 360)))
    assert len(mine) == len(own) == 100
    box = rectangle_of(slot.face, 640, 360)
    half = (slice(box.y // 2, (box.y + box.h) // 2), slice(box.x // 2, (box.x + box.w) // 2))
    for number, (before, after) in enumerate(zip(own, mine, strict=True), 50):
        if not 62 <= number < 113:
            assert np.array_equal(before, after)
            continue
        assert abs(after[box.rows, box.columns].astype(int) - before[box.rows, box.columns]).mean() > 5
        for plane, where in zip(views_of(after), ((box.rows, box.columns), half, half), strict=True):
            plane[where] = 0
        for plane, where in zip(views_of(before), ((box.rows, box.columns), half, half), strict=True):
            plane[where] = 0
        # The invisible mark lies over the whole picture, a level or two high, and in luma alone.
        assert abs(after[:360].astype(int) - before[:360]).max() <= 4
        assert np.array_equal(before[360:], after[360:])


def test_a_piece_that_begins_inside_the_slot_looks_as_if_all_had_been_made_at_once(studio, face, chapter):
    """Whoever jumps into the slot is served first from there: light, grain and mark must not change at the seam."""
    presentation = Presentation.load(chapter)
    slot = replace(presentation.slots[0], grain=2.0)
    presentation, numbers = replace(presentation, slots=(slot,)), presentation.segments_of(slot)
    later = range(numbers.start + 1, numbers.stop)
    made = [
        list(studio.insert_frames(face, whole(chapter), presentation, slot, numbers=part, size=(640, 360)))
        for part in (numbers, later)
    ]
    at_once, piece = made[0][len(presentation.grid.frames_of(numbers.start)) :], made[1]
    assert len(piece) == len(at_once) == 50
    assert all(np.array_equal(one, other) for one, other in zip(at_once, piece, strict=True))


def test_every_rung_shows_the_same_picture(studio, face, chapter):
    presentation = Presentation.load(chapter)
    slot = presentation.slots[0]
    numbers = range(presentation.segments_of(slot).start, presentation.segments_of(slot).start + 1)
    small, large = (
        list(studio.insert_frames(face, whole(chapter), presentation, slot, numbers=numbers, size=size))
        for size in ((640, 360), (1280, 720))
    )
    for one, other in zip(small[12:], large[12:], strict=True):
        shrunk = cv2.resize(other[:720], (640, 360), interpolation=cv2.INTER_AREA)
        apart = cv2.absdiff(cv2.GaussianBlur(one[:360], (0, 0), 2), cv2.GaussianBlur(shrunk, (0, 0), 2))
        assert apart.mean() < 1
        assert np.percentile(apart, 99) < 12


def test_the_mouth_of_an_insert_moves_with_the_narration(studio, face, chapter):
    """The voice says `a` in the first second of the slot and is silent in the second one."""
    presentation = Presentation.load(chapter)
    slot = presentation.slots[0]
    numbers = presentation.segments_of(slot)
    frames = list(studio.insert_frames(face, whole(chapter), presentation, slot, numbers=numbers, size=(640, 360)))
    box = rectangle_of(slot.face, 640, 360)
    mouths = [f[box.y + box.h * 6 // 10 : box.y + box.h * 9 // 10, box.columns].astype(int) for f in frames]
    rest = mouths[110 - 50]
    speaking = [abs(mouths[n - 50] - rest).mean() for n in range(68, 84)]
    silent = [abs(mouths[n - 50] - rest).mean() for n in range(102, 112)]
    assert min(speaking) > 3 * max(*silent, 0.3)


def test_an_insert_has_every_segment_of_every_rung(studio, face, chapter):
    presentation = Presentation.load(chapter)
    fragments = list(studio.render_insert(face, whole(chapter)))
    wanted = {(r.id, n) for r in presentation.videos for n in presentation.segments_of(presentation.slots[0])}
    assert {(f.rendition, f.number) for f in fragments} == wanted
    assert all(len(read_samples(f.data)) == len(presentation.grid.frames_of(f.number)) for f in fragments)


def test_what_is_not_asked_for_is_not_made(studio, face, chapter):
    take = whole(chapter)
    (only,) = studio.render_insert(face, replace(take, renditions=take.renditions[-1:], segments=range(2, 3)))
    assert (only.rendition, only.number) == (take.renditions[-1], 2)
    for nothing in (replace(take, renditions=("video_9p_h264",)), replace(take, segments=range(7, 9))):
        with pytest.raises(RenderFailed, match="nothing of the slot"):
            list(studio.render_insert(face, nothing))


@pytest.fixture(scope="module")
def still_chapter(chapter, tmp_path_factory) -> Path:
    """The small chapter as if its slot stood still and filled segments 1 and 2."""
    folder = tmp_path_factory.mktemp("still")
    for file in chapter.iterdir():
        (folder / file.name).symlink_to(file)
    presentation = Presentation.load(chapter)
    slot = replace(presentation.slots[0], start_s=Fraction(2), duration_s=Fraction(4), compose="still")
    (folder / "presentation.json").unlink()
    (folder / "presentation.json").write_text(replace(presentation, slots=(slot,)).to_json())
    return folder


def played(folder: Path, rung: Rendition, fragments: list[Fragment], tools, out: Path) -> np.ndarray:
    """What FFmpeg shows of the fragments of one rendition, strictly: I420."""
    assert rung.picture
    init = (folder / rung.file).read_bytes()[: rung.init_size]
    out.write_bytes(init + b"".join(f.data for f in fragments if f.rendition == rung.id))
    strict = ["-v", "error", "-xerror", "-err_detect", "explode", "-i", str(out)]
    raw = run_tool([str(tools.ffmpeg), *strict, "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"])
    return np.frombuffer(raw, np.uint8).reshape(-1, rung.picture.height * 3 // 2, rung.picture.width)


def test_in_a_still_slot_nothing_changes_but_the_box_round_the_mouth(studio, face, still_chapter, tools, tmp_path):
    presentation = Presentation.load(still_chapter)
    fragments = list(studio.render_insert(face, whole(still_chapter)))
    assert {(f.rendition, f.number) for f in fragments} == {(r.id, n) for r in presentation.videos for n in (1, 2)}
    for rung in presentation.videos:
        shown = played(still_chapter, rung, fragments, tools, tmp_path / "still.mp4")
        assert len(shown) == 100
        changed = (shown != shown[0]).any(axis=0)[: rung.picture.height]
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = rectangle_of(presentation.slots[0].face, rung.picture.width, rung.picture.height)
        assert 0.1 < changed.mean() < 0.6
        assert box.y < (rows[0] + rows[-1]) / 2 < box.y + box.h
        assert box.x < (columns[0] + columns[-1]) / 2 < box.x + box.w
        assert all(len(f.data) * 8 <= 2 * rung.bandwidth_bps for f in fragments if f.rendition == rung.id)


def test_a_still_slot_shows_what_a_moving_one_would(studio, face, still_chapter, tools, tmp_path):
    """The first picture: photo, place, light and label are the same, whichever way it is encoded."""
    presentation = Presentation.load(still_chapter)
    slot, rung = presentation.slots[0], presentation.videos[0]
    take = replace(whole(still_chapter), renditions=(rung.id,))
    shown = played(still_chapter, rung, list(studio.render_insert(face, take)), tools, tmp_path / "still.mp4")
    moving = studio.insert_frames(face, take, presentation, slot, numbers=range(1, 3), size=(640, 360))
    first = next(moving)
    moving.close()
    assert abs(shown[0].astype(int) - first).mean() < 2.5
    assert abs(shown[0].astype(int) - first).max() < 90


COPIES = {"240p": "scale=426:240", "cropped": "crop=iw*.8:ih*.8,scale=640:360", "at another rate": "fps=30"}


def test_the_mark_of_a_still_slot_survives_copies(studio, face, still_chapter, tools, tmp_path):
    """It lies in the box alone: what another encoder does to the picture round it must not drown it."""
    rung = Presentation.load(still_chapter).videos[0]
    film, copy = tmp_path / "still.mp4", tmp_path / "copy.mp4"
    played(still_chapter, rung, list(studio.render_insert(face, whole(still_chapter))), tools, film)
    for kind, filters in COPIES.items():
        changed(film, ("-vf", filters, "-c:v", "libx264", "-preset", "veryfast", "-crf", "28"), copy, tools)
        found = read_mark(copy, tools)
        assert found is not None, kind
        assert found.render_id == 0xC0FFEE, kind


def test_every_picture_with_the_face_carries_the_number_of_its_render(studio, face, chapter, tools, tmp_path):
    take = whole(chapter)
    fragments = [f for f in studio.render_insert(face, take) if f.rendition == take.renditions[0]]
    film = tmp_path / "insert.mp4"
    init = (chapter / f"{take.renditions[0]}.mp4").read_bytes()[: Presentation.load(chapter).videos[0].init_size]
    film.write_bytes(init + b"".join(f.data for f in fragments))
    found = studio.inspect(film)
    assert found["mark"]["render_id"] == "00c0ffee"
    assert found["made_from_a_face"] is True
    assert found["credentials"] is None


def test_a_finished_slot_is_signed_and_its_fragments_are_those_that_were_streamed(studio, face, chapter, tmp_path):
    take = whole(chapter)
    fragments = [f.data for f in studio.render_insert(face, take) if f.rendition == take.renditions[0]]
    init = (chapter / f"{take.renditions[0]}.mp4").read_bytes()[: Presentation.load(chapter).videos[0].init_size]
    signed = studio.sign(init + b"".join(fragments), "Part two", take.render_id)
    assert signed.endswith(b"".join(fragments))
    assert signed.index(b"moof") > len(init)
    film = tmp_path / "signed.mp4"
    film.write_bytes(signed)
    said = studio.inspect(film)["credentials"]
    assert (said["intact"], said["trusted"], said["render_id"]) == (True, True, "00c0ffee")
    assert any("ompositeWithTrained" in source for source in said["sources"])


def test_a_file_of_the_command_line_carries_all_three_layers(film, studio):
    found = studio.inspect(film[0])
    assert found["credentials"]["intact"] is True
    assert found["credentials"]["render_id"] is not None


def in_two_slots(chapter: Path, folder: Path) -> Presentation:
    """The chapter with a second slot that begins in the first one's last segment, on the other side."""
    presentation = Presentation.load(chapter)
    left = replace(presentation.slots[0], face=Placement(0.02, 0.1, 0.45, 0.8), duration_s=Fraction(2))
    right = replace(left, id="two", start_s=Fraction(5), duration_s=Fraction(1), face=Placement(0.53, 0.1, 0.45, 0.8))
    for file in chapter.iterdir():
        (folder / file.name).symlink_to(file)
        if "slot_you" in file.name:
            (folder / file.name.replace("slot_you", "slot_two")).symlink_to(file)
    return replace(presentation, slots=(right, left))


def test_a_shared_segment_shows_the_faces_of_all_its_slots(studio, face, chapter, tmp_path, tools):
    presentation = in_two_slots(chapter, tmp_path)
    left, right = presentation.slots_in_order
    numbers = presentation.carried_by(left)
    assert (numbers, presentation.carried_by(right)) == (range(1, 3), range(3, 3))
    own = list(mezzanine_frames(tmp_path, presentation, left, tools, segments=numbers, size=(640, 360)))
    mine = list(
        studio.insert_frames(
            face, replace(whole(chapter), folder=tmp_path), presentation, left, numbers=numbers, size=(640, 360)
        )
    )

    def changed(number: int) -> tuple[bool, bool]:
        differs = abs(mine[number - 50][:360].astype(int) - own[number - 50][:360]) > 20
        return bool(differs[:, :320].mean() > 0.1), bool(differs[:, 320:].mean() > 0.1)

    assert [changed(n) for n in (55, 70, 115, 130)] == [(False, False), (True, False), (False, False), (False, True)]


def test_a_rung_is_composed_at_its_own_size_or_the_next_in_which_a_face_has_room(chapter):
    presentation = Presentation.load(chapter)
    sizes = [Picture(width, width * 9 // 16, Fraction(25)) for width in (1920, 1280, 768)]
    videos = tuple(replace(presentation.videos[0], file=f"v{n}.mp4", picture=size) for n, size in enumerate(sizes))

    def size_for(asked: list[int], width: float) -> tuple[int, int]:
        slot = replace(presentation.slots[0], face=Placement(0.1, 0.1, width, 0.8))
        narrow = replace(presentation, renditions=videos, slots=(slot,))
        return working_size(narrow, range(1, 2), [videos[n] for n in asked])

    assert [size_for([n], 0.3)[1] for n in range(3)] == [1080, 720, 432]
    assert size_for([1, 2], 0.3) == (1280, 720)
    assert size_for([2], 0.06) == (1280, 720)
    assert size_for([1, 2], 0.0495) == (1920, 1080)
    with pytest.raises(RenderFailed, match="rectangle"):
        size_for([2], 0.02)


def test_a_cancelled_insert_ends_at_once(studio, face, chapter):
    asked = iter(range(1000))
    with pytest.raises(ToolCancelled):
        list(studio.render_insert(face, whole(chapter), cancelled=lambda: next(asked) > 5))
    assert next(asked) < 12


def test_an_unknown_slot_or_folder_is_told(studio, face, chapter, tmp_path):
    with pytest.raises(RenderFailed, match="no slot 'nobody'"):
        list(studio.render_insert(face, replace(whole(chapter), slot="nobody")))
    with pytest.raises(RenderFailed):
        list(studio.render_insert(face, replace(whole(chapter), folder=tmp_path)))


def test_a_baked_track_is_used_and_one_of_another_engine_is_not(chapter, tmp_path):
    presentation = Presentation.load(chapter)
    slot = presentation.slots[0]
    (tmp_path / slot.narration).write_bytes((chapter / slot.narration).read_bytes())
    fresh = track_of(tmp_path, presentation, slot, DrawnSpeaker())
    assert len(fresh.states) == 51
    baked = bake(tmp_path / slot.narration, Fraction(25), 60)
    baked.save(tmp_path / slot.track)
    assert len(track_of(tmp_path, presentation, slot, DrawnSpeaker()).states) == 60
    type(baked)(baked.rate, baked.states, baked.audio_sha256, "older").save(tmp_path / slot.track)
    assert len(track_of(tmp_path, presentation, slot, DrawnSpeaker()).states) == 51


def test_the_package_is_imported_without_picture_code():
    check = "import sys, lipsync, lipsync.protocols, lipsync.errors; print({'cv2', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "set()\n"
