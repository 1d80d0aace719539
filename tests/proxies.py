"""Finds the reverse proxies whose recipes are tested; run as a program it says what to type where one is missing."""

from __future__ import annotations

import shutil


def find(name: str) -> str:
    """Return the path of nginx or caddy; raises SystemExit with a sentence if there is none."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(
            f"{name} is missing, and its recipe in deploy/ cannot be tested: apt-get install {_DEBIAN[name]}"
        )
    return found


_DEBIAN = {"nginx": "nginx-light", "caddy": "caddy"}


if __name__ == "__main__":
    print(find("nginx"), find("caddy"))
