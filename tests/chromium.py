"""Finds the browser of the browser tests: $CHROMIUM, else Debian's `chromium`, else Playwright's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

HINT = "no Chromium for the browser tests; type: sudo apt-get install -y chromium"


def find() -> str:
    """Return the path of the first browser that starts; exits with the line to type where none does."""
    for candidate in candidates():
        if starts(candidate):
            return candidate
    raise SystemExit(f"error: {HINT}")


def candidates() -> Iterator[str]:
    if named := os.environ.get("CHROMIUM"):
        yield named
        return
    if installed := shutil.which("chromium"):
        yield installed
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    yield own


def starts(path: str) -> bool:
    """Ubuntu's `chromium` is a wrapper that only says how to install a snap, so being there is not enough."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.returncode == 0 and b"Chrom" in said.stdout


if __name__ == "__main__":
    sys.stdout.write(find() + "\n")
