"""Deletes sessions from the command line, also while no server runs."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from mediaserver.capability import Seal
from mediaserver.errors import SessionUnknown
from mediaserver.inserts import InsertStore
from mediaserver.ledger import Event, Ledger, SessionRow
from mediaserver.settings import Settings

ANSWER_S = 20


def forget_one(settings: Settings, address: str) -> None:
    """Delete the session of a capability or of its address `/s/<capability>/`; raises SessionUnknown.

    A running server is asked first, because it alone holds the face.
    """
    capability = address.rstrip("/").rpartition("/")[2]
    name = Seal.in_folder(settings.state).check(capability)
    if not _ask_server(settings, capability):
        asyncio.run(_end(settings, [name], "deleted"))


def forget_expired(settings: Settings) -> int:
    """Delete every session whose time is over and return how many there were."""
    now_s = time.time()
    return _forget(settings, lambda row: is_expired(settings, row, now_s), "expired")


def forget_all(settings: Settings) -> int:
    """Delete every session and return how many there were; a running server drops their faces at its next sweep."""
    return _forget(settings, lambda row: True, "deleted")


def is_expired(settings: Settings, row: SessionRow, now_s: float) -> bool:
    idle_s = settings.session_idle_h * 3600
    most_s = min(settings.session_max_h, settings.consent.retention_h) * 3600
    return now_s - row.used_s > idle_s or now_s - row.created_s > most_s


def _forget(settings: Settings, chosen: Callable[[SessionRow], bool], how: Event) -> int:
    ledger = Ledger(settings.state)
    try:
        names = [row.id for row in ledger.sessions() if chosen(row)]
    finally:
        ledger.close()
    asyncio.run(_end(settings, names, how))
    return len(names)


async def _end(settings: Settings, names: list[str], how: Event) -> None:
    """Delete files before rows, so that an interruption leaves a row by which it is done again."""
    store, ledger = InsertStore(settings.state), Ledger(settings.state)
    try:
        for name in names:
            await store.drop_session(name)
            ledger.delete(name, how)
    finally:
        ledger.close()


def _ask_server(settings: Settings, capability: str) -> bool:
    """Say whether a server of ours runs and has deleted the session, or had done so before."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/s/{capability}"
    request = urllib.request.Request(url, method="DELETE")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S):  # noqa: S310 - our own server
            return True
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise SessionUnknown from error
        return error.code == 410
    except OSError:
        return False
