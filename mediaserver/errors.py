"""Everything that can go wrong between the disk and a client: one exception per cause."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class ServerError(Exception):
    """The family: `code` for programs, `str(error)` is the sentence for people, `hint` says what to do.

    `status` is the HTTP status with which a request that met it is answered.
    """

    code: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500
    hint: str = "Look at the message above; `mediaserver doctor` checks the installation."


class SettingsError(ServerError):
    code = "settings_error"
    hint = "`mediaserver config` lists every setting with its meaning, its value and where the value comes from."

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        if hint:
            self.hint = hint


class PortTaken(ServerError):
    code = "port_taken"

    def __init__(self, host: str, port: int, flag: str = "--port") -> None:
        super().__init__(f"Another program already listens on {host}:{port}.")
        self.hint = f"Stop it, or choose another port: {flag} {port + 1 if port < 65535 else port - 1}."


class AddressUnusable(ServerError):
    code = "address_unusable"
    hint = "Choose an address of this machine: --host 127.0.0.1 (only here) or --host 0.0.0.0 (the network, too)."

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"The server cannot listen on {host}:{port}: {reason}.")


class SetupFailed(ServerError):
    """A pinned file could not be had from any of its sources."""

    code = "setup_failed"
    hint = (
        "Check the network and the package index that pip uses (`pip config list`), then run `mediaserver setup` again."
    )

    def __init__(self, what: str, reasons: tuple[str, ...]) -> None:
        super().__init__(f"{what} could not be fetched: {'; '.join(reasons) or 'it has no source for this machine'}.")


class NotSetUp(ServerError):
    code = "not_set_up"
    hint = "Run `mediaserver setup`."

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed.")


class SampleFailed(ServerError):
    code = "sample_failed"
    hint = "Install the extra: pip install 'mediaserver[demo]'."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The sample master could not be made: {reason}")


class DemoFailed(ServerError):
    code = "demo_failed"
    hint = "The lines above say how far it came; `mediaserver doctor` checks the installation."

    def __init__(self, reason: str) -> None:
        super().__init__(f"The demo stopped: {reason}")


class BadRequest(ServerError):
    code = "bad_request"
    status = 400
    hint = "The README lists every address and what it takes."


class NotFound(ServerError):
    code = "not_found"
    status = 404
    hint = "Check the address."

    def __init__(self, what: str = "this address") -> None:
        super().__init__(f"There is nothing at {what}.")


class ChapterUnknown(ServerError):
    code = "chapter_unknown"
    status = 404
    hint = "`mediaserver status` and the editors' page list the chapters that are published."

    def __init__(self, chapter: str) -> None:
        super().__init__(f"No chapter {chapter!r} is published here.")


class SlotUnknown(ServerError):
    code = "slot_unknown"
    status = 404
    hint = "The slots of a chapter are named in the .toml file beside its master."

    def __init__(self, chapter: str, slot: str) -> None:
        super().__init__(f"The chapter {chapter!r} has no slot {slot!r}.")


class ConsentMissing(ServerError):
    """No consent, a box that was not ticked, or the consent to another text than the present one."""

    code = "consent_missing"
    status = 403
    hint = "Read the present text at /consent, tick every box, and send the text's sha256."

    def __init__(self, reason: str) -> None:
        super().__init__(f"Without consent nothing is made: {reason}")


class ConsentIncomplete(ServerError):
    """A public address, and a consent that does not say who is responsible."""

    code = "consent_incomplete"

    def __init__(self, host: str, missing: list[str]) -> None:
        super().__init__(f"{host} can be reached by others, and the viewers' consent lacks {', '.join(missing)}.")
        tables = " and ".join(f'{key.partition(".")[2]} = "…"' for key in missing)
        self.hint = f"Write {tables} under [consent] in mediaserver.toml, or serve only this machine: --host 127.0.0.1."


class SessionUnknown(ServerError):
    code = "session_unknown"
    status = 404
    hint = "Open the viewer's page and begin a new session."

    def __init__(self) -> None:
        super().__init__("This session was never opened here.")


class SessionGone(ServerError):
    code = "session_gone"
    status = 410
    hint = "Everything of it is deleted. Open the viewer's page and begin a new session."

    def __init__(self) -> None:
        super().__init__("This session has ended.")


class SlotNotReady(ServerError):
    code = "slot_not_ready"
    status = 409
    hint = "Ask for the session's state; come back when the slot is ready."

    def __init__(self, slot: str) -> None:
        super().__init__(f"The slot {slot!r} is not ready yet.")


class QueueFull(ServerError):
    code = "queue_full"
    status = 503
    hint = "Try again in a minute; the film plays meanwhile with its own picture."

    def __init__(self, waiting: int, retry_s: int) -> None:
        super().__init__(f"{waiting} viewers are already waiting for their scene.")
        self.retry_s = retry_s


class TooOften(ServerError):
    """One address asks for more than its share (HTTP 429)."""

    code = "too_often"
    status = 429

    def __init__(self, retry_s: int) -> None:
        super().__init__("Too many sessions or photos have come from this address.")
        self.retry_s = retry_s
        self.hint = f"Try again in {retry_s} s; the film plays meanwhile with its own picture."


class CannotRead(ServerError):
    code = "cannot_read"
    status = 400
    hint = "Check the path of the file."

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file!r} cannot be read: {reason}.")


class JobUnknown(ServerError):
    code = "job_unknown"
    status = 404
    hint = "`mediaserver status` lists the jobs by the names of their files and chapters."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no job {name!r}.")


class JobBookUnreadable(ServerError):
    code = "job_book_unreadable"
    hint = "Move the file away and start again: masters in raw/ are looked at anew, what is published stays."

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"The book of jobs {str(file)!r} cannot be used: {reason}.")


class ExtraMissing(ServerError):
    """Something needs packages that the server itself does not."""

    code = "extra_missing"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs packages that are not installed: the extra [{extra}].")
        self.hint = f"pip install -e '.[{extra}]' -c constraints.txt; once it is done they are not needed any more."
