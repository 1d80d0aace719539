"""Everything that can be wrong with a photo, a speech or a render: one exception per cause."""

from __future__ import annotations

from typing import ClassVar, Literal

Verdict = Literal[
    "ok", "no_face", "several_faces", "too_small", "cut_off", "turned_away", "too_dark", "blurred", "mouth_covered"
]


REFUSALS: dict[Verdict, dict[str, tuple[str, str]]] = {
    "no_face": {
        "en": ("There is no face in this picture.", "Look into the camera, with light on your face."),
        "ar": ("لا يوجد وجه في هذه الصورة.", "انظر إلى الكاميرا وليكن الضوء على وجهك."),
    },
    "several_faces": {
        "en": ("There is more than one face in this picture.", "Take the photo alone."),
        "ar": ("في هذه الصورة أكثر من وجه.", "التقط الصورة وحدك."),
    },
    "too_small": {
        "en": ("The face is too small.", "Come nearer to the camera."),
        "ar": ("الوجه صغير جدا.", "اقترب من الكاميرا."),
    },
    "cut_off": {
        "en": ("Part of the face lies outside the picture.", "Move so that your whole face is in the picture."),
        "ar": ("جزء من الوجه خارج الصورة.", "تحرك حتى يظهر وجهك كله في الصورة."),
    },
    "turned_away": {
        "en": ("The face looks to the side.", "Look straight into the camera."),
        "ar": ("الوجه ملتفت إلى الجانب.", "انظر مباشرة إلى الكاميرا."),
    },
    "too_dark": {
        "en": ("The face is too dark.", "Turn towards a window or a lamp."),
        "ar": ("الوجه مظلم جدا.", "استدر نحو نافذة أو مصباح."),
    },
    "blurred": {
        "en": ("The face is blurred.", "Hold still, and wipe the lens."),
        "ar": ("الوجه غير واضح.", "اثبت في مكانك وامسح العدسة."),
    },
    "mouth_covered": {
        "en": ("The mouth is covered.", "Take away what is before your mouth: a hand, a mask, a scarf."),
        "ar": ("الفم مغطى.", "أبعد ما يغطي فمك: يدا أو كمامة أو وشاحا."),
    },
}
"""What a person is told of each verdict, by language: the sentence and what to do."""


class LipsyncError(Exception):
    """The family: `code` for programs, `str(error)` is the sentence for people, `hint` says what to do."""

    code: ClassVar[str] = "lipsync_error"
    hint: str = "Try again; `mediaserver doctor` checks the installation."


class NotAPicture(LipsyncError):
    """The bytes are not a whole JPEG, PNG or WebP picture (HTTP 415)."""

    code = "not_a_picture"
    hint = "Send a JPEG, PNG or WebP picture."

    def __init__(self, reason: str) -> None:
        super().__init__(f"This is not a picture that can be read: {reason}")


class PictureTooLarge(LipsyncError):
    """More bytes or pixels than are looked at (HTTP 413)."""

    code = "picture_too_large"
    hint = "Send a smaller picture; a webcam photo is enough."

    def __init__(self, what: str) -> None:
        super().__init__(f"The picture is too large: {what}.")


class PhotoRefused(LipsyncError):
    """A picture in which no face can speak (HTTP 422); `verdict` says why."""

    code = "photo_refused"

    def __init__(self, verdict: Verdict, sentence: str, hint: str) -> None:
        super().__init__(sentence)
        self.verdict: Verdict = verdict
        self.hint = hint

    @classmethod
    def of(cls, verdict: Verdict, language: str = "en") -> PhotoRefused:
        """Return it in the words of a language tag or Accept-Language; English where there are none."""
        spoken = language.strip().lower().replace("_", "-").split(",")[0].split(";")[0].split("-")[0]
        told = REFUSALS[verdict]
        return cls(verdict, *told.get(spoken, told["en"]))


class SpeechUnreadable(LipsyncError):
    code = "speech_unreadable"
    hint = "Give any audio or video file with 1 s to 10 min of sound."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} holds no speech that can be read: {reason}")


class RenderFailed(LipsyncError):
    code = "render_failed"
    hint = "Take the photo again. If it fails again, the chapter's own picture is shown."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The scene could not be made: {reason}")


class CannotWrite(LipsyncError):
    """The place for a finished file is none."""

    code = "cannot_write"
    hint = "Name another file after -o, in a folder that is there and yours."

    def __init__(self, out: str, reason: str) -> None:
        super().__init__(f"{out!r} cannot be written: {reason}.")


class NotASize(LipsyncError):
    code = "not_a_size"
    hint = "Give the lines of the picture, such as 432p, 720p or 1080p."

    def __init__(self, size: str) -> None:
        super().__init__(f"{size!r} is not a size.")


class WorkerDied(LipsyncError):
    code = "worker_died"
    hint = "A new worker has been started; send the photo again."

    def __init__(self, how: str = "has ended unexpectedly") -> None:
        super().__init__(f"The process that makes the pictures {how}.")


class WorkerOutgrown(WorkerDied):
    """The warm process held more memory than it may, and was ended."""

    code = "worker_outgrown"
    hint = "Send a smaller photo; the setting `face_worker_mb` says how much memory there is."

    def __init__(self, ceiling_mb: int) -> None:
        super().__init__(f"needed more than {ceiling_mb} MB of memory and was ended")


class InsertDoesNotFit(LipsyncError):
    """An encoded insert's parameter sets are not those that the chapter's init segment reserves."""

    code = "insert_does_not_fit"
    hint = "Encode the chapter again with this version of the programs."

    def __init__(self, rendition: str) -> None:
        super().__init__(f"The insert for {rendition} does not carry the reserved parameter sets.")


class ModelMissing(LipsyncError):
    code = "model_missing"
    hint = "Run `mediaserver setup`: it fetches the pinned face models into the cache."

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name} was not found.")


class NotConverted(LipsyncError):
    """The engine of the operator's own checkpoint is asked for, and there is none."""

    code = "not_converted"
    hint = "Convert your checkpoint once: `mediaserver doctor --convert wav2lip.pth`. The README says where to get one."

    def __init__(self) -> None:
        super().__init__("The engine wav2lip has no networks here: no checkpoint was converted.")


class WeightsUnusable(LipsyncError):
    """A checkpoint that an operator gave cannot be read."""

    code = "weights_unusable"
    hint = "Give wav2lip.pth or wav2lip_gan.pth as its authors published it."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} cannot be converted: {reason}.")


class CertificateUnusable(LipsyncError):
    """A certificate or key for Content Credentials cannot be read, or may not sign them."""

    code = "certificate_unusable"
    hint = "Give a certificate for C2PA signing with its chain and key, or none: then this server makes its own."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The certificate for Content Credentials cannot be used: {reason}")


class SigningFailed(LipsyncError):
    code = "signing_failed"
    hint = "Look at the certificate's settings; without credentials no finished file is given out."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file could not be signed: {reason}")
