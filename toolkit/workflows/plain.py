"""Plain: a task graph and the nodes it is to run on, in one small JSON file.

Keys: ``edges`` ``[[parent, child, data], …]`` with tasks numbered from 0; either ``cost`` [n]
and ``speed`` [m], execution time being cost / speed, or ``seconds`` [n][m]; ``link`` [m][m],
transfer time being data / link; and, where wanted, ``n``, ``m``, ``name`` and ``mean_link``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, CorruptError, SchemaError
from toolkit.workflows.graph import Graph, quoted
from toolkit.workflows.wfformat import GIB, GREATEST, load, printable, shown
from toolkit.workload import Floats

MEAN_LINKS = ("ordered_pairs", "unordered_pairs_with_self")
"""How the ranks of HEFT may average the links."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plain:
    """A graph, the nodes it is to run on, and how long each task takes on each.

    Args:
        graph: ``n`` tasks, labelled by their numbers in the file. Work is the cost, or the mean
            of the task's seconds over the nodes where the file has a table of them; in that
            case every task is a type of its own.
        cluster: ``m`` nodes n0, n1, …, each of its own kind, with 1 cpu and 1 GiB.
        seconds: Execution time of each task on each node, in the order of the graph; shape
            [n, m].
        speed: Relative speed of each node, shape [m]; None where the file has a table.
        mean_link: ``ordered_pairs`` or ``unordered_pairs_with_self``.
    """

    graph: Graph
    cluster: Cluster
    seconds: Floats
    speed: Floats | None
    mean_link: str


def sniff(path: str | Path) -> str:
    """Return the format of a workflow file: ``"wfformat"`` or ``"plain"``.

    Raises:
        SchemaError: When it is neither; the message tells which keys it has.
    """
    content = load(path)
    if isinstance(content, Mapping):
        if "workflow" in content:
            return "wfformat"
        if "edges" in content and ("cost" in content or "seconds" in content):
            return "plain"
        keys = [quoted(k) for k in content]
        more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
        found = f"the keys {', '.join(keys[:10])}{more}" if keys else "no keys"
    else:
        found = "no object"
    raise SchemaError(
        f"{path} is no workflow file: WfFormat has the keys 'schemaVersion' and 'workflow', "
        f"a plain graph 'edges', 'link' and either 'cost' and 'speed' or 'seconds'; it has {found}"
    )


def read(path: str | Path) -> Plain:
    """Return the graph and the nodes of a plain file.

    Args:
        path: A ``.json`` file.

    Raises:
        SchemaError: When a key is missing.
        CorruptError: When a value is impossible or contradicts another.
    """
    content = load(path)
    try:
        return _plain(content, Path(path).stem)
    except SchemaError as e:
        raise SchemaError(f"{path}: {e.message}", hint=e.hint) from None
    except (ConfigError, CorruptError) as e:
        raise CorruptError(f"{path}: {e.message}", hint=e.hint) from None


def _plain(content: Any, stem: str) -> Plain:
    if not isinstance(content, Mapping):
        raise SchemaError("a plain graph is one JSON object")
    related = "cost" in content or "speed" in content
    if related == ("seconds" in content):
        raise SchemaError("a plain graph needs either 'cost' and 'speed' or 'seconds'")
    for key in ("edges", "link", *(("cost", "speed") if related else ())):
        if key not in content:
            raise SchemaError(f"a plain graph needs the key {key!r}")
    if related:
        cost, speed = _row(content["cost"], "cost"), _row(content["speed"], "speed")
        if not bool((speed > 0).all()):
            raise CorruptError("every speed must be > 0")
        with np.errstate(over="ignore"):
            seconds = cost[:, None] / speed[None, :]
        if not bool(np.isfinite(seconds).all()):
            raise CorruptError("a cost divided by a speed is not finite")
        work = cost
    else:
        seconds, speed = _table(content["seconds"], "seconds"), None
        work = seconds.mean(axis=1)
    n, m = seconds.shape
    for key, size in (("n", n), ("m", m)):
        if key in content and content[key] != size:
            raise CorruptError(f"{key} is {shown(content[key])}, but there are {size}")
    link = _table(content["link"], "link")
    if link.shape != (m, m):
        raise CorruptError(f"link must have {m} rows of {m}, got {link.shape[0]} × {link.shape[1]}")
    mean_link = content.get("mean_link", MEAN_LINKS[0])
    if mean_link not in MEAN_LINKS:
        raise CorruptError(
            f"mean_link must be {' or '.join(map(repr, MEAN_LINKS))}, got {shown(mean_link)}"
        )
    name = printable(content.get("name", stem), "the graph")
    graph = Graph.build(
        name,
        [(str(i), "task", seconds_of_work) for i, seconds_of_work in enumerate(work.tolist())],
        _edges(content["edges"]),
    )
    order = np.array([int(label) for label in graph.labels])
    if not related:
        graph = dataclasses.replace(
            graph,
            types=tuple(f"task-{label}" for label in graph.labels),
            type_of=np.arange(n, dtype=np.int32),
        )
    return Plain(
        graph=graph,
        cluster=Cluster(
            nodes=tuple(Node(name=f"n{j}", cpus=1, memory=GIB, kind=f"n{j}") for j in range(m)),
            links=tuple(map(tuple, link.tolist())),
        ),
        seconds=seconds[order],
        speed=speed,
        mean_link=mean_link,
    )


def _edges(value: Any) -> list[tuple[str, str, float]]:
    if not isinstance(value, list):
        raise CorruptError(f"edges must be a list, got {shown(value)}")
    edges = []
    for i, row in enumerate(value):
        if not isinstance(row, list) or len(row) != 3 or not all(type(v) is int for v in row[:2]):
            raise CorruptError(f"edges[{i}] must be [parent, child, data]")
        edges.append((str(row[0]), str(row[1]), float(_row(row[2:], f"edges[{i}]")[0])))
    return edges


def _row(value: Any, called: str) -> Floats:
    if not isinstance(value, list) or not value or not all(type(v) in (int, float) for v in value):
        raise CorruptError(f"{called} must be a list of numbers, got {shown(value)}")
    try:
        row = np.array(value, dtype=np.float64)
    except OverflowError:
        row = np.array([math.inf])
    if not bool(((row >= 0) & (row <= GREATEST)).all()):
        raise CorruptError(f"{called} must hold numbers from 0 to {GREATEST:g}")
    return row


def _table(value: Any, called: str) -> Floats:
    if not isinstance(value, list) or not value:
        raise CorruptError(f"{called} must be a list of rows, got {shown(value)}")
    rows: Sequence[Floats] = [_row(row, f"{called}[{i}]") for i, row in enumerate(value)]
    if len({len(row) for row in rows}) > 1:
        raise CorruptError(f"all rows of {called} must have the same length")
    return np.stack(rows)
