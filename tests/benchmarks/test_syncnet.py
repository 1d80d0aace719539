"""SyncNet's shapes, features and scores, on random weights: no checkpoint is part of the project."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import syncnet
from benchmarks.syncnet import Score, SyncNet, WrongCheckpoint, cepstra, distances, embeddings, faces_in, load
from encoder.tools import Tools, run_tool
from lipsync.errors import LipsyncError
from lipsync.face import FaceFinder
from tests.lipsync.conftest import demo_photo, spoken, vowel, write_wav


@pytest.fixture(scope="module")
def net() -> SyncNet:
    torch.manual_seed(5)
    return SyncNet().eval()


@pytest.fixture(scope="module")
def checkpoint(net: SyncNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the published file is: a plain dictionary, older than torch's counting of batches."""
    path = tmp_path_factory.mktemp("weights") / "syncnet_v2.model"
    torch.save({key: value for key, value in net.state_dict().items() if "num_batches" not in key}, path)
    return path


@pytest.fixture(scope="module")
def video(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.6 s of a photo that moves to the right, 30 pictures a second, with 1.2 s of a voice."""
    folder = tmp_path_factory.mktemp("video")
    photo = cv2.resize(demo_photo("man"), (240, 240), interpolation=cv2.INTER_AREA)
    pictures = [cv2.warpAffine(photo, np.float64([[1, 0, n], [0, 1, 0]]), (320, 240)) for n in range(0, 36, 2)]
    (folder / "raw").write_bytes(b"".join(picture.tobytes() for picture in pictures))
    sound = write_wav(folder / "voice.wav", spoken(vowel("a", 0.6), vowel("i", 0.6)))
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "320x240", "-r", "30", "-i", str(folder / "raw")]
    run_tool([str(tools.ffmpeg), "-v", "error", *raw, "-i", str(sound), "-c:v", "libx264", str(folder / "film.mp4")])
    return folder / "film.mp4"


def test_the_layers_are_those_of_the_published_network(net):
    shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items() if key.endswith("weight")}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert shapes["netcnnaud.4.weight"] == (192, 64, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)
    convolutions = {key for key, shape in shapes.items() if len(shape) > 2}
    assert convolutions == {f"netcnn{stream}.{n}.weight" for stream in ("aud", "lip") for n in (0, 4, 8, 11, 14, 18)}


def test_five_pictures_and_twenty_cepstra_are_one_embedding_each(net):
    faces = list(np.random.default_rng(3).integers(0, 255, (9, 224, 224, 3), np.uint8))
    lips, sounds = embeddings(net, faces, np.zeros((4 * 9 - 1, 13)))
    assert lips.shape == sounds.shape == (4, 1024)
    assert not torch.equal(lips[0], lips[1])
    assert torch.equal(sounds[0], sounds[1])


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 7, 15])
def test_a_sound_that_comes_late_is_found_as_late_as_it_is(late):
    said = torch.from_numpy(np.random.default_rng(1).standard_normal((80, 1024)).astype(np.float32))
    found = Score.of(distances(said, said.roll(late, 0)))
    assert found.offset == -late
    assert found.lse_d == pytest.approx(0, abs=12)
    assert found.lse_c > 30


def test_distance_and_confidence_are_the_least_mean_and_what_the_median_lies_above_it():
    apart = torch.tensor([[5.0, 3.0, 9.0], [7.0, 1.0, 5.0]])
    assert Score.of(apart) == Score(offset=0, lse_d=2.0, lse_c=4.0)
    assert Score.of(apart.flip(1)[:, [2, 0, 1]]).offset == -1


def test_cepstra_are_those_of_the_package_that_the_authors_used():
    """The figures are those of python_speech_features 0.6 for the same samples of 16 bits."""
    n = np.arange(1000)
    samples = np.round(8000 * np.sin(n * n / 900)) / 32768
    found = cepstra(samples)
    assert found.shape == (5, 13)
    assert found[0] == pytest.approx(FIRST, abs=1e-4)
    assert found[4] == pytest.approx(LAST, abs=1e-4)


FIRST = (
    21.1764,
    12.0878,
    -46.0539,
    -14.629,
    11.1327,
    -14.3466,
    -18.4851,
    2.9836,
    -2.464,
    -14.9435,
    -4.5047,
    0.9529,
    -7.1034,
)
LAST = (
    23.3515,
    -37.4379,
    14.0103,
    9.7387,
    -32.7031,
    37.0329,
    -28.1385,
    13.0501,
    -4.3264,
    0.6926,
    -6.0674,
    7.1158,
    -7.493,
)


def test_silence_has_cepstra_too():
    assert np.isfinite(cepstra(np.zeros(640))).all()
    assert cepstra(np.zeros(10)).shape == (1, 13)


def test_the_crop_follows_the_face_and_stands_still_in_it(video):
    faces = faces_in(video, FaceFinder())
    assert len(faces) == 15
    assert {face.shape for face in faces} == {(224, 224, 3)}
    middle = (slice(40, 180), slice(40, 180))
    assert np.abs(faces[3][middle].astype(int) - faces[11][middle]).mean() < 6


def test_a_video_without_a_face_is_told(tools, tmp_path):
    grey = ["-f", "lavfi", "-i", "color=gray:s=160x120:d=1", "-f", "lavfi", "-i", "sine=200:d=1"]
    run_tool([str(tools.ffmpeg), "-v", "error", *grey, str(tmp_path / "empty.mp4")])
    with pytest.raises(LipsyncError, match="No face"):
        faces_in(tmp_path / "empty.mp4", FaceFinder())


def test_videos_are_scored_one_by_one_and_together(checkpoint, video, capsys):
    assert syncnet.main([str(checkpoint), str(video)]) == 0
    one, mean = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"film\.mp4: (LSE-D \d+\.\d{3}, LSE-C \d+\.\d{3}), offset [+-]\d+", one)
    assert mean == f"mean of 1: {one.partition(': ')[2].rpartition(', offset')[0]}"


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("owned"),))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path, weights: None, "cannot be read"),
        (lambda path, weights: path.write_bytes(b""), "damaged|no checkpoint"),
        (lambda path, weights: path.write_bytes(b"PK\x03\x04 nothing"), "damaged|no checkpoint"),
        (lambda path, weights: path.write_bytes(pickle.dumps(Hostile(), 2)), "more than weights|damaged"),
        (lambda path, weights: torch.save(SyncNet(), path), "more than weights"),
        (lambda path, weights: torch.save([1, 2], path), "not a dictionary"),
        (lambda path, weights: torch.save({}, path), r"lacks 8\d of"),
        (lambda path, weights: torch.save({**weights, "more": torch.ones(1)}, path), "1 tensors that SyncNet has not"),
        (
            lambda path, weights: torch.save({**weights, "netfclip.3.weight": torch.ones(256, 512)}, path),
            r"\(256, 512\), and \(1024, 512\)",
        ),
    ],
)
def test_what_are_no_weights_of_this_network_is_told(net, tmp_path, monkeypatch, make, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "given.model"
    make(path, net.state_dict())
    with pytest.raises(WrongCheckpoint, match=told):
        load(path)
    assert not (tmp_path / "owned").exists()


def test_a_wrong_file_is_one_sentence_and_no_traceback(tmp_path, capsys):
    assert syncnet.main([str(tmp_path / "none.model"), "none.mp4"]) == 1
    assert capsys.readouterr().err == "error: 'none.model' cannot be read: No such file or directory\n"
