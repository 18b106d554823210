"""Query: stages of interchangeable tasks that shuffle into one another, as Spark runs SQL."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from toolkit.errors import require
from toolkit.workflows.graph import Graph, Span, Weights, check_span, drawn, pointers


@dataclass(frozen=True, kw_only=True)
class Query(Weights):
    """A tree of stages that ends in one: each other stage is read by one that comes later.

    A shuffle hands something of every task of a stage to every task of the one that reads it. The
    tasks of a stage have one type and one work, so that nobody could tell them apart; what they
    send is the same too. Stages that nothing precedes are the scans.

    The workload of Mao et al., SIGCOMM 2019, doi:10.1145/3341302.3342080, section 7.1, has this
    form (TPC-H queries on inputs of many sizes); the numbers here are drawn, not theirs.

    Args:
        stages: Number of stages, or (low, high).
        width: Tasks of a stage, or (low, high) of one draw per stage.
        reach: How many stages later the reader of a stage may come.
        job_sigma: Spread of a factor on the work of all tasks of a job, log-normal with mean one:
            standard deviation of its logarithm. The greater, the fewer jobs hold most of the work.
    """

    stages: Span = (2, 15)
    width: Span = (1, 20)
    reach: int = 3
    job_sigma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("stages", self.stages, 1)
        check_span("width", self.width, 1)
        require(self.reach >= 1, f"reach must be >= 1, got {self.reach}")
        require(
            0 <= self.job_sigma < math.inf,
            f"job_sigma must be finite and >= 0, got {self.job_sigma}",
        )

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        stages = drawn(self.stages, rng)
        widths = np.array([drawn(self.width, rng) for _ in range(stages)])
        ends = np.cumsum(widths)
        read: list[list[int]] = [[] for _ in range(stages)]
        for stage in range(stages - 1):
            latest = min(stages - 1, stage + self.reach)
            read[int(rng.integers(stage + 1, latest + 1))].append(stage)
        above = [
            np.concatenate([np.arange(ends[u] - widths[u], ends[u]) for u in stages_read])
            if stages_read
            else np.zeros(0, dtype=np.int64)
            for stages_read in read
        ]
        counts = np.repeat([len(parents) for parents in above], widths).astype(np.int32)
        parents = np.concatenate([np.tile(above[v], widths[v]) for v in range(stages)])
        graph = self.weighed(
            f"query-{stages}",
            pointers(counts),
            parents.astype(np.int32),
            rng,
            level=np.repeat(np.arange(stages), widths),
        )
        kinds = rng.integers(self.types, size=stages, dtype=np.int32)
        factor = rng.lognormal(-0.5 * self.job_sigma**2, self.job_sigma)
        return dataclasses.replace(
            graph,
            work=graph.work * factor,
            data=graph.data * factor,
            type_of=np.repeat(kinds, widths),
        )
