"""A job waits while the disk is too full for it, and goes on by itself when there is room."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder.disk import estimate_bytes, free_bytes, used_bytes
from encoder.stages import Plan, is_finished

LOOK_S = 0.5
PAUSED_HINT = "It goes on by itself when there is room: delete something, or `mediaserver cancel` it."


class Room:
    """Measures the disk of the media folder for one job; `note` writes into the book what editors are told.

    `floor_bytes` always stay free, so that a full disk never stops the rest of the machine.
    """

    def __init__(self, media: Path, floor_bytes: int, note: Callable[..., None]) -> None:
        self._media, self._floor, self._note = media, floor_bytes, note
        self._telling = threading.Lock()
        self._looked_s, self._low, self._paused = 0.0, False, False

    def is_low(self) -> bool:
        """Say whether what runs must be held because the floor is reached; a tenth above it, it goes on."""
        if time.monotonic() - self._looked_s > LOOK_S:
            self._looked_s = time.monotonic()
            least = self._floor * 11 // 10 if self._low else self._floor
            self._low = free_bytes(self._media) < least
            self._tell(self._low, least)
        return self._low

    def has(self, plan: Plan) -> bool:
        return free_bytes(self._media) >= self._needed(plan)

    def wait_for(self, plan: Plan, check: Callable[[], None]) -> None:
        """Wait until what a chapter still takes fits; `check` may raise to end it."""
        needed = self._needed(plan)
        while free_bytes(self._media) < needed:
            self._tell(True, needed)
            check()
            time.sleep(LOOK_S)
        self._tell(False, needed)

    def _needed(self, plan: Plan) -> int:
        if is_finished(plan, self._media):
            return 0
        missing, kept = plan.missing(self._media), plan.kept(self._media)
        whole = estimate_bytes(missing.ladder, tuple(slot for slot, _ in missing.slots))
        there = used_bytes(plan.folder(self._media)) - used_bytes(kept.folder)
        return self._floor + max(0, whole - there)

    def _tell(self, paused: bool, needed: int) -> None:
        with self._telling:
            if paused == self._paused:
                return
            self._paused = paused
        facts: dict[str, Any] = {"paused": None, "sentence": None, "hint": None}
        if paused:
            free, asked = (f"{number / 1e9:.1f} GB" for number in (free_bytes(self._media), needed))
            sentence = f"It waits for room on the disk: {free} are free, {asked} are needed."
            facts = {"paused": "disk", "sentence": sentence, "hint": PAUSED_HINT, "fps": None, "eta_s": None}
        self._note(**facts)
