"""A PostgreSQL of the tests' own: Debian's programs, a folder that goes afterwards, loopback only."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = "PostgreSQL was not found. Install it: apt-get install postgresql"


def programs() -> Path:
    """Return the folder of initdb and pg_ctl; raises FileNotFoundError with what to do."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    raise FileNotFoundError(MISSING)


def _as_owner() -> list[str]:
    """PostgreSQL refuses to be run by root."""
    return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


@contextmanager
def cluster() -> Iterator[str]:
    """Run a new cluster and give the address of its database."""
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    data, control = folder / "data", str(programs() / "pg_ctl")
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    try:
        _run(
            [str(programs() / "initdb"), "-D", str(data), "-A", "trust", "-U", "film", "-E", "UTF8", "--no-sync"],
            folder,
        )
        _run([control, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start"], folder)
        yield f"postgresql://film@127.0.0.1:{port}/postgres"
    finally:
        if data.exists():
            subprocess.run(
                [*_as_owner(), control, "-D", str(data), "-m", "immediate", "stop"], cwd=folder, capture_output=True
            )
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    """Its output goes to a file: the server keeps the descriptor, and a pipe would never end."""
    with (folder.parent / f"{folder.name}.out").open("w+") as out:
        Path(out.name).unlink()
        done = subprocess.run([*_as_owner(), *command], cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        out.seek(0)
        assert done.returncode == 0, out.read()


if __name__ == "__main__":
    try:
        print(programs())
    except FileNotFoundError as missing:
        sys.exit(str(missing))
