"""Graph: the tasks of one job and what they hand to each other; weights for generated ones."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ConfigError, require
from toolkit.workload import Floats, Indices, upward_ranks

Span = int | Sequence[int]
"""A whole number, or the lowest and highest of a uniform draw."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """One job's directed acyclic graph: ``n`` tasks in topological order and ``e`` edges.

    Args:
        name: What the job is called.
        types: Names of its task types.
        type_of: Type of each task, an index into ``types``; shape [n].
        work: Seconds of each task on a node of relative speed 1, shape [n].
        parent_ptr: Where the parents of each task begin in ``parents``, and the end; shape
            [n + 1].
        parents: The parents of each task, ascending; shape [e].
        data: Bytes that each edge moves, in the order of ``parents``, or seconds where the
            weights of edges are times; shape [e].
        labels: Names of the n tasks; may be empty.

    Raises:
        ConfigError: When the arrays contradict each other or the order is not topological.
    """

    name: str
    types: tuple[str, ...]
    type_of: Indices
    work: Floats
    parent_ptr: Indices
    parents: Indices
    data: Floats
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("type_of", "parent_ptr", "parents"):
            self._set(field, np.ascontiguousarray(getattr(self, field), dtype=np.int32))
        for field in ("work", "data"):
            self._set(field, np.ascontiguousarray(getattr(self, field), dtype=np.float64))
        n, e, ptr = len(self.work), len(self.parents), self.parent_ptr
        if n == 0:
            raise ConfigError(f"{self.name}: a graph needs at least one task")
        if len(self.type_of) != n or len(ptr) != n + 1 or len(self.data) != e:
            raise ConfigError(
                f"{self.name}: {n} tasks and {e} edges need type_of [{n}], parent_ptr [{n + 1}] "
                f"and data [{e}], got {len(self.type_of)}, {len(ptr)} and {len(self.data)}"
            )
        if len(self.labels) not in (0, n):
            raise ConfigError(f"{self.name}: {len(self.labels)} labels for {n} tasks")
        counts = np.diff(ptr)
        if ptr[0] != 0 or ptr[-1] != e or counts.min() < 0:
            raise ConfigError(f"{self.name}: parent_ptr must rise from 0 to the {e} edges")
        if self.type_of.min() < 0 or self.type_of.max() >= len(self.types):
            raise ConfigError(f"{self.name}: type_of must point into the {len(self.types)} types")
        self._check_finite("work", self.work)
        if e > 0:
            self._check_finite("data", self.data)
            self._check_order(np.repeat(np.arange(n), counts))

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _check_finite(self, field: str, values: Floats) -> None:
        # NaN fails both comparisons, so two passes see everything.
        if not (values.min() >= 0.0 and values.max() < math.inf):
            i = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
            raise ConfigError(f"{self.name}: {field}[{i}] must be finite and >= 0, got {values[i]}")

    def _check_order(self, child: Indices) -> None:
        if self.parents.min() < 0 or bool((self.parents >= child).any()):
            i = int(np.flatnonzero((self.parents < 0) | (self.parents >= child))[0])
            raise ConfigError(
                f"{self.name}: task {child[i]} has the parent {self.parents[i]}; "
                "a parent must come before its child"
            )
        key = child.astype(np.int64) * self.tasks + self.parents
        if bool((key[1:] <= key[:-1]).any()):
            i = int(np.flatnonzero(key[1:] <= key[:-1])[0]) + 1
            raise ConfigError(
                f"{self.name}: the parents of task {child[i]} must ascend without repetition"
            )

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.work)

    @property
    def edges(self) -> int:
        """Number of edges."""
        return len(self.parents)

    def label(self, task: int) -> str:
        """Return the name of a task; derived from type and index where there is none."""
        return self.labels[task] if self.labels else f"{self.types[self.type_of[task]]}-{task}"

    def longest_path(self, seconds: Floats | None = None) -> float:
        """Return the greatest sum of seconds along a path, transfers not counted.

        Args:
            seconds: Seconds of each task, shape [n], e.g. on its fastest node; ``work`` when
                absent.
        """
        own = self.work if seconds is None else np.ascontiguousarray(seconds, dtype=np.float64)
        require(len(own) == self.tasks, f"{self.tasks} tasks need as many seconds, got {len(own)}")
        rank = upward_ranks(own, self.parent_ptr, self.parents, np.zeros(self.edges))
        return float(rank.max())

    def ccr(self, bandwidth: float = 1.0) -> float:
        """Return the communication-to-computation ratio: mean transfer by mean work.

        Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, section 5.2.

        Args:
            bandwidth: Bytes/s of a typical link; 1 where ``data`` are seconds.
        """
        require(bandwidth > 0, f"ccr needs bandwidth > 0, got {bandwidth}")
        if self.edges == 0 or self.data.max() == 0.0:
            return 0.0
        work = float(self.work.mean())
        return float(self.data.mean()) / bandwidth / work if work > 0 else math.inf

    @staticmethod
    def build(
        name: str,
        tasks: Sequence[tuple[str, str, float]],
        edges: Iterable[tuple[str, str, float]],
    ) -> Graph:
        """Return the graph of tasks and edges that come in any order.

        Of the tasks whose parents are all placed, the first of the input comes next: an input
        that is topological already keeps its order. Types are numbered as they first appear in
        that order. Several edges between the same two tasks become one with the sum of their
        data, since all of it has to move.

        Args:
            name: What the job is called.
            tasks: Label, type and seconds of work of each task.
            edges: Label of the parent, label of the child, and data of each edge.

        Raises:
            ConfigError: At a label that occurs twice, an edge from or to no task, an edge from
                a task to itself, or a cycle; it names the tasks.
        """
        index: dict[str, int] = {}
        for i, (label, _, _) in enumerate(tasks):
            if index.setdefault(label, i) != i:
                raise ConfigError(f"{name}: two tasks are called {quoted(label)}")
        parents: list[dict[int, float]] = [{} for _ in tasks]
        children: list[list[int]] = [[] for _ in tasks]
        for upper, lower, moved in edges:
            for end in (upper, lower):
                if end not in index:
                    raise ConfigError(
                        f"{name}: the edge from {quoted(upper)} to {quoted(lower)} names "
                        f"{quoted(end)}, which is no task"
                    )
            p, c = index[upper], index[lower]
            if p == c:
                raise ConfigError(f"{name}: the task {quoted(upper)} depends on itself")
            if p in parents[c]:
                parents[c][p] += moved
            else:
                parents[c][p] = moved
                children[p].append(c)
        order = _sorted(parents, children)
        if len(order) < len(tasks):
            ring = [quoted(tasks[i][0]) for i in _cycle(parents, set(order))]
            shown = ring if len(ring) <= 10 else [*ring[:9], f"… {len(ring) - 9} more"]
            raise ConfigError(f"{name}: tasks wait for each other: {' -> '.join(shown)}")
        place = {task: i for i, task in enumerate(order)}
        types: dict[str, int] = {}
        rows = [sorted((place[p], d) for p, d in parents[task].items()) for task in order]
        return Graph(
            name=name,
            type_of=np.array([types.setdefault(tasks[i][1], len(types)) for i in order], np.int32),
            types=tuple(types),
            work=np.array([tasks[i][2] for i in order], np.float64),
            parent_ptr=pointers([len(row) for row in rows]),
            parents=np.array([p for row in rows for p, _ in row], np.int32),
            data=np.array([d for row in rows for _, d in row], np.float64),
            labels=tuple(tasks[i][0] for i in order),
        )


def quoted(label: str) -> str:
    """Return a name for a message: quoted, escaped and not too long."""
    return repr(label if len(label) <= 80 else label[:79] + "…")


def pointers(counts: Sequence[int] | Indices) -> Indices:
    """Return where each of consecutive groups begins, and the end.

    Args:
        counts: Size of each group, shape [n].

    Returns:
        Shape [n + 1].
    """
    ptr = np.zeros(len(counts) + 1, dtype=np.int32)
    np.cumsum(counts, out=ptr[1:])
    return ptr


def _sorted(parents: list[dict[int, float]], children: list[list[int]]) -> list[int]:
    waiting = [len(p) for p in parents]
    ready = [i for i, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        task = heapq.heappop(ready)
        order.append(task)
        for c in children[task]:
            waiting[c] -= 1
            if waiting[c] == 0:
                heapq.heappush(ready, c)
    return order


def _cycle(parents: list[dict[int, float]], placed: set[int]) -> list[int]:
    # Every task that is left has a parent that is left: walking up must come round.
    task = min(i for i in range(len(parents)) if i not in placed)
    seen: dict[int, int] = {}
    walk: list[int] = []
    while task not in seen:
        seen[task] = len(walk)
        walk.append(task)
        task = min(p for p in parents[task] if p not in placed)
    return [*walk[seen[task] :], task][::-1]


def check_span(name: str, value: Span, least: int) -> None:
    """Refuse what is neither a whole number nor a (low, high) pair of them.

    Args:
        name: The setting, for the message.
        value: What was given.
        least: The least allowed number.
    """
    ends = list(value) if isinstance(value, Sequence) else [value]
    good = len(ends) in (1, 2) and all(type(v) is int and v >= least for v in ends)
    require(
        good and ends[0] <= ends[-1],
        f"{name} must be a whole number >= {least} or (low, high), got {value!r}",
    )


def drawn(value: Span, rng: np.random.Generator) -> int:
    """Return the number itself, or one drawn uniformly from low to high, both included."""
    if isinstance(value, int):
        return value
    return int(rng.integers(value[0], value[-1] + 1))


@dataclass(frozen=True, kw_only=True)
class Weights(ABC):
    """How much generated tasks compute and generated edges move; generators extend it.

    Work is log-normal. The data of an edge are log-normal around ``ccr`` × mean work of this
    graph × ``bandwidth``, so the expected :meth:`Graph.ccr` is exactly ``ccr``.

    Args:
        mean_seconds: Expected work of a task, seconds on a node of relative speed 1.
        sigma: Spread of the work: standard deviation of its logarithm.
        ccr: Expected communication-to-computation ratio.
        bandwidth: Bytes/s of a typical link; 1 where the data of edges are seconds.
        data_sigma: Spread of the data: standard deviation of their logarithm.
        types: Kinds of task, "k0", "k1", …, drawn uniformly for each task.
    """

    mean_seconds: float = 10.0
    sigma: float = 0.5
    ccr: float = 0.5
    bandwidth: float = 1.25e8
    data_sigma: float = 0.5
    types: int = 4

    def __post_init__(self) -> None:
        for field, least in (("sigma", 0.0), ("data_sigma", 0.0), ("ccr", 0.0)):
            value = getattr(self, field)
            require(least <= value < math.inf, f"{field} must be finite and >= 0, got {value}")
        for field in ("mean_seconds", "bandwidth"):
            value = getattr(self, field)
            require(0.0 < value < math.inf, f"{field} must be finite and > 0, got {value}")
        require(self.types >= 1, f"types must be >= 1, got {self.types}")

    @abstractmethod
    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""

    def weighed(
        self,
        name: str,
        parent_ptr: Indices,
        parents: Indices,
        rng: np.random.Generator,
        *,
        operations: Floats | None = None,
        elements: Floats | None = None,
        level: Indices | None = None,
    ) -> Graph:
        """Return the graph of a structure with drawn work, data and types.

        Args:
            name: What the job is called.
            parent_ptr: Shape [n + 1].
            parents: Shape [e].
            rng: What the numbers are drawn from.
            operations: Relative work of each task, shape [n]; equal when absent.
            elements: Relative data of each edge, shape [e]; equal when absent.
            level: Level of each task, from 0, shape [n]; where given, all tasks of a level draw
                the same factor, and so do the edges into it.
        """
        n, e = len(parent_ptr) - 1, len(parents)
        if level is None:
            work, data = _lognormal(rng, self.sigma, n), _lognormal(rng, self.data_sigma, e)
        else:
            levels = int(level.max()) + 1
            work = _lognormal(rng, self.sigma, levels)[level]
            into = np.repeat(level, np.diff(parent_ptr))
            data = _lognormal(rng, self.data_sigma, levels)[into]
        if operations is not None:
            work *= operations / operations.mean()
        work *= self.mean_seconds
        if elements is not None and e > 0:
            data *= elements / elements.mean()
        data *= self.ccr * self.bandwidth * work.mean()
        return Graph(
            name=name,
            types=_kinds(self.types),
            type_of=rng.integers(self.types, size=n, dtype=np.int32),
            work=work,
            parent_ptr=parent_ptr,
            parents=parents,
            data=data,
        )


def _lognormal(rng: np.random.Generator, sigma: float, size: int) -> Floats:
    return rng.lognormal(-0.5 * sigma * sigma, sigma, size)


def _kinds(count: int) -> tuple[str, ...]:
    return tuple(f"k{i}" for i in range(count))
