"""Watch: what a policy plays, and thinks states are worth, at every point of its training.

What is played while learning differs from point to point, which would pass for instability: here
the same training workloads are played, and the same states valued, each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.envs.batch import Batch
from toolkit.envs.stepping import ELAPSED, GOING, OVER, REWARD
from toolkit.learning.learner import Learner
from toolkit.learning.play import observed, play
from toolkit.networks.networks import Ensemble, Network
from toolkit.policies.learned import policy_of
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import GATE, generator
from toolkit.simulator.simulator import simulated
from toolkit.store import write_text
from toolkit.workload import Floats, Vector

WATCHED = "watched.json"
_MOST = 512


@dataclass(frozen=True, kw_only=True)
class Probes:
    """States that every training values, and what they were worth.

    Args:
        shown: Flat observations, shape [S, W].
        returns: Discounted return from there on, shape [S].
    """

    shown: Vector
    returns: Floats


@dataclass(frozen=True, kw_only=True)
class Watch:
    """How a training is watched.

    Args:
        scenario: What is played.
        described: Its features, as an artefact keeps them.
        discount_seconds: τ.
        workloads: Training workloads.
    """

    scenario: Scenario
    described: Mapping[str, Any]
    discount_seconds: float
    workloads: int

    @property
    def seeds(self) -> Sequence[int]:
        """Of the workloads."""
        return range(GATE, GATE + self.workloads)

    @cached_property
    def probes(self) -> Probes:
        """States that draws among the allowed slots pass through on the workloads."""
        return probes_of(self.scenario, self.seeds, self.discount_seconds)

    def __call__(self, learner: Learner) -> dict[str, Any]:
        """Return ``decisions`` taken so far, mean return ``played``, and ``worth`` of the probes.

        ``worth`` is None where no values are learnt.
        """
        network = learner.present()
        worth = learner.worth(torch.from_numpy(self.probes.shown))
        return {
            "decisions": int(learner.story().get("decisions", learner.done)),
            "played": mean_return(network, self.described, self.scenario, self.seeds),
            "worth": None if worth is None else np.round(worth.numpy(), 6).tolist(),
        }

    def write(self, points: Sequence[tuple[int, Mapping[str, Any]]], folder: Path) -> None:
        """Write what was seen beside an artefact."""
        document = {
            "returns": np.round(self.probes.returns, 6).tolist(),
            "points": [{"step": step, **seen} for step, seen in points],
        }
        write_text(folder / WATCHED, json.dumps(document))


def mean_return(
    network: Network, described: Mapping[str, Any], scenario: Scenario, seeds: Sequence[int]
) -> float:
    """Return the mean return of a policy's best slots on some workloads."""
    if isinstance(network, Ensemble):
        return float(play(network, scenario, seeds, sampled=False).returns.mean())
    policy = policy_of(network, "watched", described)
    returns = [
        sum(
            step.reward
            for step in simulated(
                scenario, policy, scenario.plan(seed), seed,
                horizon=scenario.horizon, weights=scenario.weights,
            ).steps
        )
        for seed in seeds
    ]  # fmt: skip
    return float(np.mean(returns))


def probes_of(scenario: Scenario, seeds: Sequence[int], discount_seconds: float) -> Probes:
    """Return the first state of every instant that draws among the allowed slots pass through.

    Args:
        scenario: What is played.
        seeds: Of the workloads; where they have more states than 512, every so many is taken.
        discount_seconds: τ.
    """
    shown, returns = [], []
    for seed in seeds:
        batch = Batch(scenario, [seed])
        batch.start(0)
        rng = generator(seed, "probes")
        seen, rewards, elapsed = [], [], []
        while batch.flags[0, OVER] == GOING:
            seen.append(observed(batch, np.zeros(1, dtype=np.int64))[0].numpy())
            batch.step(np.where(batch.mask, rng.random(batch.mask.shape), -1.0).argmax(axis=1))
            rewards.append(float(batch.numbers[0, REWARD]))
            elapsed.append(float(batch.numbers[0, ELAPSED]))
        worth = _discounted(np.array(rewards), np.exp(-np.array(elapsed) / discount_seconds))
        first = np.flatnonzero(np.concatenate([[True], np.array(elapsed)[:-1] > 0]))
        shown += [seen[i] for i in first]
        returns += worth[first].tolist()
    every = -(-len(shown) // _MOST)
    return Probes(
        shown=np.array(shown[::every], dtype=np.float32), returns=np.array(returns[::every])
    )


def _discounted(rewards: Floats, discounts: Floats) -> Floats:
    """Return the discounted sum of what follows each step, shape [T]."""
    found = np.zeros(len(rewards))
    following = 0.0
    for t in reversed(range(len(rewards))):
        following = found[t] = rewards[t] + discounts[t] * following
    return found
