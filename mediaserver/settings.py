"""The one tree of settings: defaults < mediaserver.toml < MEDIASERVER_* < flags."""

from __future__ import annotations

import dataclasses
import difflib
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from lipsync.protocols import EngineName, Signing
from mediaserver.errors import SettingsError

FILE = "mediaserver.toml"
PREFIX = "MEDIASERVER_"
NOT_SETTINGS = frozenset({"MEDIASERVER_CACHE", "MEDIASERVER_CONFIG"})


def _setting(default: Any, help: str, least: float | None = None, most: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class Consent:
    """What the consent text says of this installation: table [consent]."""

    controller: str = _setting("", "who is responsible for the viewers' data; needed for a public address")
    contact: str = _setting("", "where a viewer can reach them: a mail or web address; needed for a public address")
    purpose: str = _setting(
        "to show your own face in one scene of this film, to you alone", "what the photo is used for"
    )
    retention_h: int = _setting(24, "hours after which everything of a viewer is deleted at the latest", 1, 24)
    withdrawal: str = _setting(
        'press "Delete everything of mine" at any time; it works at once and needs no reason',
        "how a viewer takes the consent back",
    )
    age: int = _setting(16, "age from which a viewer agrees without a guardian", 13, 21)

    def missing(self) -> list[str]:
        """Return the keys that a consent cannot do without and that are empty."""
        needed = ("controller", "contact", "purpose", "withdrawal")
        return [f"consent.{key}" for key in needed if not getattr(self, key).strip()]


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting once; its help text is that of the flags, of `mediaserver config` and of the README."""

    raw: Path = _setting(Path("raw"), "folder of the masters and their sidecar files")
    media: Path = _setting(Path("media"), "folder of the published chapters")
    state: Path = _setting(Path("state"), "folder of jobs, sessions, keys and inserts; never served as files")
    host: str = _setting("127.0.0.1", "address on which viewers are served; 0.0.0.0 for the network")
    port: int = _setting(8080, "port on which viewers are served; 0 takes any free one", 0, 65535)
    admin_port: int = _setting(9090, "port of metrics, on 127.0.0.1 only; 0 takes any free one", 0, 65535)
    workers: int = _setting(
        1, "processes that send published files; more than 1 stand beside the one that does all else", 1, 64
    )
    cors_origins: tuple[str, ...] = _setting(("*",), "origins whose pages may read streams and sessions")
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        'names that viewers call the server by, besides this machine\'s own; ".film.example" is all below, "*" is any',
    )
    trusted_proxies: tuple[str, ...] = _setting((), "addresses or networks whose X-Forwarded-For is believed")
    tls_certificate: str = _setting("", "file of the TLS certificate with its chain, in PEM; without it HTTP is served")
    tls_key: str = _setting("", "file of the key to tls_certificate, in PEM")
    fast_path: bool = _setting(True, "whether published files are sent past the web framework where that is exact")
    access_log: str = _setting("off", "form of the line that is written for every answer: off, combined or json")
    connections_max: int = _setting(8192, "connections at once; more are answered with 503", 1, 1_000_000)
    keepalive_s: float = _setting(75.0, "seconds for which an idle connection is kept", 0.1, 3600)
    head_timeout_s: float = _setting(15.0, "seconds in which the head of a request must have arrived", 0.1, 600)
    stall_s: float = _setting(
        180.0, "seconds after which a client that takes nothing of its answer is dropped", 1, 3600
    )
    ladder: str = _setting(
        "title", 'how qualities of pictures are chosen: "title" for each film, "film" for fixed 8, 5 and 2.5 Mb/s'
    )
    av1: bool = _setting(True, "whether every picture is encoded in AV1, too")
    hevc: bool = _setting(False, "whether every picture is encoded in HEVC, too; it needs patent licences")
    loudness: bool = _setting(False, "whether every sound is brought to the loudness of EBU R128")
    settle_s: float = _setting(2.0, "seconds for which a master must not change before it is taken", 0.1, 3600)
    poll_s: float = _setting(1.0, "seconds between two looks at raw/ while masters settle", 0.05, 60)
    chunk_s: float = _setting(60.0, "seconds of film that are encoded as one piece; shorter than two is one", 1, 3600)
    encoders: int = _setting(0, "pieces of a long film that are encoded at once; 0 is one for every 8 cores", 0, 64)
    encoder_stall_s: float = _setting(60.0, "seconds without progress after which ffmpeg is taken to hang", 0.5, 3600)
    disk_floor_mb: int = _setting(500, "megabytes on the disk of media/ that encodes leave free", 0, 10_000_000)
    jobs_database: str = _setting(
        "", "postgresql://... for jobs on many machines that share raw/ and media/; empty is a file in state/"
    )
    jobs_silent_s: float = _setting(
        15.0, "seconds without a sign of life after which another machine takes over jobs", 1, 600
    )
    job_webhook: str = _setting("", "address that is sent every change of a job's state as JSON, by POST")
    job_command: str = _setting("", "command that is run at every change of a job's state, with JSON on its input")
    job_hook_timeout_s: float = _setting(10.0, "seconds that webhook and command have for one change", 0.1, 600)
    session_idle_h: float = _setting(2.0, "hours without a request after which a session is deleted", 0.001, 24)
    session_max_h: float = _setting(24.0, "hours after which a session is deleted in any case", 0.001, 24)
    photo_max_bytes: int = _setting(12 * 1024 * 1024, "largest photo that is taken", 1024, 256 * 1024 * 1024)
    photo_file_input: bool = _setting(False, "whether the viewer's page offers to choose a picture file, too")
    deadline_s: float = _setting(
        2.0, "seconds a segment may wait for its insert when the player names no deadline", 0, 5
    )
    deadline_max_s: float = _setting(5.0, "seconds a segment never waits beyond, whatever the player says", 0, 8)
    face_worker_mb: int = _setting(
        512,
        "megabytes of memory that a process may hold which looks at photos or renders; above, it is ended",
        64,
        65_536,
    )
    queue_limit: int = _setting(32, "viewers that may wait for their scene at once", 1, 10_000)
    film_client: str = _setting(
        "",
        "how the client of an existing film asks for consent; while it is empty, /add-video and /video are shut",
    )
    film_slot: str = _setting("", 'what that client gets, as "chapter/slot"; empty is the first slot that is published')
    verify_max_bytes: int = _setting(200_000_000, "largest video that /verify looks at", 1024, 10_000_000_000)
    signing_certificate: str = _setting(
        "",
        "file of the certificate that signs finished scenes, with its chain, in PEM; empty is an authority of our own",
    )
    signing_key: str = _setting("", "file of the key to signing_certificate, in PEM")
    signing_anchors: str = _setting("", "file of the root certificates that are trusted, in PEM; empty is the chain's")
    label_text: str = _setting("", 'words of the visible label; empty is "AI" in the viewer\'s language')
    engine: str = _setting("drawn", "what lets faces speak: drawn, or wav2lip on a checkpoint that you have converted")
    life: bool = _setting(True, "whether faces in slots blink and their heads sway a little, where the slot allows it")
    label_place: str = _setting("top-right", "corner of the face in which the label stands")
    visits_per_minute: float = _setting(
        60.0, "sessions and photos a minute that are taken from one address; 0 sets no limit", 0, 1_000_000
    )
    consent: Consent = field(default_factory=Consent)

    @property
    def engine_name(self) -> EngineName:
        """What lets faces speak."""
        return cast(EngineName, self.engine)

    @property
    def signing(self) -> Signing:
        """Who signs finished files."""
        operators = (self.signing_certificate, self.signing_key, self.signing_anchors)
        return Signing(self.state / "keys", *operators)


@dataclass(frozen=True, slots=True)
class Effective:
    """Settings with the origin of every value, by dotted key: "default", a file, a variable or a flag."""

    settings: Settings
    origins: Mapping[str, str]


def keys() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield every dotted key with its field, in the order of the tree."""
    for top in dataclasses.fields(Settings):
        if top.name == "consent":
            yield from ((f"consent.{inner.name}", inner) for inner in dataclasses.fields(Consent))
        else:
            yield top.name, top


def load_settings(
    config: Path | None = None, *, env: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Effective:
    """Merge the four sources; `flags` holds dotted keys, None meaning "not given".

    Without `config` the file of MEDIASERVER_CONFIG is read, else `mediaserver.toml` here if there is one.
    Paths inside a file are relative to the file. Raises SettingsError.
    """
    env = os.environ if env is None else env
    values: dict[str, Any] = {}
    origins = {key: "default" for key, _ in keys()}
    for origin, given in (*_from_file(config, env), *_from_env(env), *_from_flags(flags or {})):
        for key, value in given.items():
            values[key], origins[key] = value, origin
    return Effective(_build(values), origins)


def value_of(settings: Settings, key: str) -> Any:
    """Return the value of a dotted key."""
    outer, _, inner = key.partition(".")
    return getattr(settings.consent, inner) if inner else getattr(settings, outer)


def restored(values: Mapping[str, Any]) -> Settings:
    """Return settings from all their values by dotted key, as another process has sent them."""
    return _build({key: _checked(key, value, "the other process") for key, value in values.items()})


def _build(values: Mapping[str, Any]) -> Settings:
    inner = {key.partition(".")[2]: value for key, value in values.items() if "." in key}
    outer = {key: value for key, value in values.items() if "." not in key}
    settings = Settings(**outer, consent=Consent(**inner))
    if settings.ladder not in ("title", "film"):
        raise SettingsError(f"ladder = {settings.ladder!r}: it is one of title and film.")
    if settings.engine not in get_args(EngineName):
        raise SettingsError(f"engine = {settings.engine!r}: it is one of {' and '.join(get_args(EngineName))}.")
    if settings.access_log not in ("off", "combined", "json"):
        raise SettingsError(f"access_log = {settings.access_log!r}: it is one of off, combined and json.")
    if settings.jobs_database and not settings.jobs_database.startswith(("postgresql://", "postgresql+psycopg://")):
        raise SettingsError("jobs_database must begin with postgresql://, or be empty for a file in state/.")
    if settings.job_webhook and not settings.job_webhook.startswith(("http://", "https://")):
        raise SettingsError("job_webhook must begin with http:// or https://, or be empty.")
    try:
        shlex.split(settings.job_command)
    except ValueError as error:
        raise SettingsError(f"job_command = {settings.job_command!r} cannot be split into words: {error}.") from None
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsError("tls_certificate and tls_key belong together: one of them is missing.")
    return settings


def _from_file(config: Path | None, env: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    named = config or (Path(env["MEDIASERVER_CONFIG"]) if env.get("MEDIASERVER_CONFIG") else None)
    path = named or Path(FILE)
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if named:
            raise SettingsError(f"There is no settings file {str(path)!r}.", "Check the path after --config.") from None
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{str(path)!r} cannot be read: {error}", "The file is TOML: key = value.") from error
    given = {}
    for key, value in _flat(tree):
        checked = _checked(key, value, str(path))
        given[key] = path.parent / checked if isinstance(checked, Path) else checked
    yield str(path), given


def _flat(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", deep) for inner, deep in value.items())
        else:
            yield key, value


def _from_env(env: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = {PREFIX + key.upper().replace(".", "_"): key for key, _ in keys()}
    for name, text in env.items():
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        if name not in names:
            raise SettingsError(f"The environment variable {name} is not a setting.", _suggest(name, [*names]))
        yield name, {names[name]: _checked(names[name], _parsed(names[name], text, name), name)}


def _from_flags(flags: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in flags.items():
        if value is not None:
            flag = "--" + key.replace("_", "-").replace(".", "-")
            yield flag, {key: _checked(key, value, flag)}


def _suggest(wrong: str, known: list[str]) -> str:
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else ""


def _kind(key: str) -> str:
    owner, name = (Consent, key.partition(".")[2]) if "." in key else (Settings, key)
    hint = get_type_hints(owner)[name]
    return "list" if getattr(hint, "__origin__", None) is tuple else str(hint.__name__)


def _parsed(key: str, text: str, where: str) -> Any:
    """Turn the text of an environment variable into the kind of value that TOML would have given."""
    kind = _kind(key)
    if kind == "list":
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind == "bool":
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if text.lower() not in words:
            raise SettingsError(f"{where}: {text!r} is neither true nor false.")
        return words[text.lower()]
    try:
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:
        raise SettingsError(f"{where}: {text!r} is not {'a whole number' if kind == 'int' else 'a number'}.") from None


def _checked(key: str, value: Any, where: str) -> Any:
    """Return `value` as the setting's own type; raises SettingsError naming `where` it was given."""
    fields = dict(keys())
    if key not in fields:
        raise SettingsError(f"{where}: there is no setting {key!r}.", _suggest(key, [*fields]))
    kind = _kind(key)
    value = _typed(kind, value)
    if value is None:
        raise SettingsError(f"{where}: {key} must be {_WORDS[kind]}.")
    least, most = fields[key].metadata["least"], fields[key].metadata["most"]
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        allowed = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
        raise SettingsError(f"{where}: {key} must be {allowed}, not {value:g}.")
    return value


_WORDS = {
    "Path": "a path in quotes",
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list of texts",
}


def _typed(kind: str, value: Any) -> Any:
    """Return the value in its type, or None if it is of another kind."""
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind == "Path":
        return Path(value) if isinstance(value, (str, Path)) and str(value) else None
    if kind == "float":
        return float(value) if isinstance(value, (int, float)) else None
    if kind == "list":
        fits = isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value)
        return tuple(value) if fits else None
    return value if isinstance(value, {"int": int, "str": str}[kind]) else None
