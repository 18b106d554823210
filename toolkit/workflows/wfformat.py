"""WfFormat: recorded runs of real workflows, as WfCommons publishes them.

Coleman et al., "WfCommons: A framework for enabling scientific workflow research and
development", FGCS 2022, doi:10.1016/j.future.2021.09.043. Versions 1.4 (tasks in one list) and
1.5 and 1.6 (``specification`` and ``execution``) are read. The files come from strangers and
from converters with faults, so every value is checked and every repair is told in the facts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError, ToolkitError
from toolkit.workflows.graph import Graph, quoted
from toolkit.workload import Indices

VERSIONS = ("1.4", "1.5", "1.6")
"""Versions of the schema that are read."""

MAX_BYTES = 512 * 2**20
"""The largest file that is opened."""

MAX_VALUES = 10_000_000
"""The most JSON values that a file may hold; Python needs up to 200 bytes for each."""

MAX_NAME = 4096
"""The longest name of a task, file or machine."""

GREATEST = 1e18
"""The greatest number of seconds or bytes: an exabyte, and sums stay finite."""

KIB, MIB, GIB = 2**10, 2**20, 2**30

_INTERPRETERS = (
    *("bash", "docker", "env", "java", "mpiexec", "mpirun", "perl", "python", "python3"),
    *("Rscript", "sh", "singularity", "srun"),
)
"""Programs that say nothing about what a task does."""

_PROGRAM = re.compile(r"[\w./+-]{1,128}", re.ASCII)
_ONLY_NUMBER = re.compile(r"(?:ID|id|task|job)?\d*", re.ASCII)


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What a recorded run says beside its graph and its machines.

    Args:
        version: Version of the schema.
        makespan: Real makespan, s; None where it is not recorded. It holds queueing and the
            engine's overhead, which for short tasks are most of it.
        zero_runtimes: Number of tasks with a runtime of 0, i.e. below the recorder's resolution.
        memory: Greatest resident memory among the tasks of each type, bytes; None where none
            is recorded; as many as types.
        cores: Most cores that a task of each type asks for; as many as types.
        ran_on: Node of the cluster on which each task ran, the only one where there is but one,
            −1 where it is not recorded; shape [n], in the order of the graph.
        notes: What was repaired, assumed or looks wrong, one sentence each.
    """

    version: str
    makespan: float | None
    zero_runtimes: int
    memory: tuple[float | None, ...]
    cores: tuple[float, ...]
    ran_on: Indices
    notes: tuple[str, ...]


def folder(path: str | Path) -> list[Path]:
    """Return the instances under a folder, sorted by path; a file is its own only instance.

    Raises:
        NotFoundError: When there is no such folder, or no ``.json`` file in it.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise NotFoundError(f"there is no file or folder {quoted(str(path))}")
    found = sorted(p for p in root.rglob("*.json") if p.is_file())
    if not found:
        raise NotFoundError(f"the folder {quoted(str(path))} holds no .json file")
    return found


def load(path: str | Path) -> Any:
    """Return the content of a JSON file that a stranger may have written.

    Raises:
        NotFoundError: When there is no such file.
        ConfigError: When it is larger than this toolkit reads.
        CorruptError: When it is no JSON, or JSON with NaN or infinite numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"there is no file {quoted(str(path))}")
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(
                f"{path} has {size / MIB:.0f} MiB; a workflow file may have {MAX_BYTES // MIB}"
            )
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES)
    except OSError as e:
        raise CorruptError(f"{path} cannot be read: {e.strerror}") from None
    values = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if values > MAX_VALUES:
        raise ConfigError(
            f"{path} holds about {values} values; a workflow file may hold {MAX_VALUES}"
        )
    try:
        return json.loads(raw, parse_constant=_no_number)
    except RecursionError:
        raise CorruptError(f"{path} is nested too deeply to be a workflow") from None
    except ValueError as e:
        raise CorruptError(f"{path} is no JSON: {str(e)[:200]}") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def printable(value: Any, called: str) -> str:
    """Return a name from a file if it can be shown and stored.

    Raises:
        CorruptError: When it is no text, empty, too long, or could hide what a message says.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise CorruptError(
            f"{called} needs a printable name of at most {MAX_NAME} letters, got {shown(value)}"
        )
    return value


def shown(value: Any) -> str:
    """Return a value from a file for a message: short, and escaped where it is text."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float) or value is None:
        text = repr(value)
        return text if len(text) <= 80 else text[:79] + "…"
    return "a list" if isinstance(value, list) else "an object"


def read(path: str | Path) -> tuple[Graph, Cluster | None, Facts]:
    """Return a recorded run: its graph, the machines it ran on, and what else it says.

    The type of a task is its category, else its program, else its name without numbers. Work is
    the recorded runtime: ``speedInMHz`` is a snapshot of a clock that changes all the time, not
    the speed of a machine, so all machines count as equally fast. The data of an edge are the
    bytes of the files that the parent writes and the child reads. Start times are not read: in
    version 1.6 ``executedAt`` of a task is often the time of the conversion. The links of the
    cluster are unknown, and so infinitely fast here.

    Args:
        path: A ``.json`` file.

    Returns:
        Graph; cluster, or None where no machine is recorded; facts.

    Raises:
        SchemaError: When it is not WfFormat, or of a version that is not read.
        CorruptError: When a value is missing, impossible or contradicts another; the message
            names the task.
    """
    content = load(path)
    try:
        return _instance(content, Path(path).stem)
    except ConfigError as e:
        raise CorruptError(f"{path}: {e.message}", hint=e.hint) from None
    except ToolkitError as e:
        raise type(e)(f"{path}: {e.message}", hint=e.hint) from None


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One task as both halves of the file describe it."""

    id: str
    type: str
    parents: Sequence[str]
    children: Sequence[str]
    reads: Sequence[str]
    writes: Sequence[str]
    runtime: float
    cores: float
    memory: float
    machines: Sequence[str]


def _instance(content: Any, stem: str) -> tuple[Graph, Cluster | None, Facts]:
    if not isinstance(content, Mapping) or not isinstance(content.get("workflow"), Mapping):
        raise SchemaError("this is not WfFormat: it has no object 'workflow'")
    version = content.get("schemaVersion")
    if version not in VERSIONS:
        raise SchemaError(
            f"WfFormat version {shown(version)} is not read, only {', '.join(VERSIONS)}",
            hint="tools/wfcommons-migrate-instance.py of wfcommons/WfFormat converts older files",
        )
    notes: list[str] = []
    workflow = content["workflow"]
    if "specification" in workflow:
        tasks, sizes, run = _two_halves(workflow)
    else:
        tasks, sizes, run = _one_list(workflow)
    name = content.get("name")
    graph = _graph(printable(name, "the workflow") if name else stem, tasks, sizes, notes)

    by_id = {t.id: t for t in tasks}
    ordered = [by_id[label] for label in graph.labels]
    scale = _memory_scale(tasks, notes)
    memory = [0.0] * len(graph.types)
    cores = [1.0] * len(graph.types)
    for task, kind in zip(ordered, graph.type_of.tolist(), strict=True):
        memory[kind] = max(memory[kind], task.memory * scale)
        cores[kind] = max(cores[kind], task.cores)
    cluster = _cluster(run.get("machines"), max(memory), max(cores), notes)
    nodes = {} if cluster is None else {n.name: i for i, n in enumerate(cluster.nodes)}
    alone = 0 if len(nodes) == 1 else -1
    ran_on = [nodes.get(t.machines[0], -1) if t.machines else alone for t in ordered]
    lost = sum(1 for t, node in zip(ordered, ran_on, strict=True) if t.machines and node < 0)
    if lost:
        notes.append(f"{lost} tasks ran on machines that are not described")
    makespan = run.get("makespanInSeconds")
    if makespan is not None:
        makespan = _number(makespan, "makespanInSeconds")
        _check_times(graph, cluster, makespan, notes)
    return (
        graph,
        cluster,
        Facts(
            version=version,
            makespan=makespan,
            zero_runtimes=int((graph.work == 0).sum()),
            memory=tuple(m or None for m in memory),
            cores=tuple(cores),
            ran_on=np.array(ran_on, dtype=np.int32),
            notes=tuple(notes),
        ),
    )


def _two_halves(
    workflow: Mapping[str, Any],
) -> tuple[list[_Task], dict[str, float], Mapping[str, Any]]:
    """Read what 1.5 and 1.6 write."""
    specification = _object(workflow["specification"], "workflow.specification")
    if "execution" not in workflow:
        raise CorruptError("it has no 'execution', so no task has a runtime")
    run = _object(workflow["execution"], "workflow.execution")
    done: dict[str, Mapping[str, Any]] = {}
    for row in _rows(run.get("tasks"), "execution.tasks"):
        own = printable(row.get("id"), "a task of execution.tasks")
        if own in done:
            raise CorruptError(f"execution.tasks has two tasks {quoted(own)}")
        done[own] = row
    tasks = []
    for row in _rows(specification.get("tasks"), "specification.tasks"):
        own = printable(row.get("id"), "a task of specification.tasks")
        if own not in done:
            raise CorruptError(f"the task {quoted(own)} has no entry in execution.tasks")
        tasks.append(_task(own, row, done[own], row.get("inputFiles"), row.get("outputFiles")))
    known = _ids(tasks)
    for own in done:
        if own not in known:
            raise CorruptError(f"execution.tasks has {quoted(own)}, which is no task")
    sizes: dict[str, float] = {}
    for file in _rows(specification.get("files", ()), "specification.files"):
        _add_size(sizes, file, printable(file.get("id"), "a file"))
    return tasks, sizes, run


def _one_list(
    workflow: Mapping[str, Any],
) -> tuple[list[_Task], dict[str, float], Mapping[str, Any]]:
    """Read what 1.4 writes: tasks refer to each other by name and hold their own files."""
    tasks = []
    sizes: dict[str, float] = {}
    for row in _rows(workflow.get("tasks"), "workflow.tasks"):
        own = printable(row.get("name"), "a task of workflow.tasks")
        reads: list[str] = []
        writes: list[str] = []
        for file in _rows(row.get("files", ()), f"the files of {quoted(own)}"):
            name = printable(file.get("name"), f"a file of {quoted(own)}")
            _add_size(sizes, file, name)
            (reads if str(file.get("link")).lower() == "input" else writes).append(name)
        tasks.append(_task(own, row, row, reads, writes))
    return tasks, sizes, workflow


def _task(
    own: str, row: Mapping[str, Any], run: Mapping[str, Any], reads: Any, writes: Any
) -> _Task:
    called = f"the task {quoted(own)}"
    if run.get("runtimeInSeconds") is None:
        raise CorruptError(f"{called} has no runtimeInSeconds")
    machines = run.get("machines", run.get("machine"))
    return _Task(
        id=own,
        type=_type(own, row, run),
        parents=_names(row.get("parents"), f"the parents of {called}"),
        children=_names(row.get("children"), f"the children of {called}"),
        reads=_names(reads, f"the input files of {called}"),
        writes=_names(writes, f"the output files of {called}"),
        runtime=_number(run["runtimeInSeconds"], f"runtimeInSeconds of {called}"),
        cores=_number(run.get("coreCount", run.get("cores")) or 0, f"coreCount of {called}"),
        memory=_number(run.get("memoryInBytes") or 0, f"memoryInBytes of {called}"),
        machines=_names([machines] if isinstance(machines, str) else machines, called),
    )


def _type(own: str, row: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    command = run.get("command")
    program = command.get("program") if isinstance(command, Mapping) else None
    name = row.get("name")
    return purpose(row.get("category"), program) or without_numbers(
        printable(name, f"the name of {quoted(own)}") if name else own
    )


def purpose(category: Any, program: Any) -> str | None:
    """Return what a task does, as its category or else its program says; None if neither does."""
    if isinstance(category, str) and _PROGRAM.fullmatch(category):
        return without_numbers(category)
    # Nextflow puts the whole script here; only one word can be a program.
    if isinstance(program, str) and _PROGRAM.fullmatch(program):
        last = program.rstrip("/").rpartition("/")[2]
        if last and last not in _INTERPRETERS:
            return without_numbers(last)
    return None


def without_numbers(name: str) -> str:
    """Return the name of a task without what tells it from others that do the same."""
    # Converted Nextflow runs append __<what it worked on>__ID<number> to the process.
    head, _, tag = name.partition("__")
    if head and tag[-1:].isdecimal() and tag.rstrip("0123456789").endswith("_ID"):
        name = head
    while name[-1:].isdecimal():
        number = name.rstrip("0123456789")
        bare = number.removesuffix("ID").removesuffix("id")
        # Without a separator the digits belong to the name: bowtie2, chr21.
        if not bare.endswith(tuple("_.:#-")):
            break
        name = bare.rstrip("_.:#-")
    return "task" if _ONLY_NUMBER.fullmatch(name) else name


def _ids(tasks: Sequence[_Task]) -> set[str]:
    known: set[str] = set()
    for t in tasks:
        if t.id in known:
            raise CorruptError(f"two tasks are called {quoted(t.id)}")
        known.add(t.id)
    return known


def _graph(
    name: str, tasks: Sequence[_Task], sizes: Mapping[str, float], notes: list[str]
) -> Graph:
    known = _ids(tasks)
    edges: dict[str, dict[str, float]] = {t.id: dict.fromkeys(t.parents, 0.0) for t in tasks}
    declared = sum(len(p) for p in edges.values())
    repeated = sum(len(t.parents) for t in tasks) - declared
    for t in tasks:
        for p in edges[t.id]:
            if p not in known:
                raise CorruptError(
                    f"the task {quoted(t.id)} has the parent {quoted(p)}, which is no task"
                )
        for c in t.children:
            if c not in known:
                raise CorruptError(
                    f"the task {quoted(t.id)} has the child {quoted(c)}, which is no task"
                )
            edges[c].setdefault(t.id, 0.0)
    total = sum(len(p) for p in edges.values())
    if total > declared:
        notes.append(f"{total - declared} edges are told by the parent only")
    if repeated:
        notes.append(f"{repeated} repeated parents count once")
    if total == 0 and len(tasks) > 1:
        notes.append("no dependencies are recorded: all tasks are independent")

    writers: dict[str, list[str]] = {}
    for t in tasks:
        for file in dict.fromkeys(t.writes):
            writers.setdefault(file, []).append(t.id)
    unknown: set[str] = set()
    for t in tasks:
        into = edges[t.id]
        for file in dict.fromkeys(t.reads):
            if file not in sizes:
                unknown.add(file)
                continue
            own = writers.get(file, ())
            # From the shorter side, so that a file written by many and read by many is no trap.
            if len(own) <= len(into):
                origins = [p for p in own if p in into]
            else:
                among = set(own)
                origins = [p for p in into if p in among]
            for p in origins:
                into[p] += sizes[file]
    if unknown:
        notes.append(f"{len(unknown)} input files have no size and count as 0 bytes")
    return Graph.build(
        name,
        [(t.id, t.type, t.runtime) for t in tasks],
        ((p, t.id, moved) for t in tasks for p, moved in edges[t.id].items()),
    )


def _add_size(sizes: dict[str, float], row: Mapping[str, Any], name: str) -> None:
    if row.get("sizeInBytes") is None:
        return
    size = _number(row["sizeInBytes"], f"sizeInBytes of the file {quoted(name)}")
    if sizes.setdefault(name, size) != size:
        raise CorruptError(f"the file {quoted(name)} has two sizes")


def _memory_scale(tasks: Sequence[_Task], notes: list[str]) -> float:
    greatest = max(t.memory for t in tasks)
    # No workflow has its largest process below 1 MiB.
    if 0.0 < greatest < MIB:
        notes.append(
            f"memory of tasks is read as KiB: as bytes the largest would be {greatest:.0f}"
        )
        return float(KIB)
    return 1.0


def _cluster(machines: Any, memory: float, cores: float, notes: list[str]) -> Cluster | None:
    if not machines:
        return None
    nodes: dict[str, Node] = {}
    for row in _rows(machines, "execution.machines"):
        name = printable(row.get("nodeName"), "a machine")
        called = f"the machine {quoted(name)}"
        cpu = _object(row.get("cpu") or {}, f"cpu of {called}")
        cpus = _number(cpu.get("coreCount", cpu.get("count")) or 0, f"coreCount of {called}")
        if cpus == 0:
            cpus = cores
            notes.append(f"{called} has no core count; {cpus:g} is assumed, what a task needs")
        room = _number(row.get("memoryInBytes") or 0, f"memoryInBytes of {called}")
        if room == 0:
            room = max(memory, GIB) * cpus
            notes.append(f"{called} has no memory; {room / GIB:.1f} GiB are assumed")
        elif room < memory or (cpus >= 32 and room < GIB):
            room *= KIB
            notes.append(f"memory of {called} is read as KiB: {room / GIB:.1f} GiB")
        node = Node(name=name, cpus=cpus, memory=room)
        if nodes.setdefault(name, node) != node:
            raise CorruptError(f"{called} is described twice, with different cores or memory")
    return Cluster(nodes=tuple(nodes.values()))


def _check_times(graph: Graph, cluster: Cluster | None, makespan: float, notes: list[str]) -> None:
    """Note a makespan that the recorded runtimes contradict, as after a resumed run."""
    longest, work = graph.longest_path(), float(graph.work.sum())
    if longest > makespan * 1.01:
        notes.append(f"the longest path, {longest:.1f} s, exceeds the makespan, {makespan:.1f} s")
    elif cluster is not None and work > cluster.cpus * makespan * 1.01:
        notes.append(
            f"the tasks took {work:.1f} s, more than {cluster.cpus:g} cores can do in the "
            f"makespan, {makespan:.1f} s: the core count is too low"
        )


def _object(value: Any, called: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CorruptError(f"{called} must be an object, got {shown(value)}")
    return value


def _rows(value: Any, called: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list | tuple):
        raise CorruptError(f"{called} must be a list, got {shown(value)}")
    for row in value:
        _object(row, f"each of {called}")
    return value


def _names(value: Any, called: str) -> Sequence[str]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CorruptError(f"{called} must be a list of names, got {shown(value)}")
    return [printable(v, f"one of {called}") for v in value]


def _number(value: Any, called: str) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not 0.0 <= number <= GREATEST:
        raise CorruptError(f"{called} must be from 0 to {GREATEST:g}, got {shown(value)}")
    return number
