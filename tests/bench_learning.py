"""Figures of learning: gradient steps, PPO end to end, decisions.

``python -m tests.bench_learning`` prints the bar beside each. Everything is on the shipped
sample of workflow streams (33 slots) and one thread of torch unless it says otherwise.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import d3rlpy
import numpy as np
import torch
from d3rlpy.models.encoders import EncoderFactory, register_encoder_factory
from d3rlpy.models.q_functions import QFunctionFactory, register_q_func_factory
from d3rlpy.models.torch.encoders import Encoder
from d3rlpy.models.torch.q_functions.base import DiscreteQFunction, QFunctionOutput
from d3rlpy.models.torch.q_functions.mean_q_function import DiscreteMeanQFunctionForwarder
from hydra.utils import instantiate
from torch import Tensor

import toolkit
from toolkit.catalogue import Catalogue
from toolkit.data.padding import Transitions
from toolkit.decision import decide
from toolkit.envs.registration import scenario_of
from toolkit.learning.learner import Given
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Shape
from toolkit.policies.learned import Learned
from toolkit.simulator.simulator import Simulator
from toolkit.simulator.state import CLOSED, STAGE

ROUNDS = 5
SAMPLE = "placement/workflows-8-stream-mixed-v1-sample"
STEPS = 200
FASTER, PLAYED, SIMULATED, P50, P99 = 1.5, 5000, 0.1, 0.3, 1.0
"""Bars: CQL over d3rlpy's own loop; decisions/s of PPO on two cores, and the share of its time in
the environment; ms of a decision."""


def algorithm(name: str, **settings: Any) -> Any:
    """Return an algorithm of ``conf/algo``."""
    return instantiate({**Catalogue().read(f"algo/{name}"), **settings}, _convert_="all")


def ours(name: str, data: Transitions, **settings: Any) -> Callable[[], int]:
    """Return gradient steps of one of our algorithms."""
    learner = algorithm(name, **settings).start(Given(discount_seconds=200.0, seed=0, data=data))

    def work() -> int:
        for _ in range(STEPS):
            learner.step(1)
        return STEPS

    return work


class _Scores(Encoder):
    """The network where d3rlpy expects an encoder: it emits one score per slot."""

    def __init__(self, scorer: CandidateScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, x: Tensor) -> Tensor:
        return self.scorer.action_values(x)


@dataclasses.dataclass()
class ScorerFactory(EncoderFactory):
    """Builds the network for d3rlpy's own algorithms."""

    globals: int = 1
    candidates: int = 1

    def create(self, observation_shape: Any) -> Encoder:
        """Return the network."""
        return _Scores(
            CandidateScorer(Shape(globals=self.globals, candidates=self.candidates, hidden=64))
        )

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "bench_scorer"


class _Q(DiscreteQFunction):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, x: Tensor) -> QFunctionOutput:
        return QFunctionOutput(q_value=self._encoder(x), quantiles=None, taus=None)

    @property
    def encoder(self) -> Encoder:
        return self._encoder


@dataclasses.dataclass()
class QFactory(QFunctionFactory):
    """Reads Q values off the network."""

    def create_discrete(self, encoder: Encoder, hidden_size: int, action_size: int) -> Any:
        """Return the Q function and its forwarder."""
        q = _Q(encoder)
        return q, DiscreteMeanQFunctionForwarder(q, action_size)

    def create_continuous(self, encoder: Any, hidden_size: int) -> Any:
        """Refuse."""
        raise TypeError("discrete actions only")

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "bench_q"


register_encoder_factory(ScorerFactory)
register_q_func_factory(QFactory)


def theirs(data: Transitions) -> Callable[[], int]:
    """Return gradient steps of d3rlpy's own DiscreteCQL on its own buffer, with our network."""
    G, _, F = data.sizes
    rows = data.rows[:20_000]
    ends = np.zeros(len(rows), dtype=np.float32)
    ends[999::1000] = 1
    dataset = d3rlpy.dataset.MDPDataset(
        np.asarray(data.observations)[rows],
        data.action[rows, None],
        data.reward[rows, None].astype(np.float32),
        ends,
        action_space=d3rlpy.constants.ActionSpace.DISCRETE,
        action_size=data.sizes[1],
    )
    config = d3rlpy.algos.DiscreteCQLConfig(
        batch_size=256,
        n_critics=5,
        encoder_factory=ScorerFactory(globals=G, candidates=F),
        q_func_factory=QFactory(),
    )
    algo = config.create(device="cpu:0")
    algo.build_with_dataset(dataset)

    def work() -> int:
        for _ in range(STEPS // 4):
            algo.update(dataset.sample_transition_batch(256))
        return STEPS // 4

    return work


def playing(threads: int) -> Callable[[], int]:
    """Return decisions of PPO with its usual settings, four epochs, end to end."""
    scenario = scenario_of("paper_c_8_stream", ["scenario.jobs=8", "scenario.graphs.tasks=[20,60]"])
    torch.set_num_threads(threads)
    algo = algorithm("ppo", n_steps=2**30, gate_every=2**20, gate_workloads=1)
    learner = algo.start(Given(discount_seconds=200.0, seed=0, scenario=scenario))

    def work() -> int:
        torch.set_num_threads(threads)
        taken, _ = learner.step(algo.n_steps)
        torch.set_num_threads(1)
        return int(taken)

    return work


def in_environment() -> list[float]:
    """Return the share of PPO's time that simulator and vector environment take, round by round."""
    scenario = scenario_of("paper_c_8_stream", ["scenario.jobs=8", "scenario.graphs.tasks=[20,60]"])
    algo = algorithm("ppo", n_steps=2**30, gate_every=2**20, gate_workloads=1)
    learner = algo.start(Given(discount_seconds=200.0, seed=0, scenario=scenario))
    env, spent = learner._env, [0.0]

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            start = time.process_time()
            try:
                return method(*args, **words)
            finally:
                spent[0] += time.process_time() - start

        return call

    for name in ("step_async", "step_wait", "action_masks"):
        setattr(env, name, timed(getattr(env, name)))
    learner.step(algo.n_steps)
    found = []
    for _ in range(ROUNDS):
        spent[0], start = 0.0, time.process_time()
        learner.step(algo.n_steps)
        found.append(spent[0] / (time.process_time() - start))
    return found


def latencies(members: int = 1, decisions: int = 4000) -> np.ndarray[Any, Any]:
    """Return the ms of decisions among 32 candidates, features included; shape [decisions]."""
    data = toolkit.load_dataset(SAMPLE)
    described = data.described
    G, _, F = described.sizes
    torch.manual_seed(0)
    network = Ensemble(
        [CandidateScorer(Shape(globals=G, candidates=F, hidden=64)) for _ in range(members)]
    )
    policy = Learned(name="bench", network=network, about=described.to_dict())
    scenario = scenario_of("paper_c_8_stream")
    engine = Simulator(scenario, 0)
    scene = engine.start(scenario.plan(0))
    while int(scene.state.cursor[STAGE]) == CLOSED:
        engine.advance(scenario.horizon)
    found = []
    shown = decide(scene)
    full = np.zeros(len(shown.mask), dtype=bool)
    full[:32] = True
    for _ in range(decisions):
        start = time.perf_counter()
        decision = decide(scene)
        policy.act(dataclasses.replace(decision, mask=full))
        found.append(1000 * (time.perf_counter() - start))
    return np.array(found)


def rates(work: Callable[[], int], clock: Callable[[], float] = time.process_time) -> list[float]:
    """Return units per second of several rounds, after one that is not counted."""
    work()
    found = []
    for _ in range(ROUNDS):
        start = clock()
        units = work()
        found.append(units / (clock() - start))
    return found


def rows() -> list[tuple[str, str, list[float]]]:
    """Return the figures that ``python -m tests.bench`` prints."""
    torch.set_num_threads(1)
    data = toolkit.load_dataset(SAMPLE).transitions("train")
    return [
        ("CQL, 5 critics, batch 256", "steps", rates(ours("cql", data))),
        ("d3rlpy's own CQL, the same network", "steps", rates(theirs(data))),
        ("IQL, batch 256", "steps", rates(ours("iql", data))),
        ("PPO end to end, 1 thread", "decisions", rates(playing(1))),
    ]


def main() -> None:
    """Print every figure beside its bar."""
    torch.set_num_threads(1)
    data = toolkit.load_dataset(SAMPLE).transitions("train")
    pairs = [rates(ours("cql", data)), rates(theirs(data))]
    ratio = [a / b for a, b in zip(*pairs, strict=True)]
    print(f"CQL {np.median(pairs[0]):,.1f} steps/s, d3rlpy's own {np.median(pairs[1]):,.1f}")
    told = f"{min(ratio):.2f} to {max(ratio):.2f}"
    print(f"  times d3rlpy's own loop: {told} (bar {FASTER})")
    print(f"IQL {np.median(rates(ours('iql', data))):,.1f} steps/s")
    for threads in (1, 2):
        found = rates(playing(threads), time.perf_counter)
        told = f"{min(found):,.0f} to {max(found):,.0f} decisions/s"
        print(f"PPO, {threads} threads: {told} (bar {PLAYED} with 2)")
    torch.set_num_threads(1)
    share = in_environment()
    told = f"{min(share):.1%} to {max(share):.1%}"
    print(f"  in simulator and environment: {told} (bar {SIMULATED:.0%})")
    for members in (1, 5):
        ms = latencies(members)
        print(
            f"decision, {members} networks: p50 {np.quantile(ms, 0.5):.3f} ms (bar {P50}), "
            f"p99 {np.quantile(ms, 0.99):.3f} ms (bar {P99})"
        )


if __name__ == "__main__":
    main()
