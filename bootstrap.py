"""Makes a virtual environment with pip, also where Python comes without ensurepip (Debian without python3-venv).

Only the standard library is used: `python3 bootstrap.py .venv`. Where ensurepip is missing, pip's own pinned wheel is
looked for in the places that pip itself is configured to use, and the SHA-256 below decides whether it is taken.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html
import os
import re
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

WHEEL = "pip-26.3-py3-none-any.whl"
SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
PYPI = "https://pypi.org/simple"


def main(folder: Path) -> None:
    """Leave a working environment in `folder`; do nothing if one is there."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file must say so before anything else can
        sys.exit(
            f"error: Python 3.11 or newer is needed; this is {sys.version.split()[0]}\nhint: make PYTHON=python3.12"
        )
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        # the jobs' engine asks SQLite for unixepoch('subsec') from Python 3.12 on
        sys.exit(
            f"error: Python {sys.version.split()[0]} here uses SQLite {sqlite3.sqlite_version}, which is too old for it"
            "\nhint: take the system's own Python: make PYTHON=/usr/bin/python3"
        )
    python = folder / "bin" / "python"
    if works(python):
        return
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        sys.exit(f"error: {folder} is not empty and not a virtual environment\nhint: name a new folder")
    with_pip = has_ensurepip()
    print(f"creating {folder} with Python {sys.version.split()[0]}", flush=True)
    venv.create(folder, with_pip=with_pip, symlinks=True, clear=folder.exists())
    if not with_pip:
        install_pip(python)
    if not works(python):
        sys.exit(f"error: pip does not run in {folder}\nhint: remove the folder, install python3-venv, and try again")


def works(python: Path) -> bool:
    """Say whether this interpreter exists and has a pip."""
    if not python.exists():
        return False
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def has_ensurepip() -> bool:
    try:
        import ensurepip  # noqa: F401, PLC0415 - its absence is what is asked
    except ImportError:
        return False
    return True


def install_pip(python: Path) -> None:
    """Fetch pip's wheel and let it install itself."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / WHEEL
        wheel.write_bytes(fetch_wheel())
        subprocess.run([python, wheel / "pip", "install", "--no-index", "--no-deps", "--quiet", wheel], check=True)


def fetch_wheel() -> bytes:
    """Return the pinned wheel from the first configured place that has it; exits with a sentence if none does."""
    reasons = []
    for place in places(pip_settings()):
        try:
            for url in links(place):
                data = read(url)
                if hashlib.sha256(data).hexdigest() == SHA256:
                    print(f"pip is missing here: took {WHEEL} from {shown(place)}", flush=True)
                    return data
                reasons.append(f"{shown(place)}: other bytes than expected")
        except (OSError, ValueError) as error:
            reasons.append(f"{shown(place)}: {error}")
    print("\n".join(reasons), file=sys.stderr)
    sys.exit(f"error: {WHEEL} was found nowhere\nhint: apt-get install python3-venv, or set PIP_INDEX_URL")


def pip_settings() -> dict[str, str]:
    """Return what pip is told by its files and its environment, the later one winning as in pip."""
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf"]
    files.append(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "pip/pip.conf")
    files.append(Path.home() / "Library/Application Support/pip/pip.conf")
    if named := os.environ.get("PIP_CONFIG_FILE"):
        files = [*files, Path(named)] if named != os.devnull else []
    parser = configparser.RawConfigParser(strict=False)
    parser.read(files, encoding="utf-8")
    found = {}
    for section in ("global", "install"):
        found.update(
            {key.replace("_", "-"): value for key, value in parser[section].items()} if section in parser else {}
        )
    found.update({key[4:].lower().replace("_", "-"): value for key, value in os.environ.items() if key[:4] == "PIP_"})
    return found


def places(settings: dict[str, str]) -> Iterator[str]:
    """Yield the pages and folders on which a link to the wheel may stand."""
    yield from settings.get("find-links", "").split()
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return
    for index in (settings.get("index-url", PYPI), *settings.get("extra-index-url", "").split()):
        yield index.rstrip("/") + "/pip/"


def links(place: str) -> list[str]:
    """Return the addresses of the wheel on a page (simple index, HTML) or in a folder."""
    path = Path(urllib.parse.unquote(urllib.parse.urlsplit(place).path)) if place.startswith("file:") else Path(place)
    if not place.startswith(("http:", "https:")):
        if (path / WHEEL).is_file():
            return [(path / WHEEL).as_uri()]
        page = path / "index.html" if path.is_dir() else path
        if not page.is_file():
            return []
        place = page.absolute().as_uri()
    text = read(place).decode("utf-8", "replace")
    hrefs = [html.unescape(href) for href in re.findall(r"""href=["']([^"']+)""", text)]
    return [urllib.parse.urljoin(place, href) for href in hrefs if href.partition("#")[0].endswith("/" + WHEEL)]


def read(url: str) -> bytes:
    """Return the bytes of a URL; name and password inside it are sent as pip would send them."""
    parts = urllib.parse.urlsplit(url.partition("#")[0])
    headers = {"Accept": "text/html, */*;q=0.1"}
    if parts.username:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    context = ssl.create_default_context(cafile=pip_settings().get("cert") or None)
    request = urllib.request.Request(parts.geturl(), headers=headers)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return bytes(answer.read())


def shown(place: str) -> str:
    """Return a place without the name and password that it may carry."""
    return re.sub(r"//[^/@]*@", "//", place)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
