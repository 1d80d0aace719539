"""The words between server and worker."""

from __future__ import annotations

import json

import pytest

from lipsync import errors
from lipsync.errors import LipsyncError
from lipsync.wire import LENGTHS, BadMessage, error_header, error_of, lengths_of, packed

EXAMPLES = [
    errors.NotAPicture("it is a PDF"),
    errors.PictureTooLarge("13 MB"),
    errors.PhotoRefused("no_face", "There is no face.", "Look into the camera."),
    errors.SpeechUnreadable("a.wav", "it is empty"),
    errors.RenderFailed("no frames"),
    errors.CannotWrite("out.mp4", "it is a folder"),
    errors.NotASize("huge"),
    errors.WorkerDied(),
    errors.WorkerOutgrown(512),
    errors.NotConverted(),
    errors.WeightsUnusable("wav2lip.pth", "it is empty"),
    errors.InsertDoesNotFit("video_720p_h264"),
    errors.ModelMissing("a.onnx"),
    errors.CertificateUnusable("it has expired"),
    errors.SigningFailed("no key"),
]


def test_there_is_an_example_of_every_error():
    family = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LipsyncError)]
    assert {type(error) for error in EXAMPLES} == set(family) - {LipsyncError}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: error.code)
def test_an_error_arrives_as_what_it_was(error):
    arrived = error_of(json.loads(json.dumps(error_header(error))))
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.hint, arrived.code) == (str(error), error.hint, error.code)
    assert getattr(arrived, "verdict", None) == getattr(error, "verdict", None)


def test_an_unknown_error_is_a_failed_render():
    arrived = error_of({"event": "error", "code": "of tomorrow", "sentence": "Something.", "hint": "Wait."})
    assert isinstance(arrived, errors.RenderFailed)
    assert str(arrived) == "Something."


def test_a_message_begins_with_its_lengths():
    message = packed({"call": "examine"}, b"12345")
    header, payload = lengths_of(message[: LENGTHS.size])
    assert json.loads(message[LENGTHS.size : LENGTHS.size + header]) == {"call": "examine"}
    assert message[LENGTHS.size + header :] == b"12345"
    assert payload == 5


def test_a_length_that_cannot_be_is_refused():
    with pytest.raises(BadMessage):
        lengths_of(b"Trac" + bytes(4))
