"""Importing: files of logs in, one validated trace out, with a report of what is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.completeness import lines
from collectors.run_writer import RunWriter
from collectors.streams import Limits
from toolkit import fanout
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, ToolkitError, require, unknown
from toolkit.inferred import allocation, configuration, placement
from toolkit.inferred.rows import Inferred
from toolkit.progress import progress, say
from toolkit.store import Product, Store, fingerprint, write_text


@dataclass(frozen=True, kw_only=True)
class Log:
    """What one run of a trace is read from.

    Args:
        name: Unique within the import; for people.
        files: In the order in which they are read.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a log tells of the whole run.

    Args:
        clock: Whose clock the times are, and what time 0 is.
        engine: Names and versions of what ran.
        host: What is known of the machines beside the table ``nodes``.
        about: Further facts for the run's entry, e.g. ``began_unix``, ``app``.
        files: ``Source.about`` of each file that was read.
    """

    clock: str
    engine: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Mapping[str, Any]] = ()


class Importer(Protocol):
    """Reads one kind of log. Must be picklable: logs are read by other processes."""

    @property
    def source(self) -> str:
        """Name of the kind of source, for the provenance."""

    @property
    def extra(self) -> Mapping[str, Sequence[pa.Field]]:
        """Columns that this source adds, by table."""

    def find(self, path: Path) -> list[Log]:
        """Return the logs in a file or folder, in a fixed order; what is no log is left out."""

    def read(self, log: Log, run: RunWriter, limits: Limits) -> Told:
        """Read a log into a run, count in ``run.completeness`` what is missing.

        Raises:
            CorruptError: When nothing can be saved of it.
            SchemaError: When it is of a version or kind that is not read here.
        """


INFER = ("placement", "allocation", "configuration", "none")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an import is done.

    Args:
        min_complete: Least share of complete rows in every table of every log.
        executor: ``processes`` on this machine or ``ray`` on a cluster.
        workers: Logs read at once; one per core where absent.
        limits: What one log may cost.
        infer: Which decisions that a log implies are added: ``placement``, ``allocation``,
            ``configuration`` (one for each of a set of applications) or ``none``.
        wait_after: Seconds without a start, while a task could, before a wait is inferred.
        interval: Seconds between the decisions of an allocation.
        address: Of the Ray cluster; null starts one on loopback.
    """

    min_complete: float
    executor: str
    workers: int | None
    limits: Limits
    infer: str = "none"
    wait_after: float = 1.0
    interval: float = 1.0
    address: str | None = None

    def __post_init__(self) -> None:
        for name in ("min_complete", "wait_after", "interval"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            require(number, f"{name} must be a number, got {value!r}")
        require(
            self.workers is None or (type(self.workers) is int and self.workers >= 1),
            f"workers must be a positive whole number or null, got {self.workers!r}",
        )
        require(0 <= self.min_complete <= 1, f"min_complete is a share, got {self.min_complete}")
        require(self.interval > 0, f"interval is in seconds and positive, got {self.interval}")
        require(self.wait_after >= 0, f"wait_after is in seconds, got {self.wait_after}")
        if self.infer not in INFER:
            raise unknown("family to infer", self.infer, INFER)


def logs_of(importer: Importer, path: str) -> list[Log]:
    """Return the logs under a path that a user gave.

    Raises:
        ConfigError: When there is no such file or folder, or nothing in it is such a log.
    """
    place = Path(path).expanduser()
    require(place.is_file() or place.is_dir(), f"there is no file or folder {path!r}")
    closed = [f for f in (place, *place.rglob("*")) if not os.access(f, os.R_OK)]
    require(place not in closed, f"{path!r} cannot be read: permission denied")
    if closed:
        say(f"{len(closed)} files or folders cannot be read and are left out, e.g. {closed[0]}")
    try:
        found = importer.find(place)
    except OSError as error:
        raise ConfigError(f"{path!r} cannot be read: {error.strerror or error}") from error
    require(
        len(found) > 0,
        f"nothing in {path!r} looks like a log of {importer.source}",
        hint=("name the file itself, or " if place.is_dir() else "name ")
        + "another collector: toolkit collect +collector=<name> …",
    )
    return found


def identity(importer: Importer, logs: Sequence[Log], settings: Settings) -> str:
    """Return a fingerprint that changes with the settings, names, sizes or times of the logs."""
    stats = [(file.resolve(), file.stat()) for log in logs for file in log.files]
    files = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    how = (settings.infer, settings.wait_after, settings.interval, settings.limits.bytes)
    return fingerprint(importer.source, repr(importer), files, how)


def product_identity(importer: Importer, logs: Sequence[Log], settings: Settings) -> str:
    """Return the fingerprint of the trace, which also changes with what it is to hold at least."""
    return fingerprint(identity(importer, logs, settings), settings.min_complete)


def keep(
    importer: Importer, logs: Sequence[Log], settings: Settings, store: Store, name: str
) -> Product:
    """Read logs into a trace of the store; see :func:`load`."""
    key = identity(importer, logs, settings)
    parts, folder = store.partial("traces", f"{name}.runs-{key}"), store.partial("traces", name)
    try:
        provenance = load(importer, logs, settings, parts, folder)
    except ToolkitError:
        if not any(parts.glob("run-*/provenance.json")):
            shutil.rmtree(parts)
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    runs = provenance["runs"]
    product = store.commit(
        "traces",
        name,
        inputs={},
        about={
            "identity": product_identity(importer, logs, settings),
            "source": importer.source,
            "scenario": None,
            "replayable": False,
            "runs": len(runs),
            "artefacts": {},
            "rows": {table: sum(r["rows"][table] for r in runs) for table in traces.TABLES},
        },
    )
    store.discard("traces", f"{name}.runs-{key}")
    return product


def load(
    importer: Importer, logs: Sequence[Log], settings: Settings, parts: Path, folder: Path
) -> dict[str, Any]:
    """Read logs into a trace, each as one run.

    Args:
        importer: Reads them.
        logs: Run k is made of the k-th that is not refused.
        settings: How.
        parts: Where finished runs are kept until all are there.
        folder: Where the trace is written; only what passed every check.

    Returns:
        The provenance.

    Raises:
        CorruptError: When all logs were refused, or too little of each is there.
    """
    work = [
        (importer, log, parts / f"run-{k}", k, settings)
        for k, log in enumerate(logs)
        if not (parts / f"run-{k}" / "provenance.json").is_file()
    ]
    with progress(f"importing {importer.source}", len(work), "logs") as bar:
        for name in fanout.each(
            _read_one, work, settings.executor, settings.workers, settings.address
        ):
            bar.update(note=name)
    refused, told = [], []
    for k, log in enumerate(logs):
        answer = parts / f"run-{k}.refused.json"
        if answer.is_file():
            refused.append({"log": log.name, **json.loads(answer.read_text("utf-8"))})
            continue
        one = json.loads((parts / f"run-{k}" / "provenance.json").read_text("utf-8"))
        why = _too_little(one, settings.min_complete)
        if why is None:
            told.append(one)
        else:
            refused.append({"log": log.name, **why})
    if refused and len(logs) > 1:
        say(f"{len(refused)} of {len(logs)} logs refused, e.g. {refused[0]['log']}")
    if not told:
        first = refused[0]
        raise CorruptError(f"{first['log']}: {first['why']}", hint=first["hint"])
    folders = [parts / f"run-{one['runs'][0]['run']}" for one in told]
    if settings.infer == "configuration":
        _infer_configurations(folders, told, settings)
    provenance = {**told[0], "runs": [r for one in told for r in one["runs"]]}
    provenance["completeness"] = {
        "share": min(one["completeness"]["share"] for one in told),
        "runs": [{"run": one["runs"][0]["run"], **one["completeness"]} for one in told],
        "refused": refused,
    }
    _join(folders, folder)
    write_text(folder / "provenance.json", json.dumps(provenance, indent=1))
    return provenance


def _too_little(one: Mapping[str, Any], least: float) -> dict[str, str] | None:
    """Return why too little of a log is there, with the report, or None."""
    report = one["completeness"]
    if report["share"] >= least:
        return None
    worst = min(report["tables"], key=lambda t: report["tables"][t]["share"])
    c = report["tables"][worst]
    return {
        "why": f"only {report['share']:.1%} of its {worst} are complete "
        f"({c['complete']:,} of {max(c['expected'] or 0, c['seen']):,}), less than "
        f"min_complete={least:g}\n  " + "\n  ".join(lines(report)),
        "hint": f"take it as it is: min_complete={int(report['share'] * 100) / 100:g}",
    }


def _read_one(work: tuple[Importer, Log, Path, int, Settings]) -> str:
    """Read one log into its folder, or note why it is refused; returns its name."""
    importer, log, folder, run, settings = work
    aside = folder.with_name(f".{folder.name}.partial")
    if aside.exists():
        shutil.rmtree(aside)
    writer = RunWriter(aside, run, importer.extra)
    try:
        told = importer.read(log, writer, settings.limits)
        writer.close()
        provenance = {
            "schema": traces.SCHEMA,
            "source": importer.source,
            "scenario": None,
            "estimates": None,
            "clock": told.clock,
            "engine": dict(told.engine),
            "host": dict(told.host),
            "seed": None,
            "runs": [
                {
                    "run": run,
                    "seed": None,
                    "policy": None,
                    "mode": "log",
                    "log": log.name,
                    **told.about,
                    "files": [dict(f) for f in told.files],
                    "rows": writer.rows,
                }
            ],
            "completeness": writer.completeness.to_dict(),
        }
        traces.validate_files(aside, provenance)
        if settings.infer in ("placement", "allocation"):
            _infer(aside, provenance, settings)
    except (ToolkitError, OSError) as error:
        shutil.rmtree(aside)
        why = {"why": f"it cannot be read: {error}", "hint": ""}
        if isinstance(error, ToolkitError):
            why = {"why": error.message, "hint": error.hint}
        write_text(folder.with_name(f"{folder.name}.refused.json"), json.dumps(why))
        return f"{log.name} (refused)"
    write_text(aside / "provenance.json", json.dumps(provenance))
    if folder.exists():
        shutil.rmtree(folder)
    aside.rename(folder)
    return log.name


def _infer(folder: Path, provenance: dict[str, Any], settings: Settings) -> None:
    """Add the decisions that a log implies to its run, or say why there are none."""
    if _recorded(provenance):
        return
    known = _edges_known(provenance)
    tables = _tables(folder)
    try:
        if settings.infer == "placement":
            found = placement.infer(tables, wait_after=settings.wait_after, edges_known=known)
        else:
            found = allocation.infer(tables, interval=settings.interval, edges_known=known)
    except ConfigError as error:
        provenance["completeness"]["notes"].append(f"no {settings.infer} inferred: {error.message}")
        return
    _add(folder, provenance, settings, found)


def _infer_configurations(
    folders: Sequence[Path], told: Sequence[dict[str, Any]], settings: Settings
) -> None:
    """Add the configuration that each of a set of applications ran on, or say why not."""
    known: list[tuple[Path, dict[str, Any], configuration.Application]] = []
    for folder, one in zip(folders, told, strict=True):
        if _recorded(one):
            continue
        try:
            known.append((folder, one, configuration.application(_tables(folder))))
        except ConfigError as error:
            one["completeness"]["notes"].append(f"no configuration inferred: {error.message}")
    if not known:
        return
    try:
        found = configuration.infer([a for _, _, a in known])
    except ConfigError as error:
        for _, one, _ in known:
            one["completeness"]["notes"].append(f"no configuration inferred: {error.message}")
        return
    for (folder, one, _), decided in zip(known, found, strict=True):
        _add(folder, one, settings, decided)


def _edges_known(provenance: Mapping[str, Any]) -> bool:
    """Return whether a log tells what its tasks wait for."""
    return bool(provenance["completeness"]["flags"].get("edges") != "none")


def _recorded(provenance: Mapping[str, Any]) -> bool:
    """Return whether a run has decisions already."""
    return bool(provenance["runs"][0]["rows"]["decisions"])


def _tables(folder: Path) -> dict[str, pa.Table]:
    names = ("nodes", "jobs", "tasks", "edges")
    return {name: pq.read_table(folder / f"{name}.parquet") for name in names}


def _add(folder: Path, provenance: dict[str, Any], settings: Settings, found: Inferred) -> None:
    entry = provenance["runs"][0]
    rows = {"run": [int(entry["run"])] * found.decisions, **found.columns}
    aside = folder / ".decisions.parquet.tmp"
    pq.write_table(pa.Table.from_pydict(rows, schema=traces.schema("decisions")), aside)
    aside.replace(folder / "decisions.parquet")
    entry["rows"]["decisions"] = found.decisions
    entry["inferred"] = {
        "family": settings.infer,
        "decisions": found.decisions,
        "waits": found.waits,
        "invalid": found.invalid,
        "left_out": dict(found.left_out),
        "wait_after": settings.wait_after,
        "interval": settings.interval,
        "edges_known": _edges_known(provenance),
        **found.options,
    }
    traces.validate_files(folder, provenance)


def _join(runs: Sequence[Path], folder: Path) -> None:
    """Write the tables of all runs one after another, a row group at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in traces.TABLES:
        with pq.ParquetFile(runs[0] / f"{name}.parquet") as first:
            schema = first.schema_arrow
        with pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
            for run in runs:
                with pq.ParquetFile(run / f"{name}.parquet") as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))


def report(provenance: Mapping[str, Any]) -> list[str]:
    """Return what an import found, as lines to print."""
    said = []
    for one in provenance["completeness"]["runs"]:
        entry = next(r for r in provenance["runs"] if r["run"] == one["run"])
        rows = ", ".join(f"{k} {v:,}" for k, v in entry["rows"].items() if v)
        said.append(f"run {one['run']}  {entry['log']}: {rows}")
        said += [f"  {line}" for line in lines(one)]
        if "inferred" in entry:
            i = entry["inferred"]
            said.append(
                f"  inferred {i['family']}: {i['decisions']:,} decisions, {i['waits']:,} waits, "
                f"{i['invalid']:,} invalid; no propensities"
            )
    for one in provenance["completeness"]["refused"]:
        said.append(f"refused  {one['log']}: {one['why']}")
        if one["hint"]:
            said.append(f"  {one['hint']}")
    return said
