from __future__ import annotations

import datetime
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mediaserver.address import tls_context
from mediaserver.errors import SettingsError
from mediaserver.settings import Settings
from tests.mediaserver.house import furnish
from tests.mediaserver.wire import BrokenAnswer, Wire, connected

LONG_BYTES = 24_000_000
FILM = b"GET /part2/v1/video_1080p_h264.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def certified(folder: Path) -> dict[str, str]:
    """Write a certificate for localhost, signed by itself, and return the settings that name it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    no_pass = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (folder / "tls.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "tls.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_pass))
    return {"tls_certificate": str(folder / "tls.pem"), "tls_key": str(folder / "tls.key")}


@contextmanager
def serving(root: Path, **settings: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the server in a process of its own over root/media and give its port."""
    code = (
        "from pathlib import Path\n"
        "from mediaserver.app import serve\n"
        "from mediaserver.settings import Settings\n"
        "folders = {name: Path(name) for name in ('raw', 'media', 'state')}\n"
        f"settings = Settings(**folders, port=0, admin_port=0, **{settings!r})\n"
        "serve(settings, watch=False, ready=lambda found: print(found.main, flush=True))\n"
    )
    process = subprocess.Popen(
        (sys.executable, "-c", code),
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, ready(process)
    finally:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> int:
    """Wait until the server says its address and return its port."""
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("http"), process.communicate(timeout=20)
    return int(line.rsplit(":", 1)[1].strip("/\n"))


def test_a_certificate_is_served_and_every_byte_comes_through(tmp_path: Path):
    film = furnish(tmp_path, LONG_BYTES)
    names = certified(tmp_path)
    with serving(tmp_path, **names) as (_, port):
        trust = ssl.create_default_context(cafile=names["tls_certificate"])
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(FILM.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            with secure.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == film


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_a_certificate_that_is_none_is_said_to_be_none(tmp_path: Path, content: str):
    (tmp_path / "tls.pem").write_text(content)
    with pytest.raises(SettingsError, match=r"tls\.pem"):
        tls_context(Settings(tls_certificate=str(tmp_path / "tls.pem"), tls_key=str(tmp_path / "tls.pem")))


@pytest.mark.parametrize("fast", [True, False])
def test_told_to_stop_the_server_finishes_the_body_under_way(tmp_path: Path, fast: bool):
    film = furnish(tmp_path, LONG_BYTES)
    with serving(tmp_path, fast_path=fast) as (process, port):
        with connected("127.0.0.1", port, receive_bytes=4096) as wire:
            wire.write(FILM)
            first = wire.exactly(100_000)
            process.send_signal(signal.SIGTERM)
            until_refused(port)
            rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 100_000)
            assert (first + rest).partition(b"\r\n\r\n")[2] == film
            assert wire.ended()
        assert process.wait(20) == 0


def until_refused(port: int) -> None:
    """Wait until nobody listens any more; the test's own time-out ends a vain wait."""
    while True:
        try:
            Wire("127.0.0.1", port).close()
        except ConnectionResetError:
            # it waited to be accepted when the socket was closed
            continue
        except ConnectionRefusedError:
            return


def test_begun_anew_the_server_refuses_nobody_and_breaks_nothing_off(tmp_path: Path):
    film = furnish(tmp_path, LONG_BYTES)
    with serving(tmp_path) as (process, port):
        with keep_asking_while(port) as found:
            with connected("127.0.0.1", port, receive_bytes=4096) as wire:
                wire.write(FILM)
                first = wire.exactly(100_000)
                process.send_signal(signal.SIGHUP)
                rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 100_000)
                assert (first + rest).partition(b"\r\n\r\n")[2] == film
            assert ready(process) == port
            asked = len(found)
            while len(found) < asked + 3:
                time.sleep(0.01)
        assert set(found) == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@contextmanager
def keep_asking_while(port: int) -> Iterator[list[int]]:
    """Ask all the time until the block ends; give what is found so far."""
    found: list[int] = []
    stop = threading.Event()
    asking = threading.Thread(target=keep_asking, args=(port, found, stop))
    asking.start()
    try:
        yield found
    finally:
        stop.set()
        asking.join()


def keep_asking(port: int, found: list[int], stop: threading.Event) -> None:
    """Open connection after connection; what is not to be ends up in `found`.

    A connection may be closed before anything is answered: then a client asks again (RFC 9112, 9.3.1). It may not be
    refused.
    """
    while not stop.is_set():
        try:
            with connected("127.0.0.1", port) as wire:
                wire.write(HEALTH)
                found.append(wire.answer().status)
        except BrokenAnswer as broken:
            if str(broken) != "the connection was closed":
                found.append(0)
        except OSError:
            found.append(-1)
