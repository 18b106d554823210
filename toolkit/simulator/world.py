"""World: the truth behind the state, which the engine knows and no policy sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.workload import FAMILY, PLACEMENT, Floats, Indices, Ints, WorkloadArrays

HEAD, TAIL, HEAP, SEQUENCE, NEXT_JOB, EVENTS, NEXT_OUTAGE = 0, 1, 2, 3, 4, 5, 6
"""Entries of ``World.counters``."""

LOAD, LAST = 0, 1
"""Columns of ``World.crowd``: cpus in use; when work done was counted last, s."""


class World(NamedTuple):
    """The truth behind the state: what the engine knows and no policy sees.

    A task truly takes ``true_seconds[type, column] * true_scale[task]``, or
    ``true_seconds[task, column]`` where the scale is empty. Delays are one number for all tasks
    or one for each. Where there are rates these seconds are *work*, which a task does at the rate
    of the load of its machine: the cpus of all tasks that have started there and not ended, one
    for a task that asks for none. Loads change when tasks truly start and end, seen or not.
    """

    true_seconds: Floats  # [T, C] or [n, C] s
    true_scale: Floats  # [n] or [0]
    start_delay: Floats  # [1] or [n] s from hand-over to start
    seen_delay: Floats  # [1] or [n] s from an event to its being seen
    startup: Floats  # [S] s until executors are there, by how many start at once
    rates: Floats  # [L + 1] speed of tasks by the cpus in use on their machine; [0]: always 1
    machine: Indices  # [M] of each node; [0] where nothing contends
    outage_at: Floats  # [o] s, ascending
    outage_node: Indices  # [o]
    outage_kind: Indices  # [o] LOST, RETURNED, or KILLED for what runs on the node
    queue: Indices  # [n] ring of tasks in the order of readiness; [0] in placement
    heap_time: Floats  # [h] s, when it is seen
    heap_at: Floats  # [h] s, when it happens
    heap_what: Ints  # [h] sequence, kind and subject of an event
    counters: Ints  # [7]
    undone: Floats  # [n] work left of a task when last counted, s, -1 unless it runs; or [0]
    crowd: Floats  # [machines, 2] see LOAD; or [0, 2]

    def copy(self) -> World:
        """Return an independent copy; what never changes is shared."""
        return self._replace(
            queue=self.queue.copy(),
            heap_time=self.heap_time.copy(),
            heap_at=self.heap_at.copy(),
            heap_what=self.heap_what.copy(),
            counters=self.counters.copy(),
            undone=self.undone.copy(),
            crowd=self.crowd.copy(),
        )


def create(
    w: WorkloadArrays,
    seconds: Floats,
    scale: Floats,
    start_delay: Floats,
    seen_delay: Floats,
    startup: Floats | float = 0.0,
    outages: tuple[Floats, Indices, Indices] | None = None,
    rates: Floats | None = None,
    machine: Indices | None = None,
) -> World:
    """Return the world before anything has arrived.

    Args:
        w: The workload.
        seconds: Shape [T, C], or [n, C] where ``scale`` is empty.
        scale: Shape [n] or [0].
        start_delay: Shape [1] or [n], s.
        seen_delay: Shape [1] or [n], s.
        startup: Seconds until executors are there, by how many start at once, shape [S]; or one
            number for any.
        outages: Times, nodes and kinds, in ascending order of time.
        rates: Speed of tasks by the cpus in use on their machine, shape [L + 1]; always 1 when
            None.
        machine: That each node is on, shape [M]; each on one of its own when None.
    """
    n = len(w.type_of)
    family = w.rules[FAMILY]
    # A task has one event to come, two if dispatched or with a copy; an executor may be starting.
    held = int(min(2 * n, 2 * _most_at_once(w))) + len(w.capacity) + 1
    none = np.zeros(0)
    speeds = none if rates is None else rates
    contend, nodes = len(speeds) > 0, len(w.capacity)
    on = np.arange(nodes, dtype=np.int32) if machine is None or not len(machine) else machine
    at, where, kind = outages or (np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32))
    return World(
        true_seconds=seconds,
        true_scale=scale,
        start_delay=start_delay,
        seen_delay=seen_delay,
        startup=np.atleast_1d(np.asarray(startup, dtype=np.float64)),
        rates=speeds,
        machine=on if contend else np.zeros(0, dtype=np.int32),
        outage_at=at,
        outage_node=where,
        outage_kind=kind,
        queue=np.zeros(0 if family == PLACEMENT else n, dtype=np.int32),
        heap_time=np.zeros(held),
        heap_at=np.zeros(held),
        heap_what=np.zeros(held, dtype=np.int64),
        counters=np.zeros(7, dtype=np.int64),
        undone=np.full(n, -1.0) if contend else none,
        crowd=np.zeros((int(on.max()) + 1 if contend else 0, 2)),
    )


def _most_at_once(w: WorkloadArrays) -> float:
    """Return an upper bound on the tasks that run at once."""
    n = len(w.type_of)
    asks = w.demand > 0
    if not asks.any(axis=1).all():
        return float(n)
    least = np.where(asks, w.demand, np.inf).min(axis=0)
    # By the least that a task asks for of each resource; half a byte is what sums may err.
    each = np.floor((w.capacity + np.array([0.0, 0.5, 0.0])) / least + 1e-6)
    # Tasks that ask for different resources run beside each other.
    most = np.minimum(each.sum(axis=1), np.where(asks.all(axis=0), each, np.inf).min(axis=1))
    return float(min(most.sum(), n))


def unknown() -> World:
    """Return a world that tells nothing, for handles that policies are given."""
    none, no_index = np.zeros(0), np.zeros(0, dtype=np.int32)
    no_number = np.zeros(0, dtype=np.int64)
    return World(
        true_seconds=np.zeros((0, 0)),
        true_scale=none,
        start_delay=none,
        seen_delay=none,
        startup=none,
        rates=none,
        machine=no_index,
        outage_at=none,
        outage_node=no_index,
        outage_kind=no_index,
        queue=no_index,
        heap_time=none,
        heap_at=none,
        heap_what=no_number,
        counters=no_number,
        undone=none,
        crowd=np.zeros((0, 2)),
    )
