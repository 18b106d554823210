"""Small workloads and truth models that tests share; imported by path, never installed."""

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.decision import decide
from toolkit.reward import Weights
from toolkit.scenarios.pipelines import MIB, Estimates, Feature, Pipelines
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import Truth
from toolkit.simulator.state import ASK_PROFILE, POSITION, STAGE, initial
from toolkit.simulator.world import unknown

TYPES = ("qc", "trim", "kmer", "align", "merge", "call")
EDGES = (
    ("qc", "trim"),
    ("trim", "kmer"),
    ("trim", "align"),
    ("kmer", "merge"),
    ("align", "merge"),
    ("merge", "call"),
)
PROFILES = ((1, 8), (1, 64), (2, 8), (2, 64), (4, 64))
# seconds of a typical task by type and profile: trim scales with cpus, kmer needs memory,
# merge is serial
SECONDS = np.array(
    [
        [0.04, 0.04, 0.03, 0.03, 0.02],
        [0.05, 0.05, 0.03, 0.03, 0.02],
        [0.26, 0.13, 0.15, 0.08, 0.05],
        [0.14, 0.14, 0.07, 0.07, 0.04],
        [0.03, 0.02, 0.03, 0.02, 0.02],
        [0.05, 0.05, 0.03, 0.03, 0.02],
    ]
)


def scenario(**changes):
    settings = {
        "name": "test",
        "types": TYPES,
        "edges": EDGES,
        "profiles": PROFILES,
        "cpus": 2,
        "memory": 96,
        "jobs": 8,
        "rate": 3.0,
        "burst": 1,
        "interval": 0.5,
        "features": (
            Feature(name="reads", low=500, high=20000, median=4000, spread=0.6, step=1),
            Feature(name="length", low=75, high=250, step=25),
            Feature(name="accuracy", low=0.97, high=0.999),
            Feature(name="complexity", low=0.3, high=1.0),
        ),
        "size": ("reads", "length"),
        "weights": Weights(throughput=1.0, latency=1.0, cost=1.0, bottleneck=0.25),
        "horizon": 300.0,
    }
    return Pipelines(**{**settings, **changes})


def estimates(of, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    seconds = SECONDS[: len(of.types), : len(of.profiles)]
    return Estimates(
        intercept=np.log(seconds) + noise * rng.standard_normal(seconds.shape),
        exponent=np.ones(len(of.types)),
        unit=of.unit,
    )


def two_nodes():
    return Cluster(
        nodes=(
            Node(name="a", cpus=2, memory=96 * MIB),
            Node(name="b", cpus=4, memory=64 * MIB),
        )
    )


class Luck:
    """Durations that are the estimates times log-normal luck; delays constant."""

    def __init__(self, sigma=0.2, start=0.004, seen=0.002):
        self.sigma, self.start, self.seen = sigma, start, seen

    def truth(self, workload, seed):
        w = workload.arrays
        n = workload.tasks
        luck = np.exp(self.sigma * np.random.default_rng(seed).standard_normal((n, 1)))
        return Truth(
            seconds=w.seconds[w.type_of] * w.scale[:, None] * luck,
            start_delay=np.full(n, self.start),
            seen_delay=np.full(n, self.seen),
        )


class Fixed:
    """One slot per type, for sure."""

    name = "fixed"

    def __init__(self, slots):
        self.slots = slots

    def reset(self, workload):
        """Nothing to prepare."""

    def probabilities(self, decision):
        p = np.zeros(len(decision.mask))
        p[self.slots[decision.subject]] = 1.0
        return p


def before(workload):
    """The scene before anything has arrived, without a simulator's truth."""
    return Scene(workload=workload, state=initial(workload), world=unknown())


def ask(scene, position):
    """The decision of the type at a position of the order."""
    scene.state.cursor[STAGE] = ASK_PROFILE
    scene.state.cursor[POSITION] = position
    return decide(scene)
