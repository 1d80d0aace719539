"""The recipes in deploy/, run for real before a real server."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import proxies
from tests.mediaserver.house import furnish, housed
from tests.mediaserver.test_address import certified

DEPLOY = Path(__file__).parents[1] / "deploy"
HOST = "film.example"
FILM = "/part2/v1/video_1080p_h264.mp4"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def get(port: int, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Ask over TLS, whatever the certificate says."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    head = "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", "Connection: close", *lines, "", ""))
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as wire,
        wire.makefile("rb") as answer,
    ):
        wire.sendall(head.encode() + body)
        whole = answer.read()
    told, _, sent = whole.partition(b"\r\n\r\n")
    first, *rest = told.decode("latin-1").split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}, sent


def until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a proxy to start; the test's own time-out ends a vain wait."""
    while True:
        assert process.poll() is None, log.read_text("utf-8")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def rewritten(recipe: str, *changes: tuple[str, str]) -> str:
    """Return a recipe for this machine; everything that is changed must stand in it."""
    text = (DEPLOY / recipe).read_text("utf-8")
    for written, here in changes:
        assert written in text
        text = text.replace(written, here)
    return text


def nginx(folder: Path, behind: int, secure: int) -> tuple[str, ...]:
    """Write the recipe with other ports, paths and certificate; return the command that runs it."""
    names = certified(folder)
    recipe = rewritten(
        "nginx.conf",
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
        ("listen 443 ssl", f"listen 127.0.0.1:{secure} ssl"),
        ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
        ("/etc/ssl/film.example.pem", names["tls_certificate"]),
        ("/etc/ssl/film.example.key", names["tls_key"]),
        ("/var/log/nginx", str(folder)),
    )
    recipe = re.sub(r"(?m)^ *listen \[::\].*\n", "", recipe)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(f"daemon off; pid {folder}/pid; events {{}}\nhttp {{ {places}\n{recipe}\n}}\n", "utf-8")
    return (proxies.find("nginx"), "-p", str(folder), "-e", str(folder / "start.log"), "-c", str(config))


def caddy(folder: Path, behind: int, secure: int) -> tuple[str, ...]:
    """The same for Caddy, which would otherwise fetch a certificate and listen on the well-known ports."""
    names = certified(folder)
    recipe = rewritten(
        "Caddyfile",
        ("film.example {", f"https://film.example:{secure} {{\n\ttls {names['tls_certificate']} {names['tls_key']}"),
        ("127.0.0.1:8080", f"127.0.0.1:{behind}"),
        ("/var/log/caddy", str(folder)),
    )
    config = folder / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{recipe}", "utf-8")
    # its own data belongs here, too, not into somebody's home
    here = ("env", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}")
    return (*here, proxies.find("caddy"), "run", "--config", str(config), "--adapter", "caddyfile")


@contextmanager
def running(command: tuple[str, ...], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            until_it_listens(port, process, log)
            yield
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(params=[nginx, caddy])
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, bytes, Path]]:
    """A server behind a proxy: the port of its TLS, the film, and the folder of the logs."""
    film, secure = furnish(tmp_path), free_port()
    folder = tmp_path / "proxy"
    folder.mkdir()
    with housed(tmp_path, allowed_hosts=(HOST,), trusted_proxies=("127.0.0.1",)) as house:
        try:
            command = request.param(folder, house.port, secure)
        except SystemExit as missing:
            pytest.fail(str(missing))
        with running(command, secure, folder / "output.txt"):
            yield secure, film, folder


def test_behind_a_proxy_files_ranges_and_conditions_come_through(proxied: tuple[int, bytes, Path]):
    port, film, _ = proxied
    status, fields, sent = get(port, FILM)
    assert (status, sent) == (200, film)
    status, ranged, sent = get(port, FILM, "Range: bytes=100-299", f"If-Range: {fields['etag']}")
    assert (status, ranged["content-range"], sent) == (206, f"bytes 100-299/{len(film)}", film[100:300])
    assert get(port, FILM, f"If-None-Match: {fields['etag']}")[0] == 304
    assert not re.search(r"[0-9]", fields["server"])


def test_a_proxy_speaks_http_2_and_caddy_offers_http_3(proxied: tuple[int, bytes, Path]):
    port, _, folder = proxied
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as wire,
    ):
        assert wire.selected_alpn_protocol() == "h2"
    if (folder / "Caddyfile").exists():
        assert get(port, "/healthz")[1]["alt-svc"].startswith("h3=")


def test_behind_a_proxy_a_session_works_and_no_log_names_it(proxied: tuple[int, bytes, Path]):
    port, _, folder = proxied
    consent = json.loads(get(port, "/consent", "Accept-Encoding: identity")[2])
    agreed = json.dumps({"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}).encode()
    kind, length = "Content-Type: application/json", f"Content-Length: {len(agreed)}"
    status, _, sent = get(port, "/sessions", kind, length, method="POST", body=agreed)
    assert status == 201
    session = json.loads(sent)["session"]
    secret = session.split("/")[2]
    referer = f"Referer: https://{HOST}{session}"
    assert get(port, f"{session}part2/stream.mpd?CMCD=sid%3D%22mine%22", referer)[0] == 200
    assert get(port, session, method="DELETE")[0] == 204
    assert get(port, session)[0] == 410
    log = folder / "mediaserver.log"
    while log.read_text("utf-8").count("\n") < 5:
        time.sleep(0.02)
    written = "".join(path.read_text("utf-8") for path in (*folder.glob("*.log"), folder / "output.txt"))
    assert secret not in written
    assert "mine" not in written
    assert "/s/.../part2/stream.mpd" in written


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_every_recipe_hides_viewers_addresses_and_names_the_settings_it_needs(name: str):
    recipe = (DEPLOY / name).read_text("utf-8")
    assert "/s/..." in recipe
    assert 'allowed_hosts = ["film.example"]' in recipe
    assert 'trusted_proxies = ["127.0.0.1"]' in recipe
