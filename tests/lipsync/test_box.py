"""Parts of pictures."""

from __future__ import annotations

from lipsync.box import Box


def test_two_boxes_are_joined_to_the_smallest_that_has_both_and_have_a_common_part():
    assert Box(2, 3, 4, 5).with_(Box(0, 6, 3, 10)) == Box(0, 3, 6, 13)
    assert Box(2, 3, 4, 5).common(Box(0, 6, 3, 10)) == Box(2, 6, 1, 2)
    assert Box(0, 0, 9, 9).with_(Box(1, 1, 2, 2)) == Box(0, 0, 9, 9)
