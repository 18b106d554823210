"""Random workloads of every family with their truth, disturbances included.

On a ``grid`` all times are sums of a few dyadic numbers, so that many events fall on one instant
and sums have no rounding; off it nothing coincides by chance.
"""

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.simulator.state import KILLED, LOST, RETURNED
from toolkit.workload import ALLOCATION, CONFIGURATION, PLACEMENT, Workload, assemble

GIB = 2**30
HORIZON = 128.0
"""Seconds, on the grid; most episodes end before, some are held up for ever."""


def placement(
    seed,
    *,
    jobs=3,
    tasks=6,
    nodes=3,
    grid=True,
    outages=0,
    pull=False,
    duplicate=False,
    in_flight=0,
    slots=64,
    crowded=False,
):
    """Return jobs of up to ``tasks`` tasks each, on nodes of which the first can hold every task.

    Siblings often have the same parents and size, so that there are twins. Tasks contend where
    it is ``crowded``, in every family.
    """
    rng = generator(seed, "placement scene")
    kinds = int(rng.integers(1, nodes + 1))
    cluster = Cluster(
        nodes=tuple(
            Node(
                name=f"n{m}",
                cpus=4 if m == 0 else float(rng.choice([0, 1, 2, 4])),
                memory=(8 if m == 0 else float(rng.choice([2, 4, 8]))) * GIB,
                gpus=2 if m == 0 else float(rng.integers(1, 3)),
                kind=f"k{m % kinds}",
                bandwidth=float(rng.choice([0.25, 0.5, 1, np.inf])) * GIB,
                latency=float(rng.choice([0, 0, 0.25, 0.5])),
            )
            for m in range(nodes)
        )
    )
    types = int(rng.integers(1, 4))
    demand = [
        [
            [(0, 1, 2, 0.1, 0.3), (0.25, 0.5, 1)][i == 0][int(rng.integers(3 if i == 0 else 5))],
            float(rng.choice([0.5, 1, 2, 3])) * GIB,
            float(rng.choice([0, 0, 0.5, 1])),
        ]
        for i in range(types)
    ]
    if crowded and grid:
        demand = _whole(demand)
    sizes = [int(rng.integers(1, tasks + 1)) for _ in range(jobs)]
    first = np.concatenate([[0], np.cumsum(sizes)])
    parents, data, ends = [], [], [0]
    for job in range(jobs):
        above = []
        for i in range(first[job], first[job + 1]):
            known = np.arange(first[job], i)
            if len(known) == 0 or rng.random() < 0.5:
                # A sibling of the one before it starts from the same parents.
                count = min(len(known), int(rng.integers(0, 3)))
                above = [*sorted(rng.choice(known, size=count, replace=False).tolist())]
            sent = rng.choice([0, 1, 2, 8], size=len(above)) * GIB
            parents += above
            data += (sent if grid else sent * rng.uniform(0.1, 2, len(above))).tolist()
            ends.append(len(parents))
    n = int(first[-1])
    seconds = _seconds(rng, (types, kinds), grid)
    scale = rng.choice([1.0, 1.0, 2.0], size=n)
    luck = np.ones(n) if rng.random() < 0.3 and not crowded else _luck(rng, n, grid)
    arrays = assemble(
        family=PLACEMENT,
        type_of=rng.integers(0, types, n),
        job_ptr=first,
        parent_ptr=ends,
        parents=parents,
        data=data,
        arrival=_arrivals(rng, jobs, grid),
        scale=scale,
        seconds=seconds,
        demand=demand,
        cluster=cluster,
        profile_of_type=np.arange(types),
        deadline=rng.choice([2.0, 10.0, np.inf], size=jobs),
        size_bin=rng.integers(0, 3, jobs),
        pull=pull,
        duplicate=duplicate,
        slots=slots,
        in_flight=in_flight,
    )
    truth = Truth(
        seconds=seconds,
        scale=scale * luck,
        start_delay=_delays(rng, n),
        seen_delay=_delays(rng, n),
        outages=_outages(rng, outages, nodes, grid),
        **_contention(rng, crowded, nodes, grid),
    )
    return _workload(arrays, cluster, types, seed), truth


def allocation(seed, *, jobs=4, tasks=5, nodes=2, grid=True, outages=0, in_flight=0, crowded=False):
    """Return jobs whose tasks take as long as their profile makes them; not every profile fits."""
    rng = generator(seed, "allocation scene")
    cluster = Cluster(
        nodes=tuple(
            Node(
                name=f"n{m}",
                cpus=float(rng.choice([1, 2, 4])),
                memory=float(rng.choice([2, 4, 8])) * GIB,
            )
            for m in range(nodes)
        )
    )
    types, profiles = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    demand = [[0.5, 1.0 * GIB, 0.0]] + [
        [float(rng.choice([0.1, 0.3, 1, 2, 4])), float(rng.choice([0.5, 1, 3, 6])) * GIB, 0.0]
        for _ in range(profiles - 1)
    ]
    if crowded and grid:
        demand = _whole(demand)
    sizes = [int(rng.integers(1, tasks + 1)) for _ in range(jobs)]
    first = np.concatenate([[0], np.cumsum(sizes)])
    n = int(first[-1])
    parents, ends = [], [0]
    for job in range(jobs):
        for i in range(first[job], first[job + 1]):
            known = np.arange(first[job], i)
            count = min(len(known), int(rng.integers(0, 3)))
            parents += sorted(rng.choice(known, size=count, replace=False).tolist())
            ends.append(len(parents))
    types_of = rng.integers(0, types, n)
    seconds = _seconds(rng, (types, profiles), grid)
    arrays = assemble(
        family=ALLOCATION,
        type_of=types_of,
        job_ptr=first,
        parent_ptr=ends,
        parents=parents,
        data=np.zeros(len(parents)),
        arrival=_arrivals(rng, jobs, grid),
        scale=rng.choice([1.0, 1.0, 2.0], size=n),
        seconds=seconds,
        demand=demand,
        cluster=cluster,
        by_profile=True,
        deadline=rng.choice([2.0, 10.0, np.inf], size=jobs),
        size_bin=rng.integers(0, 3, jobs),
        interval=float(rng.choice([1.0, 2.5, np.inf])),
        in_flight=in_flight,
    )
    truth = Truth(
        seconds=seconds[types_of] * _luck(rng, n, grid)[:, None],
        start_delay=_delays(rng, n),
        seen_delay=_delays(rng, n),
        outages=_outages(rng, outages, nodes, grid),
        **_contention(rng, crowded, nodes, grid),
    )
    return _workload(arrays, cluster, types, seed), truth


def configuration(
    seed, *, jobs=3, tasks=6, hosts=2, grid=True, outages=0, in_flight=0, crowded=False
):
    """Return batches of up to three stages, and executors of two or three shapes to serve them."""
    rng = generator(seed, "configuration scene")
    cluster = Cluster(
        nodes=tuple(
            Node(name=f"h{h}", cpus=float(rng.integers(2, 7)), memory=float(rng.integers(4, 9)))
            for h in range(hosts)
        )
    )
    shapes = int(rng.integers(1, 4))
    # The first executor fits every host; a column of durations belongs to each shape.
    of_shape = [(1.0, 1.0), (2.0, 2.0), (3.0, 5.0)][:shapes]
    fleets = np.array(
        [
            (shape, *of_shape[shape], rng.integers(1, 6))
            for shape in range(shapes)
            for _ in range(int(rng.integers(1, 3)))
        ],
        dtype=np.float64,
    )
    types = int(rng.integers(1, 4))
    parents, ends, types_of, first = [], [0], [], [0]
    for _ in range(jobs):
        above = []
        for stage in range(int(rng.integers(1, types + 1))):
            wide = range(len(types_of), len(types_of) + int(rng.integers(1, tasks + 1)))
            for _ in wide:
                parents += above
                ends.append(len(parents))
                types_of.append(stage)
            above = list(wide)
        first.append(len(types_of))
    n = len(types_of)
    seconds = _seconds(rng, (types, shapes), grid)
    scale = rng.choice([1.0, 1.0, 2.0], size=n)
    startup = float(rng.choice([0.0, 1.0, 2.5]))
    arrays = assemble(
        family=CONFIGURATION,
        type_of=types_of,
        job_ptr=first,
        parent_ptr=ends,
        parents=parents,
        data=np.zeros(len(parents)),
        arrival=_arrivals(rng, jobs, grid),
        scale=scale,
        seconds=seconds,
        demand=[[1.0, 0.0 if rng.random() < 0.5 else 0.5, 0.0]],
        cluster=cluster,
        profile_of_type=np.zeros(types, dtype=np.int32),
        deadline=rng.choice([2.0, 10.0, np.inf], size=jobs),
        fleets=fleets,
        startup=startup,
        in_flight=in_flight,
    )
    truth = Truth(
        seconds=seconds,
        scale=scale * _luck(rng, n, grid),
        start_delay=_delays(rng, n),
        seen_delay=_delays(rng, n),
        outages=_outages(rng, outages, len(arrays.capacity), grid),
        startup=startup if rng.random() < 0.5 else startup + rng.integers(0, 3, 3) * 0.5,
        **_contention(rng, crowded, len(arrays.capacity), grid),
    )
    return _workload(arrays, cluster, types, seed), truth


def _workload(arrays, cluster, types, seed):
    names = tuple(f"t{t}" for t in range(types))
    return Workload(types=names, cluster=cluster, arrays=arrays, seed=seed)


def _seconds(rng, shape, grid):
    # Multiples of 1.5 s keep means over one to four kinds of nodes dyadic.
    if grid:
        return 1.5 * rng.integers(1, 5, shape)
    return rng.uniform(0.5, 6.0, shape)


def _luck(rng, n, grid):
    """Most take as long as estimated; some finish at once, some straggle."""
    luck = rng.choice([0.0, 0.5, 1.0, 1.0, 1.0, 4.0], size=n)
    return luck if grid else luck * np.exp(0.5 * rng.standard_normal(n))


def _delays(rng, n):
    if rng.random() < 0.5:
        return np.full(1, float(rng.choice([0.0, 0.25])))
    return rng.choice([0.0, 0.0, 0.25, 0.5], size=n)


def _arrivals(rng, jobs, grid):
    if grid:
        return np.sort(rng.integers(0, 8, jobs) * 0.5)
    return np.sort(rng.uniform(0.0, 6.0, jobs))


def _whole(demand):
    """Round cpus up: between whole loads speeds would leave the grid."""
    return [[np.ceil(cpus), memory, gpus] for cpus, memory, gpus in demand]


def _contention(rng, crowded, nodes, grid):
    """Speeds that fall and rise with the load, and nodes of which some share a machine."""
    if not crowded:
        return {}
    many = int(rng.integers(2, 7))
    shared = rng.integers(0, nodes, nodes if rng.random() < 0.8 else 0)
    return {
        # To halve and double keeps what is left dyadic.
        "rates": rng.choice([0.5, 1.0, 2.0], many) if grid else rng.uniform(0.2, 2.0, many),
        "machine": shared.astype(np.int32),
    }


def _outages(rng, count, nodes, grid):
    """Any kind at any time: lost twice, returned without having been lost, lost for ever."""
    at = np.sort(rng.integers(0, 80, count) * 0.25 if grid else rng.uniform(0, 20, count))
    where = rng.integers(0, nodes, count).astype(np.int32)
    kinds = rng.choice([LOST, LOST, RETURNED, RETURNED, RETURNED, KILLED], size=count)
    return at, where, kinds.astype(np.int32)
