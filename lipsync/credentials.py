"""Who signs the Content Credentials: an authority of this server's own, made at the first start, or the operator's.

Certificates follow the profile of C2PA 2.4, clause 14 (trust model): version 3, not self-signed, no authority itself,
key usage digitalSignature, an extended key usage for claims or mail, subject and authority key identifiers.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from lipsync.errors import CertificateUnusable
from lipsync.protocols import Signing

FOLDER = "content-credentials"
AUTHORITY, SIGNER = "authority.pem", "signer.pem"
AUTHORITY_LIFE, SIGNER_LIFE = timedelta(days=7300), timedelta(days=3650)
RENEWED_BEFORE = timedelta(days=1825)
"""A signer is replaced while what it signed can still be checked for this long."""
CLOCKS_DIFFER_BY = timedelta(days=1)
CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
USES = {CLAIM_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION, ObjectIdentifier("1.3.6.1.5.5.7.3.36")}
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
RSA_BITS = 2048
KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----\n?", re.DOTALL)
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Issuer:
    """What signs: `algorithm` in C2PA's words; chain from the signer up, its key, and what is trusted (all PEM)."""

    algorithm: str
    chain: str
    key: bytes
    anchors: str

    def __repr__(self) -> str:
        return f"Issuer({self.algorithm})"


def own_issuer(keys: Path) -> Issuer:
    """Return this server's own issuer from the folder `keys`; make it at the first start, renew it in time.

    Files are 0600, folders 0700. Several processes may start at once. Raises CertificateUnusable.
    """
    folder = keys / FOLDER
    if not folder.is_dir():
        _found(folder)
    try:
        authority_key, authority = _opened(folder / AUTHORITY)
        key, chain = _opened(folder / SIGNER)
        if chain[0].not_valid_after_utc - datetime.now(UTC) < RENEWED_BEFORE:
            key, chain = _renewed(folder, authority_key, authority[0])
    except OSError as error:
        raise CertificateUnusable(f"{folder} cannot be read: {error.strerror}") from error
    return Issuer(_algorithm(key), _pem(chain), _key_pem(key), _pem(authority))


def operator_issuer(certificate: Path, key: Path, anchors: Path | None = None) -> Issuer:
    """Return the operator's: `certificate` with its chain, `key`, and the roots to trust (else the chain's last one).

    Raises CertificateUnusable, with the reason, if credentials signed with it would not be valid anywhere.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate.read_bytes())
        private = _private(key.read_bytes())
        roots = x509.load_pem_x509_certificates(anchors.read_bytes()) if anchors else chain[-1:]
    except (OSError, ValueError) as error:
        raise CertificateUnusable(str(error)) from error
    _check(chain, private)
    sent = [one for one in chain if one.issuer != one.subject]
    return Issuer(_algorithm(private), _pem(sent), _key_pem(private), _pem(roots))


def issuer_for(signing: Signing) -> Issuer:
    """Return the operator's issuer if there is one, else this server's own. Raises CertificateUnusable."""
    if not (signing.certificate or signing.key):
        return own_issuer(signing.keys)
    anchors = Path(signing.anchors) if signing.anchors else None
    return operator_issuer(Path(signing.certificate), Path(signing.key), anchors)


def _found(folder: Path) -> None:
    """Make authority and signer in a folder that appears whole; the first of several processes wins."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(mode=0o700)
    try:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Own authority {x509.random_serial_number() >> 128:08x}")
        authority = _certificate(name, name, key, key, AUTHORITY_LIFE)
        _write(part / AUTHORITY, key, authority)
        _renewed(part, key, authority)
        part.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise CertificateUnusable(f"{folder} cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _renewed(
    folder: Path, authority_key: PrivateKey, authority: x509.Certificate
) -> tuple[PrivateKey, list[x509.Certificate]]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(_name("Signer of composed scenes"), authority.subject, key, authority_key, SIGNER_LIFE)
    part = folder / f".{SIGNER}.{os.getpid()}.part"
    _write(part, key, certificate)
    part.replace(folder / SIGNER)
    return key, [certificate]


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, issuer_key: PrivateKey, life: timedelta
) -> x509.Certificate:
    """Return an authority's certificate where a key certifies itself, else a signer's."""
    authority, now = key is issuer_key, datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - CLOCKS_DIFFER_BY).not_valid_after(now + life)
    builder = builder.add_extension(x509.BasicConstraints(authority, 0 if authority else None), critical=True)
    use = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
    builder = builder.add_extension(use, critical=True)
    if not authority:
        uses = x509.ExtendedKeyUsage([CLAIM_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(uses, critical=False)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(own, critical=False).add_extension(above, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mediaserver, certified by itself")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _check(chain: list[x509.Certificate], key: PrivateKey) -> None:
    """Raise CertificateUnusable if the chain's first certificate may not sign credentials, or does not fit."""
    leaf = chain[0]
    if _public(leaf.public_key()) != _public(key.public_key()):
        raise CertificateUnusable("the key is not that of the first certificate")
    if leaf.issuer == leaf.subject:
        raise CertificateUnusable("the first certificate has signed itself; an authority has to have done so")
    if not leaf.not_valid_before_utc <= datetime.now(UTC) < leaf.not_valid_after_utc:
        raise CertificateUnusable(
            f"it is valid from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        )
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CertificateUnusable(
                "the chain is not in order: each certificate certifies the one before it"
            ) from error
    try:
        signs = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise CertificateUnusable("key usage, extended key usage or authority key identifier is missing") from error
    if not signs or not USES & set(uses):
        raise CertificateUnusable(
            "it is not for signing: it needs digitalSignature, and C2PA signing or emailProtection"
        )


def _algorithm(key: PrivateKey) -> str:
    """Return the algorithm of C2PA 2.4, clause 13 (cryptography), for a key; raises CertificateUnusable."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS:
        return "ps256"
    raise CertificateUnusable("its key is none of P-256, P-384, P-521, Ed25519 and RSA of 2048 bits or more")


def _private(data: bytes) -> PrivateKey:
    found = KEY.search(data)
    key = load_pem_private_key(found[0] if found else data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the key is of a kind that does not sign credentials")
    return key


def _opened(file: Path) -> tuple[PrivateKey, list[x509.Certificate]]:
    data = file.read_bytes()
    try:
        return _private(data), x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise CertificateUnusable(f"{file} is damaged: {error}") from error


def _write(file: Path, key: PrivateKey, certificate: x509.Certificate) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(_key_pem(key) + certificate.public_bytes(Encoding.PEM))
        out.flush()
        os.fsync(out.fileno())


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pem(certificates: list[x509.Certificate]) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]
