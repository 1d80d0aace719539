"""Sessions: viewers who consented, what they asked for, and how everything of them ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any, Literal

from encoder.model import Slot
from lipsync.errors import PhotoRefused
from lipsync.protocols import FaceWorker, Stamp
from mediaserver.admission import Admission, Scene
from mediaserver.capability import Seal
from mediaserver.consent import ConsentText, Receipt
from mediaserver.errors import ChapterUnknown, NotFound, SessionGone, SessionUnknown, SlotNotReady
from mediaserver.inserts import Insert, InsertStore, Name, SlotView, Stored, views_of
from mediaserver.ledger import Event, Ledger, PinRow, SessionRow
from mediaserver.library import Edition, Library
from mediaserver.pace import Pace
from mediaserver.pulse import Pulse
from mediaserver.settings import Settings
from mediaserver.steadyclock import SteadyClock
from mediaserver.vault import private_folder, write_whole

State = Literal["consented", "captured", "ready", "rejected", "failed"]
SOON_S = 2.0
"""A player that does not say when it needs a segment needs it in so many seconds at the earliest."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Session:
    """One viewer; `photo` is in memory only, from when it is accepted to the session's end.

    `pins` names the version of each chapter that the viewer plays, `inserts` is keyed by (chapter, slot), `views` has
    the slots of each chapter that was asked for.
    """

    id: str
    created_s: int
    used_s: int
    pulse: Pulse = field(default_factory=Pulse)
    pins: dict[str, PinRow] = field(default_factory=dict)
    inserts: dict[tuple[str, str], Insert] = field(default_factory=dict)
    views: dict[str, list[SlotView]] = field(default_factory=dict)
    stamp: Stamp = field(default_factory=Stamp)
    photo: bytes | None = None
    refused: bool = False
    ended: bool = False
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def slots(self) -> list[SlotView]:
        """Every slot of every chapter asked for."""
        return [view for views in self.views.values() for view in views]

    @property
    def state(self) -> State:
        states = {view.state for view in self.slots}
        if "failed" in states:
            return "failed"
        if states == {"ready"}:
            return "ready"
        if self.photo is not None:
            return "captured"
        return "rejected" if self.refused else "consented"


class Sessions:
    """All living sessions, in memory and in the ledger; `clock` gives seconds since 1970."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        examiner: FaceWorker,
        renderer: FaceWorker,
        clock: Callable[[], float] | None = None,
    ) -> None:
        state: Path = settings.state
        self._library = library
        self._idle_s = settings.session_idle_h * 3600
        self._max_s = min(settings.session_max_h, settings.consent.retention_h) * 3600
        self._ledger, self._store = Ledger(state), InsertStore(state)
        self._clock = clock or SteadyClock(self._ledger.seen_s())
        self._seal = Seal.in_folder(state)
        pace = Pace(private_folder(state) / "pace.json")
        self.admission = Admission(examiner, renderer, self._store, settings.queue_limit, self._note_ready, pace)
        self._living: dict[str, Session] = {}
        self._used: set[str] = set()

    def __len__(self) -> int:
        return len(self._living)

    # --- from consent to the end ---

    def begin(self, consent: ConsentText, stamp: Stamp | None = None) -> tuple[str, Session, dict[str, Any]]:
        """Open a session for a viewer who agreed to `consent`.

        Return its capability, which is kept nowhere, the session, and the viewer's copy of the receipt.
        """
        now_s = int(self._clock())
        capability = self._seal.issue(now_s)
        session, receipt = Session(self._seal.check(capability), now_s, now_s), consent.receipt(now_s)
        session.stamp = stamp or session.stamp
        self._add(session, receipt)
        said = receipt.to_json()
        return capability, session, {**said, "seal": self._seal.over(json.dumps(said, sort_keys=True))}

    def _add(self, session: Session, receipt: Receipt) -> None:
        agreed = (receipt.consent, receipt.version, receipt.lang, receipt.boxes_sha256, receipt.via)
        self._ledger.add(SessionRow(session.id, session.created_s, session.used_s, *agreed))
        self._living[session.id] = session

    def begin_named(self, name: str, consent: ConsentText, via: str) -> Session | None:
        """Open a session under a secret name that its client has chosen; None if there is one already."""
        now_s, id = int(self._clock()), _hashed(name)  # noqa: A001
        if id in self._living:
            return None
        session = Session(id, now_s, now_s)
        self._add(session, consent.receipt(now_s, via))
        return session

    async def find_named(self, name: str) -> Session:
        """Return the living session of that name, used now; raises NotFound or SessionGone."""
        session = self._living.get(_hashed(name))
        if session is None:
            raise NotFound("this name")
        return await self._used_now(session)

    async def find(self, capability: str) -> Session:
        """Return the living session, used now; raises SessionUnknown or SessionGone."""
        session = self._living.get(self._seal.check(capability))
        if session is None:
            raise SessionGone
        return await self._used_now(session)

    def at_hand(self, capability: str) -> Session | None:
        """Return the living session, used now, or None where `find` has more to do or to say."""
        try:
            session = self._living.get(self._seal.check(capability))
        except SessionUnknown:
            return None
        return session if session and self.is_at_hand(session) else None

    def is_at_hand(self, session: Session) -> bool:
        """Whether the session lives; it is used now."""
        if session.ended or self._expired(session):
            return False
        self._note_use(session)
        return True

    async def _used_now(self, session: Session) -> Session:
        if session.ended:
            raise SessionGone
        if self._expired(session):
            await self.end(session, "expired")
            raise SessionGone
        self._note_use(session)
        return session

    def _note_use(self, session: Session) -> None:
        session.used_s = int(self._clock())
        self._used.add(session.id)

    async def take_photo(self, session: Session, photo: bytes, only: tuple[Edition, Slot] | None = None) -> None:
        """Look at the photo; an accepted one replaces the former and everything made of it.

        With `only` a single slot is made, in its largest picture, whatever is asked for.

        A refused one changes nothing that was accepted before. Raises what FaceWorker.examine raises, and SessionGone.
        """
        try:
            examined = await self.admission.examine(photo)
        except PhotoRefused:
            self._ledger.count("refused")
            session.refused = True
            session.pulse.fire()
            raise
        async with session.changing:
            # Without a photo, nothing that is asked for from here on is made of the former one.
            session.photo, former, session.inserts = None, session.inserts, {}
            await self.admission.cancel(session.id)
            await self._store.drop_session(session.id)
            if session.ended:
                raise SessionGone
            self._ledger.unmark(session.id)
            session.photo, session.refused = examined.photo, False
            for pin in session.pins.values():
                if pin.asked:
                    self._want(session, self.edition(session, pin.chapter), former, examined.face)
            if only:
                self._want_only(session, *only, examined.face)
            session.pulse.fire()

    async def end(self, session: Session, how: Event = "deleted") -> None:
        """Delete everything of the session, in memory and on disk; when this returns, nothing of it is left."""
        session.ended = True
        session.photo = None
        session.pulse.fire()
        async with session.changing:
            await self.admission.cancel(session.id)
            await self._store.drop_session(session.id)
            if self._living.pop(session.id, None):
                self._used.discard(session.id)
                self._ledger.delete(session.id, how)

    # --- what a session plays ---

    def edition(self, session: Session, chapter: str, version: str | None = None) -> Edition:
        """Return the version of the chapter that the session plays: the one it first asked for, while it exists.

        Raises ChapterUnknown; NotFound for any other version.
        """
        pin = session.pins.get(chapter)
        if pin and version in (None, pin.version):
            try:
                return self._library.edition(chapter, pin.version)
            except NotFound:
                pin = None
        if pin:
            raise NotFound(f"{chapter}/{version}")
        edition = self._library.edition(chapter, version) if version else self._library.current(chapter)
        self._pin(session, PinRow(session.id, chapter, edition.presentation.version, asked=False))
        return edition

    def ask(self, session: Session, edition: Edition) -> None:
        """Note that the personal manifest is asked for: from now on the slots are made as soon as there is a face."""
        chapter = edition.presentation.chapter
        if not session.pins[chapter].asked:
            self._pin(session, PinRow(session.id, chapter, edition.presentation.version, asked=True))
            self._want(session, edition, {})
            session.pulse.fire()

    def ask_segment(self, insert: Insert, name: Name, deadline_s: float | None) -> None:
        """Note which segment of an insert a player asks for, and the seconds after which it will be on screen."""
        if insert.state not in ("waiting", "rendering"):
            return
        now_s = asyncio.get_running_loop().time()
        if deadline_s is None:
            # Said by nobody, it is taken from the film's own time, as if it had been played from its beginning.
            deadline_s = max(insert.due_s - now_s, SOON_S) if insert.due_s < inf else SOON_S
        self.admission.asked(insert, *name, now_s + deadline_s)

    def fragment(self, insert: Insert, name: Name) -> Stored | None:
        """Return the file of an insert's segment if it can be served."""
        return self._store.stored(insert, name) if name in insert.done else None

    async def finished(self, session: Session, edition: Edition, slot: Slot) -> Path:
        """Return the slot as one signed file, made when it is first asked for.

        It is the largest rung's init segment and the slot's own fragments as they are streamed. Raises SlotNotReady,
        SigningFailed, WorkerDied, SessionGone.
        """
        p = edition.presentation
        async with session.changing:
            view = next((view for view in session.views.get(p.chapter, ()) if view.slot == slot.id), None)
            if session.ended:
                raise SessionGone
            if view is None or view.state != "ready" or view.inserts[0].version != p.version:
                raise SlotNotReady(slot.id)
            carrier = view.inserts[0]
            path = self._store.finished(carrier, slot.id)
            if not path.exists():
                whole = await asyncio.to_thread(self._whole, edition, view)
                signed = await self.admission.examiner.sign(whole, p.title, carrier.render_id)
                await asyncio.to_thread(write_whole, path, signed)
            return path

    def _whole(self, edition: Edition, view: SlotView) -> bytes:
        """Return the init segment and all fragments of a slot, of the largest picture."""
        rendition = next(r for r in edition.presentation.videos if r.insert)
        with edition.files[rendition.file].open() as file:
            init = file.read(rendition.init_size)
        holders = {number: insert for insert in view.inserts for number in insert.segments}
        numbers = sorted(number for name, number in view.names if name == rendition.id)
        fragments = (self._store.fragment_bytes(holders[number], (rendition.id, number)) for number in numbers)
        return init + b"".join(fragments)

    def status(self, session: Session) -> dict[str, Any]:
        """Return what the viewer is told: the state, and every slot asked for."""
        return {"state": session.state, "slots": [self._slot_status(view) for view in session.slots]}

    # --- background ---

    async def load(self) -> None:
        """Take up the sessions of the last run: finished inserts play on, faces are gone and are said to be."""
        self._living = {row.id: Session(row.id, row.created_s, row.used_s) for row in self._ledger.sessions()}
        for stray in self._store.strays(self._living):
            await self._store.drop_session(stray)
        ready = self._ledger.ready()
        for pin in self._ledger.pins():
            session = self._living[pin.session]
            session.pins[pin.chapter] = pin
            if pin.asked:
                await self._recover(session, pin, ready)
        await self.sweep()

    async def sweep(self) -> None:
        """Delete what has expired or was deleted by `mediaserver forget`; write down when the others were last used."""
        known = {row.id for row in self._ledger.sessions()}
        for session in [s for s in self._living.values() if s.ended or s.id not in known or self._expired(s)]:
            try:
                await self.end(session, "expired" if self._expired(session) else "deleted")
            except OSError:
                _log.exception("A session's files could not be deleted; this is tried again.")
        self._ledger.touch([(used, self._living[used].used_s) for used in self._used if used in self._living])
        self._used.clear()
        self._ledger.see(int(self._clock()))

    def tally(self) -> dict[Event, int]:
        """Return how many scenes were made, sessions deleted and expired, photos refused, ever."""
        return self._ledger.tally()

    async def close(self) -> None:
        """Write down the last uses and close the ledger."""
        await self.sweep()
        self.admission.pace.save()
        self._ledger.close()

    # --- inside ---

    def _expired(self, session: Session) -> bool:
        now_s = self._clock()
        return now_s - session.used_s > self._idle_s or now_s - session.created_s > self._max_s

    def _pin(self, session: Session, pin: PinRow) -> None:
        session.pins[pin.chapter] = pin
        self._ledger.pin(pin)

    def _want(
        self, session: Session, edition: Edition, former: Mapping[tuple[str, str], Insert], face: bytes | None = None
    ) -> None:
        """Make the chapter's slots as soon as there is a photo; `former` are the inserts of one that is replaced."""
        now_s = asyncio.get_running_loop().time()
        for insert in self._fresh(session, edition):
            slot, before = edition.presentation.slot(insert.slot), former.get((insert.chapter, insert.slot))
            assert slot is not None
            insert.due_s, insert.stamp = now_s + float(slot.start_s), session.stamp
            if before:
                insert.asked, insert.near, insert.due_s = before.asked, before.near, before.due_s
            if session.photo is not None:
                self.admission.add(Scene(insert, session.photo, edition.folder, face))

    def _want_only(self, session: Session, edition: Edition, slot: Slot, face: bytes) -> None:
        """Make one slot in its largest picture, as soon as may be."""
        p = edition.presentation
        self._pin(session, PinRow(session.id, p.chapter, p.version, asked=False))
        now_s, largest = asyncio.get_running_loop().time(), next(r.id for r in p.videos if r.insert)
        fresh = {}
        for carrier in {found.id: found for n in p.segments_of(slot) if (found := p.slot_at(n))}.values():
            insert = Insert.of(session.id, p, carrier, session.pulse)
            insert.renditions, insert.due_s, insert.stamp = (largest,), now_s + float(slot.start_s), session.stamp
            fresh[carrier.id] = insert
        session.inserts.update({(p.chapter, carrier): insert for carrier, insert in fresh.items()})
        names = frozenset((largest, number) for number in p.segments_of(slot))
        session.views[p.chapter] = [SlotView(p.chapter, slot.id, names, tuple(fresh.values()))]
        assert session.photo is not None
        for insert in fresh.values():
            self.admission.add(Scene(insert, session.photo, edition.folder, face))

    def finished_before(self, session: Session, edition: Edition) -> Path | None:
        """Return the signed file of a session for which one slot was made, if it lies there already."""
        p = edition.presentation
        inserts = (Insert.of(session.id, p, slot, session.pulse) for slot in p.slots)
        paths = (self._store.finished(insert, slot.id) for insert in inserts for slot in p.slots)
        return next((path for path in paths if path.exists()), None)

    def _fresh(self, session: Session, edition: Edition) -> list[Insert]:
        """Give the session an empty insert for every slot of the chapter that needs one."""
        p = edition.presentation
        fresh = {slot.id: Insert.of(session.id, p, slot, session.pulse) for slot in p.slots if p.carried_by(slot)}
        session.inserts.update({(p.chapter, slot): insert for slot, insert in fresh.items()})
        session.views[p.chapter] = views_of(p, fresh)
        return list(fresh.values())

    async def _recover(self, session: Session, pin: PinRow, ready: set[tuple[str, str, str]]) -> None:
        try:
            edition = self._library.edition(pin.chapter, pin.version)
        except (ChapterUnknown, NotFound):
            return
        for insert in self._fresh(session, edition):
            found, number = self._store.found(insert), self._store.number_of(insert)
            whole = (session.id, insert.chapter, insert.slot) in ready and found == insert.wanted
            if whole and number is not None:
                insert.done, insert.state, insert.render_id = found, "ready", number
            else:
                await self._store.drop(insert)

    def _note_ready(self, insert: Insert) -> None:
        self._store.keep_number(insert)
        self._ledger.mark_ready(insert.session, insert.chapter, insert.slot)
        self._ledger.count("made")

    def _slot_status(self, view: SlotView) -> dict[str, Any]:
        admission, told = self.admission, view.state in ("waiting", "rendering")
        left = [eta_s for insert in view.inserts if (eta_s := admission.eta_s(insert)) is not None]
        first = [eta_s for insert in view.inserts if (eta_s := admission.watchable_s(insert)) is not None]
        return {
            "chapter": view.chapter,
            "slot": view.slot,
            "state": view.state,
            "progress": round(view.progress, 3),
            "eta_s": max(1, round(max(left))) if left and told else None,
            "watchable_s": round(max(first)) if first and told else None,
        }


def _hashed(name: str) -> str:
    return sha256(b"named " + name.encode()).hexdigest()
