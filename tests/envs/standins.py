"""Small scenarios of the three families for the environments; imported by path."""

from dataclasses import dataclass, field, fields, replace

import numpy as np
import pytest

from tests.planning.dags import by_child
from tests.workloads import Luck, estimates, scenario
from toolkit.cluster import Cluster, Node
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.reward import BatchWeights, Weights, WorkflowWeights
from toolkit.scenarios.disturbances import Disturbances
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.workload import CONFIGURATION, PLACEMENT, Workload, assemble

GIB = 2.0**30


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Pipelines with luck."""

    name: str = "allocation"
    jobs: int = 4
    rate: float = 3.0
    horizon: float = 60.0
    weights: Weights = field(
        default_factory=lambda: Weights(throughput=1.0, latency=1.0, cost=1.0, bottleneck=0.25)
    )

    def _of(self):
        return scenario(jobs=self.jobs, rate=self.rate, weights=self.weights, horizon=self.horizon)

    def plan(self, seed):
        return self._of().plan(seed, estimates=estimates(self._of()))

    def truth(self, workload, seed):
        return Luck().truth(workload, seed)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A stream of random graphs on unequal nodes."""

    name: str = "placement"
    jobs: int = 3
    tasks: int = 8
    nodes: int = 3
    rate: float = 0.05
    data: float = 10.0
    slots: int = 12
    advice: bool = False
    duplicate: bool = False
    sigma: float = 0.3
    outages: tuple = ()
    disturbances: Disturbances = field(default_factory=Disturbances)
    horizon: float = 10_000.0
    weights: WorkflowWeights = field(
        default_factory=lambda: WorkflowWeights(sojourn=1.0, elapsed=0.5, utilisation=0.1)
    )

    def plan(self, seed):
        rng = generator(seed, "workload")
        n, T = self.jobs * self.tasks, 6
        job_ptr = np.arange(self.jobs + 1) * self.tasks
        edges = []
        for first in job_ptr[:-1]:
            for v in range(first + 1, first + self.tasks):
                near = np.arange(max(first, v - 6), v)
                chosen = rng.choice(near, size=min(len(near), rng.integers(0, 3)), replace=False)
                edges += [(int(u), v, float(rng.uniform(0, self.data))) for u in chosen]
        parent_ptr, parents, data = by_child(n, edges)
        cluster = Cluster(
            nodes=tuple(
                Node(name=f"d{m}", cpus=1, memory=GIB, kind=f"k{m % 2}", bandwidth=1.0)
                for m in range(self.nodes)
            )
        )
        table = generator(0, "seconds").uniform(2, 20, (T, len(cluster.kinds)))
        arrays = assemble(
            family=PLACEMENT,
            type_of=rng.integers(0, T, n),
            job_ptr=job_ptr,
            parent_ptr=parent_ptr,
            parents=parents,
            data=data,
            arrival=np.concatenate(
                [[0.0], np.cumsum(rng.exponential(1 / self.rate, self.jobs - 1))]
            ),
            scale=rng.uniform(0.5, 2, n),
            seconds=table,
            demand=[[1, 1, 0]],
            profile_of_type=np.zeros(T, dtype=np.int32),
            cluster=cluster,
            slots=self.slots,
            advice=self.advice,
            duplicate=self.duplicate,
        )
        types = tuple(f"t{t}" for t in range(T))
        return Workload(types=types, cluster=cluster, arrays=arrays, seed=seed)

    def truth(self, workload, seed):
        w = workload.arrays
        luck = np.exp(self.sigma * generator(seed, "luck").standard_normal(workload.tasks))
        at, node, kind = zip(*self.outages, strict=True) if self.outages else ((), (), ())
        return Truth(
            seconds=w.seconds,
            scale=w.scale * luck,
            outages=(
                np.array(at, dtype=np.float64),
                np.array(node, dtype=np.int32),
                np.array(kind, dtype=np.int32),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Batches of two stages on executors of four shapes."""

    name: str = "configuration"
    jobs: int = 5
    horizon: float = 5000.0
    weights: BatchWeights = field(default_factory=lambda: BatchWeights(sojourn=1.0, cost=0.1))

    def plan(self, seed):
        rng = generator(seed, "workload")
        maps, each = 6, 8
        edges = [
            (j * each + u, j * each + v, 0.0)
            for j in range(self.jobs)
            for u in range(maps)
            for v in range(maps, each)
        ]
        n = self.jobs * each
        parent_ptr, parents, data = by_child(n, edges)
        cluster = Cluster(nodes=(Node(name="host", cpus=8, memory=8 * GIB),))
        fleets = np.array([[s, 1 + s, GIB / 2, count] for s in range(2) for count in (2, 4)])
        arrays = assemble(
            family=CONFIGURATION,
            type_of=np.tile(np.repeat([0, 1], [maps, each - maps]), self.jobs),
            job_ptr=np.arange(self.jobs + 1) * each,
            parent_ptr=parent_ptr,
            parents=parents,
            data=data,
            arrival=np.concatenate([[0.0], np.cumsum(rng.exponential(20.0, self.jobs - 1))]),
            scale=rng.uniform(0.5, 2, n),
            seconds=[[8.0, 6.0], [3.0, 2.5]],
            demand=[[1, 1, 0]],
            profile_of_type=[0, 0],
            cluster=cluster,
            fleets=fleets,
            startup=2.0,
        )
        return Workload(types=("map", "reduce"), cluster=cluster, arrays=arrays, seed=seed)

    def truth(self, workload, seed):
        w = workload.arrays
        luck = np.exp(0.2 * generator(seed, "luck").standard_normal(workload.tasks))
        return Truth(seconds=w.seconds, scale=w.scale * luck, startup=2.0)


SCENARIOS = {
    "allocation": Allocation(),
    "placement": Placement(),
    "advised": Placement(advice=True),
    "duplicating": Placement(duplicate=True),
    "configuration": Configuration(),
}


def small(name):
    """A stand-in, or a scenario of ``conf/scenario`` with few jobs."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    of = scenario_of(name)
    few = {f.name: 3 for f in fields(of) if f.name in ("jobs", "batches")}
    try:
        of = replace(of, **few)
        of.plan(0)
    except ConfigError as error:
        pytest.skip(str(error))  # the recorded workflows are not here
    return of
