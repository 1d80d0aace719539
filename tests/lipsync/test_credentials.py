"""The issuer: made once, kept secret, renewed in time; an operator's certificate is looked at before it is used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from lipsync import credentials
from lipsync.credentials import Issuer, operator_issuer, own_issuer
from lipsync.errors import CertificateUnusable

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def leaf_of(issuer: Issuer) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issuer.chain.encode())


def test_the_first_start_makes_it_and_the_next_one_finds_it(tmp_path: Path):
    first = own_issuer(tmp_path / "keys")
    assert own_issuer(tmp_path / "keys") == first
    assert first.algorithm == "es256"


def test_nobody_else_can_read_the_keys(tmp_path: Path):
    own_issuer(tmp_path / "keys")
    made = list((tmp_path / "keys").rglob("*"))
    assert len(made) == 3
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (*made, tmp_path / "keys") if path.is_dir()} == {0o700}


def test_the_key_is_not_in_what_is_printed(tmp_path: Path):
    issuer = own_issuer(tmp_path)
    assert "PRIVATE" in issuer.key.decode()
    assert "PRIVATE" not in repr(issuer)
    assert "PRIVATE" not in issuer.chain + issuer.anchors


def test_of_many_processes_that_start_at_once_all_have_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pids = iter(range(1000, 1100))
    monkeypatch.setattr(credentials.os, "getpid", lambda: next(pids))
    with ThreadPoolExecutor(8) as pool:
        issuers = list(pool.map(lambda _: own_issuer(tmp_path), range(8)))
    assert len({issuer.chain for issuer in issuers}) == 1
    assert [path.name for path in tmp_path.iterdir()] == [credentials.FOLDER]


def test_the_certificate_has_the_profile_of_a_claim_signer(tmp_path: Path):
    issuer = own_issuer(tmp_path)
    leaf, authority = leaf_of(issuer), x509.load_pem_x509_certificate(issuer.anchors.encode())
    leaf.verify_directly_issued_by(authority)
    of = leaf.extensions.get_extension_for_class
    assert leaf.version is x509.Version.v3
    assert not of(x509.BasicConstraints).value.ca
    assert of(x509.KeyUsage).critical
    assert of(x509.KeyUsage).value.digital_signature
    assert not of(x509.KeyUsage).value.key_cert_sign
    assert credentials.CLAIM_SIGNING in of(x509.ExtendedKeyUsage).value
    own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert of(x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_signer_is_renewed_before_it_ends_and_the_authority_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(credentials, "SIGNER_LIFE", timedelta(days=100))
    old = own_issuer(tmp_path)
    monkeypatch.undo()
    new = own_issuer(tmp_path)
    assert new.chain != old.chain
    assert new.key != old.key
    assert new.anchors == old.anchors
    assert own_issuer(tmp_path) == new


def test_damaged_keys_are_said_to_be_damaged(tmp_path: Path):
    own_issuer(tmp_path)
    (tmp_path / credentials.FOLDER / credentials.SIGNER).write_text("nothing")
    with pytest.raises(CertificateUnusable, match="damaged"):
        own_issuer(tmp_path)


class Authority:
    """An operator's certificate authority, which can do everything wrong."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Film Fund")])
        self.certificate = self.certify(self.name, self.key, authority=True)

    def certify(
        self,
        subject: x509.Name,
        key: Key,
        *,
        authority: bool = False,
        uses: tuple[ObjectIdentifier, ...] = (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
        days: int = 30,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
        usage = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
        extensions = [
            (x509.BasicConstraints(authority, None), True),
            (usage, True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ]
        if uses and not authority:
            extensions.append((x509.ExtendedKeyUsage(uses), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def hand_over(self, folder: Path, key: Key | None = None, **wrong: object) -> tuple[Path, Path]:
        """Write certificate with chain, and key."""
        key = key or ec.generate_private_key(ec.SECP384R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Film House")])
        chain = [self.certify(subject, key, **wrong), self.certificate]  # type: ignore[arg-type]
        (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (folder / "key.pem").write_bytes(private)
        return folder / "chain.pem", folder / "key.pem"


def test_an_operators_certificate_is_taken_with_its_algorithm(tmp_path: Path):
    issuer = operator_issuer(*Authority().hand_over(tmp_path))
    assert issuer.algorithm == "es384"
    assert issuer.chain.count("BEGIN") == 1, "the root is not sent along"
    assert issuer.anchors.count("BEGIN") == 1


def test_an_rsa_key_signs_with_ps256(tmp_path: Path):
    key = rsa.generate_private_key(65537, 2048)
    assert operator_issuer(*Authority().hand_over(tmp_path, key)).algorithm == "ps256"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"uses": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "not for signing"),
        ({"uses": ()}, "missing"),
        ({"days": -1}, "valid from"),
        ({"key": ec.generate_private_key(ec.SECP256K1())}, "none of"),
    ],
    ids=["a web server's", "for nothing", "expired", "another curve"],
)
def test_an_operators_certificate_that_nobody_would_accept_is_refused(
    wrong: dict[str, object], reason: str, tmp_path: Path
):
    with pytest.raises(CertificateUnusable, match=reason):
        operator_issuer(*Authority().hand_over(tmp_path, **wrong))  # type: ignore[arg-type]


def test_a_key_of_something_else_is_refused(tmp_path: Path):
    chain, key = Authority().hand_over(tmp_path)
    other = ec.generate_private_key(ec.SECP384R1())
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(CertificateUnusable, match="not that of"):
        operator_issuer(chain, key)


def test_a_chain_in_the_wrong_order_is_refused(tmp_path: Path):
    chain, key = Authority().hand_over(tmp_path)
    stranger = Authority().certificate.public_bytes(Encoding.PEM)
    leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    chain.write_bytes(leaf.public_bytes(Encoding.PEM) + stranger)
    with pytest.raises(CertificateUnusable, match="not in order"):
        operator_issuer(chain, key)


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_refused(content: bytes, tmp_path: Path):
    chain, key = Authority().hand_over(tmp_path)
    chain.write_bytes(content)
    with pytest.raises(CertificateUnusable):
        operator_issuer(chain, key)
    with pytest.raises(CertificateUnusable):
        operator_issuer(tmp_path / "missing.pem", key)
