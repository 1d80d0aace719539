"""One viewer's visit over HTTP: what `make demo EXIT=1` looks at before it says that all works."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from xml.etree import ElementTree

from mediaserver.errors import DemoFailed
from mediaserver.progress import Progress

ANSWER_S = 30
READY_S = 300
MPD = "{urn:mpeg:dash:schema:mpd:2011}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body of one response."""

    status: int
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment as a media playlist names it: its address, and (first byte, length) unless it is a whole file."""

    url: str
    range: tuple[int, int] | None = None


@dataclass(slots=True)
class Visit:
    """Opens the pages, plays a chapter for everybody and for one viewer, and has the viewer deleted again."""

    page: str
    chapter: str
    _session: str = field(default="", init=False)

    def run(self, photo: bytes, progress: Progress) -> Iterator[str]:
        """Yield a sentence for everything that was found right; raises DemoFailed at the first that is not."""
        for name in ("", "editor", "healthz"):
            self._get(self.page + name)
        yield "viewer's page, editors' page and health answer"
        shared = self._pieces(f"{self.page}{self.chapter}/")
        yield f"shared DASH and HLS: {len(shared)} segments, byte ranges right"
        self._session = self._begin(photo)
        try:
            yield from self._personal(shared, progress)
        finally:
            gone = fetch("DELETE", self._session)
        self._expect(gone.status == 204 and fetch("GET", self._session).status == 410, "the session was not deleted")
        yield "the session is deleted: its address answers 410"

    def _personal(self, shared: list[Piece], progress: Progress) -> Iterator[str]:
        own = self._pieces(f"{self._session}{self.chapter}/")
        scene = [n for n, piece in enumerate(own) if piece.range is None]
        self._expect(bool(scene) and len(own) == len(shared), "the personal playlist has no personal segment")
        kept = [n for n in range(len(own)) if n not in scene]
        self._expect(all(own[n] == shared[n] for n in kept), "a segment outside the slot is not the shared one")
        yield f"personal DASH and HLS are complete at once: segments {scene[0]} to {scene[-1]} are bound when asked for"
        yield f"the insert was ready after {self._wait(progress):.0f} s"
        for n in scene:
            personal, common = self._bytes(own[n]), self._bytes(shared[n])
            self._expect(personal[4:8] == common[4:8] and personal != common, f"segment {n} does not show the viewer")
        yield f"{len(scene)} segments show the viewer's face; the shared ones are unchanged"

    def _begin(self, photo: bytes) -> str:
        address = open_session(self.page)
        send_photo(address, photo)
        return address

    def _wait(self, progress: Progress) -> float:
        """Ask for the state until the scene is ready; return the seconds that it took."""
        began_s = time.monotonic()
        while (took_s := time.monotonic() - began_s) < READY_S:
            status: dict[str, Any] = json.loads(self._get(self._session).body)
            if status["state"] == "ready":
                progress.done()
                return took_s
            self._expect(status["state"] != "failed", f"the scene could not be made: {status}")
            for slot in status["slots"]:
                progress.update("the viewer's scene", 100 * slot["progress"], slot["eta_s"])
            time.sleep(0.25)
        raise DemoFailed(f"the insert was not ready after {READY_S} s.")

    def _pieces(self, folder: str) -> list[Piece]:
        """Read both manifests of a chapter and return the video segments of the first rendition."""
        mpd = ElementTree.fromstring(self._get(f"{folder}stream.mpd").body)  # noqa: S314 - of our own server
        self._expect(len(mpd.findall(f"{MPD}Period")) == 1, "the MPD has not exactly one Period")
        variants = self._lines(f"{folder}master.m3u8")
        playlist = urllib.parse.urljoin(f"{folder}master.m3u8", next(line for line in variants if line[0] != "#"))
        pieces = list(_listed(playlist, self._lines(playlist)))
        for piece in (pieces[0], pieces[-1]):
            self._bytes(piece)
        return pieces

    def _lines(self, url: str) -> list[str]:
        return [line for line in self._get(url).body.decode().splitlines() if line]

    def _bytes(self, piece: Piece) -> bytes:
        """Fetch a segment; a range must be answered with 206 and exactly its bytes."""
        if piece.range is None:
            return self._get(piece.url).body
        first, length = piece.range
        answer = fetch("GET", piece.url, ranged=f"bytes={first}-{first + length - 1}")
        said = answer.headers.get("Content-Range", "")
        fits = answer.status == 206 and len(answer.body) == length and said.startswith(f"bytes {first}-")
        self._expect(fits, f"a range of {piece.url} was answered with {answer.status}, {len(answer.body)} bytes")
        return answer.body

    def _get(self, url: str) -> Answer:
        answer = fetch("GET", url)
        self._expect(answer.status == 200, f"{url} answers {answer.status}")
        return answer

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise DemoFailed(f"{otherwise}.")


def _listed(playlist: str, lines: list[str]) -> Iterator[Piece]:
    """Yield the segments of a media playlist (RFC 8216, 4.3.2.2: `#EXT-X-BYTERANGE:<length>@<first>`)."""
    ranged = None
    for line in lines:
        if found := re.match(r"#EXT-X-BYTERANGE:(\d+)@(\d+)", line):
            ranged = (int(found[2]), int(found[1]))
        elif not line.startswith("#"):
            yield Piece(urllib.parse.urljoin(playlist, line), ranged)
            ranged = None


def open_session(page: str) -> str:
    """Agree to everything and return the new session's address; raises DemoFailed."""
    consent = json.loads(fetch("GET", f"{page}consent").body)
    boxes = {box["id"]: True for box in consent["boxes"]}
    body = json.dumps({"consent": consent["sha256"], "boxes": boxes}).encode()
    opened = fetch("POST", f"{page}sessions", body, "application/json")
    if opened.status != 201:
        raise DemoFailed(f"no session was opened ({opened.status}).")
    address: str = urllib.parse.urljoin(page, json.loads(opened.body)["session"].lstrip("/"))
    return address


def send_photo(session: str, photo: bytes) -> None:
    """Raises DemoFailed if it is not taken."""
    taken = fetch("PUT", f"{session}photo", photo, "image/jpeg")
    if taken.status != 202:
        raise DemoFailed(f"the photo was not taken: {taken.body.decode('utf-8', 'replace')}.")


def fetch(method: str, url: str, body: bytes | None = None, kind: str = "", *, ranged: str = "") -> Answer:
    """Send one request and return whatever is answered; raises DemoFailed if nothing is."""
    headers = {name: value for name, value in (("Content-Type", kind), ("Range", ranged)) if value}
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - an address of our own server
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())
    except OSError as error:
        raise DemoFailed(f"{url} does not answer: {error}.") from error
