"""What a master says of the screen that it was made on, in the words of both encoders."""

from __future__ import annotations

from fractions import Fraction

from encoder.screen import screen_of, svt_words, x265_words

TOLD = [
    {"side_data_type": "H.26[45] User Data Unregistered SEI message"},
    {
        "side_data_type": "Mastering display metadata",
        "red_x": "34000/50000",
        "red_y": "16000/50000",
        "green_x": "13250/50000",
        "green_y": "34500/50000",
        "blue_x": "7500/50000",
        "blue_y": "3000/50000",
        "white_point_x": "15635/50000",
        "white_point_y": "16450/50000",
        "min_luminance": "50/10000",
        "max_luminance": "10000000/10000",
    },
    {"side_data_type": "Content light level metadata", "max_content": 1000, "max_average": 400},
]


def test_primaries_white_luminance_and_light_are_kept_exactly():
    screen = screen_of(TOLD)
    assert screen is not None
    assert screen.points[0] == (Fraction("0.265"), Fraction("0.69"))
    assert (screen.nits, screen.content) == ((1000, Fraction("0.005")), (1000, 400))
    assert x265_words(screen) == (
        ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
    )
    assert svt_words(screen) == (
        ":mastering-display=G(0.26500,0.69000)B(0.15000,0.06000)R(0.68000,0.32000)WP(0.31270,0.32900)"
        "L(1000.0000,0.0050):content-light=1000,400"
    )


def test_a_master_that_says_little_of_its_screen_says_nothing():
    assert screen_of([]) is None
    assert screen_of([{"side_data_type": "Mastering display metadata", "max_luminance": "1000/1"}]) is None


def test_light_alone_may_be_missing():
    screen = screen_of(TOLD[:2])
    assert screen is not None
    assert "content-light" not in svt_words(screen)
    assert "max-cll" not in x265_words(screen)
