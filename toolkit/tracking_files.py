"""Where the record lies, what may be written into it, and the server that shows it.

All of :mod:`toolkit.tracking` that needs no MLflow, so that it stays quick to import.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from toolkit.errors import (
    ConfigError,
    CorruptError,
    EngineError,
    ResourceError,
    SchemaError,
    ToolkitError,
    require,
)
from toolkit.paths import data_root
from toolkit.progress import say

PARAM, TAG, NAME, EXPERIMENT = 6000, 8000, 250, 500
"""MLflow's limits in characters: values of params and tags, names of runs and experiments."""

_START_SECONDS = 90.0
_STOP_SECONDS = 10.0


def uri() -> str:
    """Return where the record lies: ``$MLFLOW_TRACKING_URI``, else a file under the data root."""
    return _named_uri() or f"sqlite:///{data_root() / 'tracking' / 'mlflow.db'}"


def artifacts() -> Path:
    """Return the folder of the runs' files, for experiments that are made here."""
    return data_root() / "tracking" / "artifacts"


def database() -> Path | None:
    """Return the SQLite file of the record, None where it is kept elsewhere."""
    where = uri()
    return Path(where.removeprefix("sqlite:///")) if where.startswith("sqlite:///") else None


def absent() -> bool:
    """Tell whether nothing has been recorded yet."""
    file = database()
    return file is not None and (not file.exists() or file.stat().st_size == 0)


def place(aside: Path, file: Path) -> None:
    """Move a finished database into place, unless somebody else was quicker."""
    if file.exists() and file.stat().st_size == 0:
        file.unlink()
    try:
        os.link(aside, file)  # unlike a rename it never replaces
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if absent():
            aside.replace(file)


def check(file: Path) -> None:
    """Raise where ``file`` is not a whole database of MLflow; costs about a millisecond.

    Raises:
        CorruptError: When it is damaged, truncated or another program's.
        ResourceError: When it is locked or cannot be opened.
    """
    hint = "move it away to start an empty record, or set MLFLOW_TRACKING_URI to another one"
    try:
        with closing(sqlite3.connect(file.as_uri() + "?mode=rw", timeout=20, uri=True)) as base:
            found = base.execute(
                "SELECT count(*) FROM sqlite_master WHERE name IN ('experiments', 'runs')"
            ).fetchone()
    except sqlite3.OperationalError as error:
        raise ResourceError(f"the record {file} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise CorruptError(f"{file} is damaged or truncated: {error}", hint=hint) from error
    if found != (2,):
        raise CorruptError(f"{file} is an SQLite database, but not one of MLflow's", hint=hint)


def translated(error: Exception) -> ToolkitError:
    """Return the one sentence for whatever MLflow or the database raised."""
    where = database() or uri()
    first = str(error).strip().partition("\n")[0][:300]
    text = str(error).lower()
    if "malformed" in text or "not a database" in text:
        hint = "move it away to start an empty record"
        return CorruptError(f"the record {where} is damaged or truncated: {first}", hint=hint)
    if "out-of-date database schema" in text or "can't locate revision" in text:
        hint = f"back it up, then run: mlflow db upgrade {uri()}"
        return SchemaError(f"{where} was written by another version of MLflow", hint=hint)
    if isinstance(error, OSError) or any(w in text for w in ("locked", "disk", "readonly")):
        return ResourceError(f"the record {where} cannot be used: {first}")
    if uri().startswith(("http:", "https:")):
        return EngineError(f"the MLflow server {where} did not do what was asked: {first}")
    hint = "unset MLFLOW_TRACKING_URI to use the toolkit's own record" if _named_uri() else ""
    return ConfigError(f"MLflow cannot use the record {where}: {first}", hint=hint)


def key_text(key: object) -> str:
    """Return ``key`` where a search can quote it, else its hash."""
    text = str(key)
    plain = re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text)
    return text if plain else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def clean(value: object, limit: int) -> str:
    """Return ``value`` as text that every database stores: no control characters, cut to fit."""
    text = str(value).encode("utf-8", "replace").decode()
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` under names that MLflow allows, each once; "IQM" becomes "iqm"."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = re.sub(r"[^A-Za-z0-9_. /-]", "_", str(key))[: NAME - 8]
        name = "/".join(p.strip(" .") for p in name.split("/") if p.strip(" .")) or "_"
        name = "iqm" if name == "IQM" else name
        unique, n = name, 1
        while unique in out:
            n += 1
            unique = f"{name}_{n}"
        out[unique] = value
    return out


def run_server(port: int) -> None:
    """Run MLflow's own pages on 127.0.0.1 until interrupted, then stop what was started.

    Raises:
        ConfigError: When the port is no port, or the record already is a server.
        ResourceError: When the port is taken.
        EngineError: When the server does not start.
    """
    require(
        not uri().startswith(("http:", "https:")),
        f"the record already is a server: open {uri()} in a browser",
    )
    require_port(port)
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", uri()]
    command += ["--default-artifact-root", artifacts().as_uri()]
    environment = {
        **os.environ,
        "PYTHONSAFEPATH": "1",  # the folder we stand in is no place for modules
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight helpers that nobody here needs
    }
    with tempfile.TemporaryFile() as log, _stop_on_signals():
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the server's workers are stopped with it, and only they
        )
        try:
            say("starting MLflow (some seconds) ...")
            _await_answer(port, process, log)
            say(f"MLflow shows every run at http://127.0.0.1:{port} (Ctrl-C stops it)")
            process.wait()
            raise EngineError(f"the MLflow server ended by itself: {_tail(log)}")
        except KeyboardInterrupt:
            say("stopping MLflow")
        finally:
            _stop(process)


def require_port(port: int) -> None:
    """Raise unless a server can listen on this port of 127.0.0.1.

    Raises:
        ConfigError: When the number is no port.
        ResourceError: When the port is taken or not allowed; the hint names a free one.
    """
    require(
        type(port) is int and 0 < port < 65536,
        f"port must be a whole number between 1 and 65535, got {port}",
    )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return
        except OSError as error:
            reason = error
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
    raise ResourceError(
        f"port {port} of 127.0.0.1 cannot be used ({reason.strerror})",
        hint=f"toolkit leaderboard serve=true port={free}",
    )


def _await_answer(port: int, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise EngineError(f"the MLflow server did not start: {_tail(log)}")
        try:
            with opener.open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise EngineError(f"MLflow gave no answer in {_START_SECONDS:.0f} s: {_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: the session that was started for it, nothing else."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that the server never outlives us."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _named_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "").strip()
