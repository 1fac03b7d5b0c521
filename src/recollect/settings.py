"""Every setting once: name, default, unit, help. Flag > RECOLLECT_* > TOML file > default."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

ELSEWHERE = {"RECOLLECT_CONFIG", "RECOLLECT_EVAL_DATA"}
"""Variables that are not settings of a server: the file itself, and data for measuring."""


class SettingError(Exception):
    """A setting cannot be used; the message says which, from where, and what it should be."""


def setting(default: Any, text: str) -> Any:
    """Declare a setting: its default and one line of help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """Where the objects of one bucket are read from: an endpoint, or a local folder."""

    endpoint: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    path: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server. A unit stands in the name where there is one."""

    host: str = setting("127.0.0.1", "Address to listen on")
    port: int = setting(8080, "TCP port to listen on; 0 takes a free one")
    data: Path = setting(Path("data"), "Folder of the embedded store, keys and audit")
    store: str = setting("", "postgresql:// URL of a shared store; empty for the embedded one")
    models: Path | None = setting(None, "Folder of model packs; empty for the user's cache")
    pack: str = setting(
        "auto", "Model pack of new collections; auto: that of `models use`, else the best"
    )
    account: str = setting("000000000000", "Account of the root key, twelve digits")
    region: str = setting("us-east-1", "Region where a request names none")
    no_auth: bool = setting(False, "Let anybody do anything; for a closed machine only")
    strict_replay: bool = setting(False, "Refuse a signature that was seen before")
    master_key: str = setting("", "Master key, 64 hexadecimal digits; better in a file")
    master_key_file: Path | None = setting(
        None, "File of the master key, mode 0600; empty for master.key in the data folder"
    )
    master_key_command: str = setting("", "Command that prints the master key, for a KMS")
    tls_certificate: Path | None = setting(None, "PEM file of the certificate chain; turns TLS on")
    tls_key: Path | None = setting(None, "PEM file of the certificate's private key")
    path_prefix: str = setting("", "Path in front of every route, such as /rekognition")
    trusted_proxies: str = setting("", "Proxies whose X-Forwarded-For is believed, by commas")
    cors_origins: str = setting("", "Origins whose pages may call, separated by commas")
    console: bool = setting(True, "Serve the web console at /console/")
    metrics_port: int = setting(0, "Separate port of /metrics on localhost; 0 for none")
    log_level: str = setting("info", "debug, info, warning or error")
    otlp_endpoint: str = setting(
        "", "OpenTelemetry collector that spans go to, as http://host:4318; needs recollect[otel]"
    )

    call_threads: int = setting(0, "Calls in work at once; 0 for a few more than processors")
    call_queue_max: int = setting(
        2000, "Calls waiting for a thread before refusal; each holds a connection"
    )
    call_wait_max_s: float = setting(0.5, "Expected wait above which a call is refused, in seconds")
    call_last_wait_max_s: float = setting(
        50.0, "Likewise for a call that says it is its client's last attempt"
    )
    connections_max: int = setting(2000, "Open connections")
    header_deadline_s: float = setting(10.0, "Longest time to receive a header, in seconds")
    body_deadline_s: float = setting(25.0, "Longest time to receive a body, in seconds")
    idle_deadline_s: float = setting(65.0, "Longest silence of a kept connection, in seconds")
    drain_deadline_s: float = setting(9.0, "Longest wait for calls in work at stop, in seconds")
    key_rate_per_s: float = setting(0.0, "Calls a second of one access key; 0 for no bound")
    clock_skew_max_s: float = setting(300.0, "Largest age of a signature, in seconds")

    model_processes: int = setting(0, "Processes that run models; 0 for one a processor")
    search_threads: int = setting(1, "Threads of one search")
    memory_budget_bytes: int = setting(
        0, "Memory for the index; 0 for no bound. Above it collections are read at first use"
    )
    load_first: str = setting(
        "",
        "Collections read before the server is ready, by commas, * for all; where they are "
        "read at first use",
    )
    search_kernel: str = setting("auto", "Scan kernel: auto, native, numkong or numpy")
    search_side_px: int = setting(1280, "Longer side to which a probe picture may be reduced")
    decode_children: int = setting(0, "Processes that decode pictures; 0 for half the processors")
    decode_cpu_s: float = setting(5.0, "CPU time one picture may take to decode, in seconds")
    decode_memory_bytes: int = setting(1 << 30, "Memory one decoding process may take")
    pixels_max: int = setting(64_000_000, "Pixels of one picture")
    scans_max: int = setting(50, "Scans of one progressive JPEG")
    s3_deadline_s: float = setting(10.0, "Longest time to read one S3 object, in seconds")
    faces_per_collection_max: int = setting(20_000_000, "Faces of one collection")
    users_per_collection_max: int = setting(10_000_000, "Users of one collection")

    buckets: Mapping[str, BucketSettings] = field(default_factory=dict)
    """The file's `[s3.buckets."NAME"]` tables; they have no flag and no variable."""


def models_folder(settings: Settings) -> Path:
    """Folder of model packs and converted weights."""
    if settings.models is not None:
        return settings.models
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "recollect" / "models"


def table() -> list[tuple[str, str, str, str]]:
    """Rows of name, environment variable, default and help, for the documentation."""
    return [
        (
            entry.name,
            f"RECOLLECT_{entry.name.upper()}",
            "" if entry.default is None else str(entry.default),
            entry.metadata["help"],
        )
        for entry in _declared()
    ]


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """Settle every setting from its four sources.

    Args:
        flags: values from the command line; None means not given.
        environ: the environment; settings stand in it as `RECOLLECT_NAME`.
        config: a TOML file with the settings by name, and `[s3.buckets."NAME"]` tables;
            where not given, the one that `RECOLLECT_CONFIG` names.

    Raises:
        SettingError: a name is unknown or a value is not of its type.
    """
    environ = os.environ if environ is None else environ
    if config is None and environ.get("RECOLLECT_CONFIG"):
        config = Path(environ["RECOLLECT_CONFIG"])
    document = _read(config) if config else {}
    buckets = _buckets(document.pop("s3", {}))
    known = {entry.name for entry in _declared()}
    if unknown := sorted(set(document) - known):
        raise SettingError(f"{config}: unknown setting {unknown[0]!r}")
    if unknown := sorted(set(flags) - known):
        raise SettingError(f"--set {unknown[0]}: there is no setting {unknown[0]!r}")
    # A variable of ours that nothing reads is a typing mistake, and may have meant to lock a door.
    variables = {f"RECOLLECT_{name.upper()}" for name in known} | ELSEWHERE
    for name in sorted(environ):
        ours = name.startswith("RECOLLECT_") and not name.startswith("RECOLLECT_TEST_")
        if ours and name not in variables:
            raise SettingError(f"the environment variable {name} is no setting")

    values: dict[str, Any] = {}
    types = get_type_hints(Settings)
    for entry in _declared():
        name, kind = entry.name, types[entry.name]
        variable = f"RECOLLECT_{name.upper()}"
        if flags.get(name) is not None:
            values[name] = _convert(flags[name], kind, f"--{name.replace('_', '-')}")
        elif variable in environ:
            values[name] = _convert(environ[variable], kind, variable)
        elif name in document:
            values[name] = _convert(document[name], kind, f"{config}: {name}")
    return Settings(**values, buckets=buckets)


def _declared() -> list[dataclasses.Field[Any]]:
    return [entry for entry in dataclasses.fields(Settings) if entry.name != "buckets"]


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"{config} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{config} cannot be read: {error}") from None


def _buckets(s3: Any) -> dict[str, BucketSettings]:
    try:
        tables = dict(s3.get("buckets", {})) if set(s3) <= {"buckets"} else None
        if tables is None:
            raise TypeError("only [s3.buckets] is known under [s3]")
        buckets = {name: BucketSettings(**table) for name, table in tables.items()}
    except (TypeError, AttributeError) as error:
        raise SettingError(f"[s3.buckets] cannot be read: {error}") from None
    for name, bucket in buckets.items():
        if bool(bucket.endpoint) == bool(bucket.path):
            raise SettingError(f'[s3.buckets."{name}"] needs either endpoint or path')
    return buckets


def _convert(value: Any, kind: Any, source: str) -> Any:
    """Turn a value of any source into the setting's type."""
    try:
        if kind is bool:
            return _boolean(value)
        if kind is int:
            return int(value)
        if kind is float:
            return float(value)
        if kind in (Path, Path | None):
            return Path(str(value)) if str(value) else None
        return str(value)
    except ValueError:
        expected = getattr(kind, "__name__", str(kind))
        raise SettingError(f"{source} must be of type {expected}, not {value!r}") from None


def _boolean(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False, "": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError(value) from None
