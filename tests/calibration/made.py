"""Executions and recordings whose truth is known, which tests of calibrations share."""

import dataclasses

import numpy as np

from collectors.simulated import SimulatedCollector
from tests.workloads import scenario
from toolkit.calibration.contention import rates
from toolkit.calibration.executions import Executions
from toolkit.policies.random import Random
from toolkit.reward import BatchWeights, WorkflowWeights
from toolkit.scenarios.batches import Batches, Stage
from toolkit.scenarios.described import described
from toolkit.scenarios.pipelines import Process
from toolkit.scenarios.workflows import Batch, Group, Machines, Workflows
from toolkit.workflows.layered import Layered

CORES = 4
FAMILIES = ("allocation", "placement", "configuration")
RANDOM = (Random(),)


def executed(type_of, column, data, seconds, **changed):
    """Return executions one after another, each on a machine of its own."""
    n = len(type_of)
    told = {
        "type_of": type_of,
        "column": column,
        "data": data,
        "started": np.zeros(n),
        "finished": np.zeros(n) + seconds,
        "cpus": np.ones(n),
        "machine": np.arange(n),
        "run": np.zeros(n, dtype=np.int64),
        "job": np.arange(n),
        "task": np.arange(n),
        "cold": np.zeros(n, dtype=np.bool_),
    }
    return Executions(**told | changed)


def scenario_of(family, sigma=0.05, **changed):
    """Return a small scenario whose machines have ``CORES`` cores, all of them in use."""
    if family == "allocation":
        settings = {
            "types": ("qc", "align"),
            "edges": (("qc", "align"),),
            "profiles": ((1, 8), (2, 8)),
            "cpus": CORES,
            "jobs": 12,
            "rate": 100.0,
            "interval": 0.2,
            "processes": (
                Process(type="qc", seconds=0.3, serial=0.5),
                Process(type="align", seconds=0.6, serial=0.1),
            ),
            "sigma": sigma,
        }
        return scenario(**settings | changed)
    if family == "placement":
        settings = {
            "name": "flows",
            "graphs": Layered(tasks=(14, 18), types=2, fatness=3.0, density=0.05),
            "jobs": 2,
            "arrivals": Batch(),
            "cluster": Machines(
                groups=[
                    Group(kind="fast", count=1, memory=8, speed=2, cpus=CORES, bandwidth=1e9),
                    Group(kind="slow", count=1, memory=8, cpus=CORES, bandwidth=1e9),
                ]
            ),
            "weights": WorkflowWeights(sojourn=1.0),
            "horizon": 1e5,
            "ccr": 0.05,
            "sigma": sigma,
        }
        return Workflows(**settings | changed)
    settings = {
        "name": "batches",
        "stages": [
            Stage(name="resize", seconds=0.02, overhead=0.1),
            Stage(name="store", seconds=0.01),
        ],
        "batches": 8,
        "startup": 0.1,
        "weights": BatchWeights(inverse=1000.0),
        "hosts": 2,
        "host_cpus": 8,
        "cores": (2, CORES),
        "memory": (500,),
        "instances": (1, 2),
        "frames": (10, 40),
        "partitions": (8, 12),
        "sigma": sigma,
    }
    return Batches(**settings | changed)


def crowded(of, interference):
    """Return a scenario whose tasks slow each other down on every machine."""

    class Crowded(type(of)):
        plain = of

        def truth(self, workload, seed):
            return dataclasses.replace(
                super().truth(workload, seed), rates=rates(interference, CORES, CORES)
            )

    return Crowded(**{f.name: getattr(of, f.name) for f in dataclasses.fields(of)})


def simulated(of, folder, *, runs=3, policies=RANDOM, paired=False):
    """Record a scenario; what slows its tasks down is no part of what the trace says of it."""
    collector = SimulatedCollector(runs=runs, behaviours=["x"] * len(policies), paired=paired)
    trace = collector.collect(of, policies, 5, folder)
    if "profiles" in trace.provenance["scenario"]:
        return trace
    plain = described(getattr(of, "plain", of))
    return dataclasses.replace(trace, provenance={**trace.provenance, "scenario": plain})
