"""What lies in state/ is the server's alone: folders 0700, files 0600."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

TAG = "CACHEDIR.TAG"


def private_folder(path: Path) -> Path:
    """Make the folder, and its parents, for the owner alone."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def not_to_be_kept(folder: Path) -> Path:
    """Tag the folder, so that programs for backups pass it by (Cache Directory Tagging Specification)."""
    (folder / TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n", "utf-8")
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """Write a file for the owner alone, whole or not at all."""
    part = path.with_name(path.name + ".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    part.rename(path)


def private_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the file's bytes; the first time, write those of `make` for the owner alone, whole or not at all."""
    if not path.exists():
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    return path.read_bytes()
