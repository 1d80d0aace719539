"""The label that everything carries."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.label import INK, Label


@pytest.mark.parametrize("lines", [1080, 720, 432, 360])
@pytest.mark.parametrize("ground", [16, 128, 235])
def test_the_letters_stand_out_on_any_ground(lines, ground):
    frame = np.full((lines * 3 // 2, 640), ground, np.uint8)
    label = Label.for_height(lines)
    label.stamp(frame, 10, 20)
    height, width = label.cover.shape
    area = frame[20 : 20 + height, 10 : 10 + width]
    assert area.max() >= INK - 4
    assert np.percentile(area, 20) < INK - 100
    assert 0.06 < (area > INK - 40).mean() < 0.5


@pytest.mark.parametrize("lines", [1080, 432])
def test_the_letters_have_at_least_14_pixels_on_the_smallest_rung(lines):
    """A rung of 432 lines shows a chapter of 1080 lines scaled by 0.4."""
    label = Label.for_height(lines)
    rows = np.flatnonzero((label.luma > INK - 40).any(axis=1))
    assert np.ptp(rows) + 1 >= 14 * lines / 432


def test_it_reads_a_and_i():
    """Two strokes at the foot of the A, one at its top, and the I beside them."""
    ink = Label.for_height(1080).luma > 130
    rows = np.flatnonzero(ink.any(axis=1))

    def strokes(row: int) -> int:
        return int((np.diff(ink[row].astype(int)) == 1).sum())

    assert strokes(rows[1]) == 2
    assert strokes(rows[-2]) == 3


def test_nothing_outside_it_is_touched_and_its_chroma_is_neutral():
    frame = np.full((540, 480), 90, np.uint8)
    label = Label.for_height(360)
    label.stamp(frame, 100, 40)
    height, width = label.cover.shape
    outside = frame.copy()
    outside[40 : 40 + height, 100 : 100 + width] = 90
    blue = frame[360:].reshape(2, 180, 240)[0]
    assert blue[20 + height // 4, 50 + width // 4] > 110
    outside[360:].reshape(2, 180, 240)[:, 20 : 20 + height // 2, 50 : 50 + width // 2] = 90
    assert (outside == 90).all()


@pytest.mark.parametrize("text", ["KI", "IA", "AI generated"])
def test_other_words_are_written_as_high_and_as_clear(text):
    label, plain = Label.for_height(720, text), Label.for_height(720)
    assert label.cover.shape[0] == plain.cover.shape[0]
    rows, own = (np.flatnonzero((drawn.luma > INK - 40).any(axis=1)) for drawn in (label, plain))
    assert abs(rows[0] - own[0]) <= 1
    assert abs(rows[-1] - own[-1]) <= (9 if "g" in text else 1)
    assert 0.06 < (label.luma > INK - 60).mean() < 0.5
    columns = np.flatnonzero((label.luma > INK - 40).any(axis=0))
    assert columns.min() > 3
    assert columns.max() < label.luma.shape[1] - 4
