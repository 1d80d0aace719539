"""A long master in pieces: they lie on the grid, survive interruption, and joined they are the film."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder import encoding, stages
from encoder.boxes import decode_time
from encoder.chunk import Chunk, Growth, check_chunk, chunks_of, fragments, moved
from encoder.encoding import Progress, Tally
from encoder.errors import BadBoxes, MasterTruncated, ToolCancelled, VerificationFailed
from encoder.guard import Care
from encoder.model import Choices, Grid, Presentation
from encoder.tools import Tools, run_tool
from tests.encoder.conftest import Published
from tests.masters import make_master, structure, with_slot

# Without the samples of a ladder that is chosen for the film.
FIXED = Choices(ladder="film")
RATES = st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50)])


@given(rate=RATES, frames=st.integers(1, 2_000_000), chunk_s=st.fractions(1, 300))
def test_chunks_cover_the_film_without_gap_and_begin_on_the_grid(rate: Fraction, frames: int, chunk_s: Fraction):
    grid = Grid.near(rate, frames)
    chunks = chunks_of(grid, chunk_s)
    assert [n for chunk in chunks for n in chunk.segments] == list(range(grid.segments))
    assert chunks[0].frames.start == 0
    assert chunks[-1].frames.stop == frames
    assert all(a.frames.stop == b.frames.start for a, b in pairwise(chunks))
    assert all(chunk.frames and chunk.frames.start % grid.frames_per_segment == 0 for chunk in chunks)


def test_a_film_of_two_minutes_stays_whole_and_an_hour_is_sixty_pieces():
    assert len(chunks_of(Grid(Fraction(25), 50, 25 * 120))) == 1
    assert len(chunks_of(Grid(Fraction(25), 50, 25 * 3600))) == 60


@pytest.fixture(scope="module", params=["25", "30000/1001"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Path:
    """Groups of pictures of 100 frames, so that no chunk begins at a key picture of the master."""
    codec = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-g", "100")
    folder = tmp_path_factory.mktemp("film")
    master = make_master(folder / "part2.mov", rate=request.param, frames=430, codec=codec, tools=tools)
    with_slot(master, start=8.2, duration=3)
    return master


def made(master: Path, media: Path, tools: Tools, chunk_s: int) -> tuple[stages.Plan, Path]:
    """Take a film through all stages but publication."""
    plan = stages.plan(master, tools, chunk_s=Fraction(chunk_s), choices=FIXED)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    return plan, plan.folder(media)


def test_a_film_in_pieces_is_the_film_in_one_piece(film: Path, tmp_path: Path, tools: Tools):
    (_, whole), (plan, pieces) = made(film, tmp_path / "one", tools, 60), made(film, tmp_path / "many", tools, 4)
    assert len(plan.chunks) == 4
    assert structure(Presentation.load(pieces)) == structure(Presentation.load(whole))
    assert [rung.rendition for rung in plan.ladder.rungs] == ["video_180p_h264", "video_180p_av1", "trick_180p_h264"]
    for rung in plan.ladder.rungs:
        parts = [plan.work(tmp_path / "many") / chunk.folder / rung.file for chunk in plan.chunks]
        joined = pictures(pieces / rung.file, tools)
        assert joined == [picture for part in parts for picture in pictures(part, tools)]
        assert len(joined) == plan.ladder.grid.thinned(rung.every).frames
    names = [rung.file for rung in plan.ladder.rungs]
    for name in (*names, "slot_you.mezzanine.mp4"):
        psnr = differences(whole / name, pieces / name, tools)
        assert min(psnr) > 30, f"{name}: frame {psnr.index(min(psnr))} shows something else"


def pictures(file: Path, tools: Tools) -> list[bytes]:
    """The hash of every picture that is decoded from a file; an error in it ends the test."""
    strict = ("-xerror", "-err_detect", "explode", "-i", str(file), "-fps_mode", "passthrough")
    said = run_tool([str(tools.ffmpeg), "-v", "error", *strict, "-f", "framemd5", "-"])
    return [line.rpartition(b",")[2].strip() for line in said.splitlines() if not line.startswith(b"#")]


def differences(one: Path, other: Path, tools: Tools) -> list[float]:
    """PSNR of every frame, in dB; neighbours of the test picture are below 25."""
    graph = "[0:v][1:v]psnr=stats_file=-"
    said = run_tool(
        [str(tools.ffmpeg), "-v", "error", "-i", str(one), "-i", str(other), "-lavfi", graph, "-f", "null", "-"]
    )
    values = [word[9:] for line in said.decode().splitlines() for word in line.split() if word.startswith("psnr_avg:")]
    assert values
    return [100.0 if value == "inf" else float(value) for value in values]


def test_only_missing_chunks_are_encoded_after_an_interruption(
    film: Path, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
):
    plan, media = stages.plan(film, tools, chunk_s=Fraction(4), choices=FIXED), tmp_path / "media"
    with pytest.raises(ToolCancelled):
        stages.encode(plan, media, tools, care=Care(cancelled=(plan.work(media) / plan.chunks[1].folder).exists))
    kept = {path.name: path.stat().st_mtime_ns for path in plan.work(media).iterdir() if path.suffix != ".part"}
    assert list(kept) >= [chunk.folder for chunk in plan.chunks[:2]]
    ran: list[range] = []
    command = encoding.chunk_command
    monkeypatch.setattr(encoding, "chunk_command", lambda *words, **how: ran.append(words[2]) or command(*words, **how))
    stages.encode(plan, media, tools)
    assert ran == [chunk.frames for chunk in plan.chunks if chunk.folder not in kept]
    assert {name: (plan.work(media) / name).stat().st_mtime_ns for name in kept} == kept


def test_a_container_that_cannot_be_entered_in_the_middle_is_read_from_its_beginning(
    film: Path, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
):
    plan, media = stages.plan(film, tools, chunk_s=Fraction(4), choices=FIXED), tmp_path / "media"
    command = encoding.chunk_command

    def lost(master, ladder, frames, work, tools, *, seek):  # type: ignore[no-untyped-def]
        return command(master, ladder, range(frames.start, frames.stop - seek), work, tools, seek=seek)

    monkeypatch.setattr(encoding, "chunk_command", lost)
    stages.encode_chunk(plan, plan.chunks[1], media, tools)
    assert (plan.work(media) / plan.chunks[1].folder).is_dir()


def test_a_film_that_ends_inside_a_chunk_says_how_many_pictures_it_has(tmp_path: Path, tools: Tools):
    master = make_master(tmp_path / "part2.mov", frames=300, tools=tools)
    plan = stages.plan(master, tools, chunk_s=Fraction(4), choices=FIXED)
    make_master(master, frames=250, tools=tools)
    stages.encode_chunk(plan, plan.chunks[0], tmp_path / "media", tools)
    with pytest.raises(MasterTruncated, match="of 300 pictures"):
        stages.encode_chunk(plan, plan.chunks[-1], tmp_path / "media", tools)


def test_a_chunk_that_is_cut_off_is_not_taken(film: Path, tmp_path: Path, tools: Tools):
    plan, media = stages.plan(film, tools, chunk_s=Fraction(4), choices=FIXED), tmp_path / "media"
    chunk = plan.chunks[0]
    stages.encode_chunk(plan, chunk, media, tools)
    file = plan.work(media) / chunk.folder / "video_180p_h264.mp4"
    check_chunk(file, chunk, plan.ladder.grid)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(BadBoxes, match="cut off"):
        check_chunk(file, chunk, plan.ladder.grid)
    other = Chunk(0, range(3), range(150))
    file.write_bytes(data)
    with pytest.raises(VerificationFailed):
        check_chunk(file, other, plan.ladder.grid)


def test_a_fragment_keeps_its_pictures_when_it_moves(film: Path, tmp_path: Path, tools: Tools):
    plan, media = stages.plan(film, tools, chunk_s=Fraction(4), choices=FIXED), tmp_path / "media"
    stages.encode_chunk(plan, plan.chunks[1], media, tools)
    with (plan.work(media) / plan.chunks[1].folder / "video_180p_h264.mp4").open("rb") as file:
        first, second = list(fragments(file))[:2]
    later = moved(second, 9, Fraction(1000))
    assert decode_time(later) == decode_time(second) + 1000 > decode_time(first)
    assert len(later) == len(second)
    with pytest.raises(BadBoxes, match="tick"):
        moved(second, 9, Fraction(1, 2))


def test_the_pictures_of_a_file_are_counted_while_it_grows(published: Published, tmp_path: Path):
    plan = published.plan
    whole = (published.folder / "video_180p_h264.mp4").read_bytes()
    file = tmp_path / "growing.mp4"
    growth = Growth(file, plan.chunks[0], plan.ladder.grid)
    assert growth.frames() == 0
    counts = []
    for end in range(0, len(whole) + 999, 1000):
        file.write_bytes(whole[:end])
        counts.append(growth.frames())
    assert sorted(set(counts)) == [0, 60, 110]
    assert counts[-1] == 110


def test_progress_of_pieces_is_added_up():
    said: list[Progress] = []
    grid = Grid(Fraction(25), 50, 300)
    first, second, third = chunks_of(grid, Fraction(4))
    tally = Tally(300, ["a", "b"], said.append)
    tally.done(first)
    tally.of(second)(Progress(50, 100, 20.0, (("a", 40), ("b", 30))))
    tally.of(third)(Progress(10, 100, 5.0))
    assert [(p.frames, p.fps) for p in said] == [(100, 0), (150, 20), (160, 25)]
    assert said[-1].rungs == (("a", 140), ("b", 130))
    tally.done(second)
    tally.done(third)
    assert (said[-1].percent, said[-1].fps) == (100, 5)
