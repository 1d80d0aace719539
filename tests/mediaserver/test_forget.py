from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mediaserver.capability import Seal
from mediaserver.errors import SessionUnknown
from mediaserver.forget import forget_all, forget_expired, forget_one
from mediaserver.ledger import Ledger, SessionRow
from mediaserver.settings import Settings

HOUR_S = 3600


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # port 9 (discard): nobody answers there, so the deletion is done here
    return Settings(state=tmp_path, port=9)


def open_session(settings: Settings, created_s: float = 0, used_s: float = 0) -> tuple[str, str, Path]:
    """Leave what a server leaves of a session with one fragment; times are seconds before now."""
    now_s = int(time.time())
    capability = Seal.in_folder(settings.state).issue(now_s)
    name = Seal.in_folder(settings.state).check(capability)
    ledger = Ledger(settings.state)
    ledger.add(SessionRow(name, now_s - int(created_s), now_s - int(used_s), "sha", "1", "en"))
    ledger.close()
    fragment = settings.state / "inserts" / name / "part2" / "v1" / "you" / "video_432p_h264" / "6.m4s"
    fragment.parent.mkdir(parents=True)
    fragment.write_bytes(b"moof")
    return capability, name, fragment


def names(settings: Settings) -> set[str]:
    ledger = Ledger(settings.state)
    try:
        return {row.id for row in ledger.sessions()}
    finally:
        ledger.close()


@pytest.mark.parametrize("form", ["{}", "/s/{}/", "http://127.0.0.1:8080/s/{}/"])
def test_one_session_is_deleted_by_whatever_form_of_its_address(settings: Settings, form: str):
    capability, name, fragment = open_session(settings)
    _, other, kept = open_session(settings)
    forget_one(settings, form.format(capability))
    assert names(settings) == {other}
    assert not (settings.state / "inserts" / name).exists()
    assert kept.exists()
    assert not fragment.exists()


def test_what_was_never_issued_here_is_refused(settings: Settings):
    with pytest.raises(SessionUnknown):
        forget_one(settings, "/s/" + "A" * 52 + "/")


def test_only_what_is_idle_too_long_or_too_old_expires(settings: Settings):
    short = replace(settings, session_idle_h=2, session_max_h=24)
    _, fresh, _ = open_session(short, created_s=23 * HOUR_S, used_s=HOUR_S)
    open_session(short, created_s=3 * HOUR_S, used_s=2.1 * HOUR_S)
    open_session(short, created_s=24.1 * HOUR_S, used_s=0)
    assert forget_expired(short) == 2
    assert names(short) == {fresh}


def test_the_consent_s_promise_bounds_the_longest_time(settings: Settings):
    promised = replace(settings, consent=replace(settings.consent, retention_h=1))
    open_session(promised, created_s=1.1 * HOUR_S, used_s=0)
    assert forget_expired(promised) == 1


def test_all_means_all(settings: Settings):
    for _ in range(3):
        open_session(settings)
    assert forget_all(settings) == 3
    assert [path for path in (settings.state / "inserts").iterdir() if path.is_dir()] == []


async def test_a_running_server_is_asked_because_it_alone_holds_the_face(settings: Settings):
    """A server that answers DELETE with 204 has deleted everything, so nothing is done behind its back."""
    capability, name, _ = open_session(settings)
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(forget_one, replace(settings, port=port), capability)
    assert heard == [f"DELETE /s/{capability} HTTP/1.1\r\n".encode()]
    assert name in names(settings)
