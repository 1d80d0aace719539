"""Other servers over the same folder of files: nginx, Express, Caddy and aiohttp's own FileResponse.

Packages for the benchmarks alone: `apt-get install nginx-light wrk`; Express comes from npm into a temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from encoder.tools import open_tool, run_tool

EXPRESS = "express@5"
_NGINX = """
worker_processes {workers};
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
daemon off;
events {{ worker_connections 8192; }}
http {{
  types {{ video/mp4 mp4; application/dash+xml mpd; application/vnd.apple.mpegurl m3u8; video/iso.segment m4s; }}
  default_type application/octet-stream;
  access_log off;
  sendfile on; tcp_nodelay on;
  keepalive_timeout 300; keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s; open_file_cache_min_uses 1;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {root};
    add_header Cache-Control "public, max-age=31536000, immutable";
    add_header Access-Control-Allow-Origin "*";
  }}
}}
"""
_EXPRESS = """
const express = require("express")
const app = express()
app.disable("x-powered-by")
const setHeaders = response => response.set("Access-Control-Allow-Origin", "*")
app.use(express.static(process.argv[2], {maxAge: "1y", immutable: true, setHeaders}))
app.listen(Number(process.argv[3]), "127.0.0.1")
"""
_AIOHTTP = """
import sys
from aiohttp import web
app = web.Application()
app.router.add_static("/", sys.argv[1])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)
"""


@dataclass(frozen=True, slots=True)
class Rival:
    """A running server; `pids` are all its processes."""

    name: str
    port: int
    pid: int

    @property
    def pids(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            found += [int(child) for child in children.read_text("ascii").split()] if children.exists() else []
        return found

    def cpu_s(self) -> float:
        """Seconds of processor time that all threads of its processes have used, to the nanosecond (proc(5))."""
        tasks = [task for pid in self.pids for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text("ascii").split()[0]) for task in tasks) / 1e9

    def memory_kb(self) -> int:
        lines = [Path(f"/proc/{pid}/smaps_rollup").read_text("ascii") for pid in self.pids]
        return sum(int(text.partition("Pss:")[2].split()[0]) for text in lines)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def pinned(core: str | None) -> tuple[str, ...]:
    """Return the words before a command that keep it on some cores."""
    return ("taskset", "-c", core) if core and shutil.which("taskset") else ()


@contextmanager
def started(name: str, command: tuple[str, ...], port: int) -> Iterator[Rival]:
    """Run a server until the block ends; it must answer within 20 s."""
    with open_tool(command) as child:
        for _ in range(400):
            if child.process.poll() is not None:
                child.check()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Rival(name, port, child.process.pid)


@contextmanager
def nginx(root: Path, folder: Path, *, core: str | None = None, workers: int = 1) -> Iterator[Rival]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, root=root, port=port, workers=workers), "ascii")
    # its workers are of another user, who must get through to the files
    for path in (root, *root.parents[:-1], folder):
        if os.access(path, os.W_OK) and path.stat().st_uid == os.getuid():
            path.chmod(path.stat().st_mode | 0o011)
    with started("nginx", (*pinned(core), "nginx", "-p", str(folder), "-c", str(config)), port) as rival:
        yield rival


@contextmanager
def express(root: Path, folder: Path, *, core: str | None = None) -> Iterator[Rival]:
    if not (folder / "node_modules" / "express").is_dir():
        (folder / "package.json").write_text(json.dumps({"private": True}), "ascii")
        run_tool(("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), EXPRESS))
    script, port = folder / "server.js", free_port()
    script.write_text(_EXPRESS, "ascii")
    with started("Express", (*pinned(core), "node", str(script), str(root), str(port)), port) as rival:
        yield rival


@contextmanager
def stock_aiohttp(root: Path, *, core: str | None = None) -> Iterator[Rival]:
    port = free_port()
    with started("aiohttp", (*pinned(core), sys.executable, "-c", _AIOHTTP, str(root), str(port)), port) as rival:
        yield rival


@contextmanager
def caddy(root: Path, *, core: str | None = None) -> Iterator[Rival]:
    port = free_port()
    command = ("caddy", "file-server", "--root", str(root), "--listen", f"127.0.0.1:{port}")
    with started("Caddy", (*pinned(core), *command), port) as rival:
        yield rival
