"""An ffmpeg that cannot do everything: what is made all the same, and what the editor is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encoder import stages
from encoder.capabilities import probe_capabilities
from encoder.errors import ToolLacks
from encoder.ladder import ladder_for
from encoder.model import Choices
from encoder.tools import Tools
from tests.masters import make_master, publish
from tests.oddmasters import X264, drawn

Poor = Callable[..., Tools]


@pytest.fixture
def poor(tools: Tools, tmp_path: Path) -> Poor:
    """Put an ffmpeg in front of the real one that lacks some words, in its lists and when it is asked for them."""

    def lacking(*words: str) -> Tools:
        script = tmp_path / "ffmpeg"
        asked, listed = "|".join(f"*{word}*" for word in words), "|".join(words)
        script.write_text(
            f"""#!/bin/sh
case "$*" in
  *-encoders|*-decoders|*-filters) {tools.ffmpeg} "$@" | grep -vE '{listed}'; exit;;
  {asked}) echo "Unknown: {listed}" >&2; exit 8;;
esac
exec {tools.ffmpeg} "$@"
"""
        )
        script.chmod(0o755)
        return replace(tools, ffmpeg=script)

    return lacking


@pytest.fixture(scope="module")
def film(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Just long enough for its qualities to be measured."""
    return make_master(tmp_path_factory.mktemp("raw") / "part2.mov", size="160x90", rate="5", frames=50, tools=tools)


def test_without_av1_and_vmaf_a_film_has_h264_of_measured_quality(poor: Poor, film: Path, tmp_path: Path):
    made = publish(film, tmp_path / "media", poor("libsvtav1", "libvmaf"))
    assert [r.id for r in made.presentation.renditions if r.picture] == ["video_90p_h264", "trick_90p_h264"]
    (note,) = made.presentation.notes
    assert note.startswith("This ffmpeg lacks svt_av1, libvmaf: AV1 is left out, qualities are chosen by XPSNR")
    assert "`mediaserver setup`" in note
    assert made.plan.ladder.rungs[0].crf != ladder_for(made.plan.master).rungs[0].crf


def test_without_any_measure_a_film_gets_the_usual_qualities(poor: Poor, film: Path, tools: Tools):
    plan = stages.plan(film, poor("libvmaf", "xpsnr"))
    assert [rung.crf for rung in plan.ladder.rungs[:2]] == [rung.crf for rung in ladder_for(plan.master).rungs]
    assert "qualities are the usual ones" in plan.master.notes[0]
    assert stages.plan(film, poor("libvmaf", "xpsnr"), choices=Choices("film")).master.notes == ()
    assert plan.version != stages.plan(film, tools).version


def test_what_is_not_asked_for_is_not_missed(poor: Poor, tools: Tools, film: Path):
    lacking = poor("libx265", "libsvtav1", "zscale")
    plan = stages.plan(film, lacking, choices=Choices(av1=False))
    assert plan.master.notes == ()
    assert plan.version == stages.plan(film, tools, choices=Choices(av1=False)).version
    assert {"x265", "svt_av1", "zscale"} <= set(probe_capabilities(lacking.ffmpeg).absent)


def test_hdr_without_the_filter_for_it_is_refused_in_words(poor: Poor, tools: Tools, tmp_path: Path):
    curve = ("-vf", "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc")
    master = drawn(tools, tmp_path / "hdr.mov", "testsrc2=s=160x90:r=25", "-frames:v", "2", *curve, *X264)
    with pytest.raises(ToolLacks, match=r"lacks zscale: without that no chapter can be made of 'hdr\.mov'") as caught:
        stages.plan(master, poor("zscale"))
    assert "mediaserver setup" in caught.value.hint
