"""C2PA Content Credentials in a finished file: signed and read without any request to anyone (docs/decisions/0011).

Signing adds one box before the first `moof` and changes no fragment (C2PA 2.4, clause 18.6 and appendix A). No
time-stamp authority is asked, no remote manifest and no certificate status is fetched. The manifest says what was made
and how, never of whom.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import c2pa  # type: ignore[import-untyped]

from lipsync.credentials import Issuer
from lipsync.errors import SigningFailed

GENERATOR = "mediaserver"
MARK_ALGORITHM = "mediaserver.mark.1"
"""Name of the invisible mark in the manifest's soft binding (C2PA 2.4, clauses 9 and 18.10)."""
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MP4 = "video/mp4"
ARCHIVES = {b"ftyp": MP4, b"RIFF": "video/avi"}
OFFLINE: dict[str, Any] = {
    "version": 1,
    "core": {"allowed_network_hosts": []},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}
TOLD = {
    "assertion.bmffHash.mismatch": "the pictures or the sound were changed after signing",
    "assertion.dataHash.mismatch": "the content was changed after signing",
    "assertion.hashedURI.mismatch": "what the credentials say was changed after signing",
    "claimSignature.mismatch": "the signature is not that of the credentials",
    "signingCredential.expired": "the signer's certificate has expired",
    "signingCredential.invalid": "the signer's certificate is not one for credentials",
    "signingCredential.revoked": "the signer's certificate was withdrawn",
}
ELSEWHERE = "Remote"
"""How c2pa begins to say that a file only names an address at which its credentials would lie."""
UNKNOWN_SIGNER = "signingCredential.untrusted"


class Source(StrEnum):
    """How the pictures came to be: terms of IPTC's vocabulary of digital source types."""

    COMPOSITE = "compositeWithTrainedAlgorithmicMedia"
    """Recorded pictures (the chapter, the photo) with parts that a trained network made: every scene of ours."""
    GENERATED = "trainedAlgorithmicMedia"
    """Made by a trained network alone."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a manifest says. `title` names the scene, never the person; `render_id` is the invisible mark's number."""

    title: str
    render_id: int | None
    source: Source = Source.COMPOSITE
    version: str = "1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was found in a file. `intact`: nothing was changed since; `trusted`: the signer is one of the anchors'."""

    intact: bool
    trusted: bool
    signer: str
    generator: str
    title: str
    sources: tuple[str, ...]
    render_id: int | None
    problems: tuple[str, ...]

    @property
    def says_ai(self) -> bool:
        """Whether the manifest declares that the media, or a part of it, was made by a trained network."""
        return any(source in {Source.COMPOSITE, Source.GENERATED} for source in self.sources)


DAMAGED = Credentials(False, False, "", "", "", (), None, ("they are damaged",))


def sign(data: bytes, statement: Statement, issuer: Issuer) -> bytes:
    """Return a flat MP4, fragmented or not, with credentials inside. Raises SigningFailed."""
    signed = io.BytesIO()
    _sign(io.BytesIO(data), signed, statement, issuer)
    return signed.getvalue()


def sign_file(source: Path, target: Path, statement: Statement, issuer: Issuer) -> None:
    """Write `source` with credentials to `target`, which appears whole. Raises SigningFailed."""
    part = target.with_name(f".{target.name}.part")
    try:
        with source.open("rb") as read, part.open("w+b") as written:
            _sign(read, written, statement, issuer)
        part.replace(target)
    except OSError as error:
        raise SigningFailed(str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _sign(source: BinaryIO, target: BinaryIO, statement: Statement, issuer: Issuer) -> None:
    try:
        context = _context(issuer.anchors)
        info = c2pa.C2paSignerInfo(issuer.algorithm, issuer.chain.encode(), issuer.key, None)
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder(manifest(statement), context) as builder:
            builder.sign(signer, MP4, source, target)
    except c2pa.C2paError as error:
        raise SigningFailed(str(error)) from error


def manifest(statement: Statement) -> dict[str, Any]:
    """Return the manifest's definition, as c2pa takes it."""
    created = {"action": "c2pa.created", "digitalSourceType": VOCABULARY + statement.source}
    actions: list[dict[str, Any]] = [created]
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
    if statement.render_id is not None:
        actions.append({"action": "c2pa.watermarked.bound"})
        block = {"scope": {}, "value": f"{statement.render_id:08x}"}
        assertions.append({"label": "c2pa.soft-binding", "data": {"alg": MARK_ALGORITHM, "blocks": [block]}})
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": statement.version}],
        "title": statement.title,
        "format": MP4,
        "assertions": assertions,
    }


def read_credentials(path: Path, anchors: str = "") -> Credentials | None:
    """Return the credentials that a file carries, or None; `anchors` (PEM) are the authorities that are trusted.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        kind = ARCHIVES.get(head[4:8]) or ARCHIVES.get(head[:4])
        if kind is None:
            return None
        file.seek(0)
        try:
            with c2pa.Reader(kind, file, context=_context(anchors)) as reader:
                return _credentials(json.loads(reader.json()))
        except c2pa.C2paError.ManifestNotFound:
            return None
        except c2pa.C2paError as error:
            return None if str(error).startswith(ELSEWHERE) else DAMAGED
        except (LookupError, TypeError, ValueError, AttributeError):
            return DAMAGED  # the file says what it likes: a list where a table should be


def _context(anchors: str) -> Any:
    trust = {"trust": {"user_anchors": anchors}} if anchors else {}
    return c2pa.Context(c2pa.Settings.from_dict({**OFFLINE, **trust}))


def _credentials(said: dict[str, Any]) -> Credentials:
    active = said["manifests"][said["active_manifest"]]
    signature, generators = active.get("signature_info", {}), active.get("claim_generator_info", [{}])
    failures = [one["code"] for one in said.get("validation_results", {}).get("activeManifest", {}).get("failure", [])]
    problems = dict.fromkeys(TOLD.get(code, code) for code in failures if code != UNKNOWN_SIGNER)
    return Credentials(
        intact=said.get("validation_state") in {"Valid", "Trusted"},
        trusted=said.get("validation_state") == "Trusted",
        signer=signature.get("issuer", ""),
        generator=generators[0].get("name", ""),
        title=active.get("title", ""),
        sources=tuple(_sources(active)),
        render_id=_render_id(active),
        problems=tuple(problems),
    )


def _assertions(active: dict[str, Any], label: str) -> list[dict[str, Any]]:
    return [one["data"] for one in active.get("assertions", []) if one["label"].startswith(label)]


def _sources(active: dict[str, Any]) -> list[str]:
    """Return the digital source types of all actions, without the vocabulary's address."""
    actions = [action for data in _assertions(active, "c2pa.actions") for action in data.get("actions", [])]
    types = [action.get("digitalSourceType", "") for action in actions]
    return list(dict.fromkeys(one.rpartition("/")[2] for one in types if one))


def _render_id(active: dict[str, Any]) -> int | None:
    for data in _assertions(active, "c2pa.soft-binding"):
        if data.get("alg") == MARK_ALGORITHM:
            try:
                return int(data["blocks"][0]["value"], 16)
            except (LookupError, TypeError, ValueError):
                return None
    return None
