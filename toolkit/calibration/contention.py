"""Contention: tasks on one machine slow each other down, by a rate that depends on its load.

A task's *work* is the integral of the rate over its life, so that it owns the same work whatever
runs beside it. The rate is the same for all tasks of a machine: 1 where one cpu is in use; up to
its cores it falls as 1/(1 + a·(load − 1)/(cores − 1)); beyond them the cores are shared.
"""

from __future__ import annotations

import numpy as np

from toolkit.calibration.executions import Executions
from toolkit.workload import Floats


def rates(interference: float, cores: float, most: float) -> Floats:
    """Return the speed of tasks by the cpus in use on their machine.

    Args:
        interference: a; how many times longer than alone, less 1, tasks take on a full machine.
        cores: Of the machine.
        most: Greatest load.

    Returns:
        Speeds at loads 0, 1, …, shape [ceil(most) + 1]; linear between them.
    """
    load = np.maximum(np.arange(int(np.ceil(most)) + 1, dtype=np.float64), 1.0)
    full = max(cores, 1.0)
    crowded = 1.0 + interference * (np.minimum(load, full) - 1.0) / max(full - 1.0, 1.0)
    return np.asarray(np.minimum(1.0, full / load) / crowded)


def work(done: Executions, speeds: Floats) -> Floats:
    """Return what each execution was worth alone, s, shape [n].

    Args:
        done: All executions of some runs.
        speeds: By load, as :func:`rates` gives them.
    """
    found = np.empty(len(done))
    machines = done.run << 16 | done.machine
    for machine in np.unique(machines):
        mine = machines == machine
        started, finished = done.started[mine], done.finished[mine]
        at = np.concatenate([started, finished])
        change = np.concatenate([done.cpus[mine], -done.cpus[mine]])
        order = np.argsort(at, kind="stable")
        at = at[order]
        load = np.cumsum(change[order])
        speed = np.interp(load, np.arange(len(speeds)), speeds)
        passed = np.concatenate([[0.0], np.cumsum(speed[:-1] * np.diff(at))])
        found[mine] = np.interp(finished, at, passed) - np.interp(started, at, passed)
    return np.maximum(found, 1e-6)
