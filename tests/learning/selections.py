"""A small ground and networks with known choices that the tests of selecting share."""

import numpy as np

from toolkit.networks.graph_network import GraphScorer
from toolkit.reward import WorkflowWeights
from toolkit.scenarios.workflows import Group, Machines, Stream, Workflows
from toolkit.workflows.query import Query


def jobs(**changes):
    """Return a stream of jobs like Spark's on three identical executors."""
    values = {
        "name": "jobs",
        "graphs": Query(
            stages=(1, 4), width=(1, 4), mean_seconds=4.0, job_sigma=1.5, ccr=0.0, types=1
        ),
        "jobs": 8,
        "arrivals": Stream(load=1.5),
        "cluster": Machines(groups=(Group(kind="executor", count=3, memory=8, bandwidth=1e9),)),
        "weights": WorkflowWeights(sojourn=1.0),
        "horizon": 10_000.0,
        "sigma": 0.2,
        "advice": False,
    }
    return Workflows(**{**values, **changes})


class Lowest(GraphScorer):
    """Scores the lowest task highest; jobs are numbered as they arrive, so that this is FIFO."""

    def alone(self):
        return self

    def scores(self, seen):
        return -seen.key[seen.option].astype(np.float32)


def lowest(late=False):
    return Lowest(variant="lachesis", hidden=4, rounds=2, late=late)
