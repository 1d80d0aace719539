from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoder.tools import run_tool
from mediaserver.address import listen
from mediaserver.errors import AddressUnusable, PortTaken


def test_the_server_is_imported_without_what_only_training_needs():
    heavy = "{'torch', 'librosa', 'scipy', 'cv2', 'numpy', 'dbos', 'mediaserver.jobs', 'lipsync.worker'}"
    code = f"import sys, mediaserver.app; print(*sorted({heavy} & set(sys.modules)))"
    assert run_tool((sys.executable, "-c", code)).split() == []


def test_a_taken_port_names_the_flag_and_another_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            listen("127.0.0.1", port)
    assert str(port) in str(caught.value)
    assert "--port" in caught.value.hint


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_machine_is_said_to_be_none(host: str):
    with pytest.raises(AddressUnusable):
        listen(host, 0)


@contextmanager
def serving(tmp_path: Path, *, admin_port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the server in a process of its own, as `mediaserver serve` does, and give its main address."""
    (tmp_path / "media").mkdir(exist_ok=True)
    code = (
        "from pathlib import Path\n"
        "from mediaserver.app import serve\n"
        "from mediaserver.settings import Settings\n"
        "folders = {name: Path(name) for name in ('raw', 'media', 'state')}\n"
        f"settings = Settings(**folders, port=0, admin_port={admin_port})\n"
        "serve(settings, watch=False, ready=lambda found: print(found.main, found.admin, flush=True))\n"
        "print('stopped')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        (sys.executable, "-c", code),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        first = process.stdout.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+/) (\S+)", first)
        assert found, process.communicate(timeout=10)
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def test_the_server_ends_by_itself_when_it_is_told_to(tmp_path: Path):
    with serving(tmp_path) as (process, addresses):
        main, admin = addresses.split()
        with urllib.request.urlopen(main + "healthz") as answer:
            assert json.load(answer) == {"status": "ok"}
        with urllib.request.urlopen(admin + "metrics") as answer:
            assert b"mediaserver_sessions 0" in answer.read()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "stopped\n")
    assert "Traceback" not in err


def test_a_taken_admin_port_is_a_warning_and_no_refusal(tmp_path: Path):
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, serving(tmp_path, admin_port=taken.getsockname()[1]) as (process, addresses):
        main, admin = addresses.split()
        assert admin == "None"
        with urllib.request.urlopen(main + "healthz") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert "--admin-port" in err


def test_no_photo_can_reach_the_disk_in_a_core_dump(tmp_path: Path):
    with serving(tmp_path) as (process, _):
        limits = Path(f"/proc/{process.pid}/limits").read_text("utf-8")
    assert re.search(r"Max core file size\s+0 ", limits)


def test_figures_cannot_be_had_through_the_main_address(tmp_path: Path):
    with serving(tmp_path) as (_, addresses), pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(addresses.split()[0] + "metrics")
    assert refused.value.code == 404
    refused.value.close()
