"""Play: a network on whole workloads side by side, to see what its policy is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.envs.batch import Batch
from toolkit.envs.stepping import GOING, OVER, TIME
from toolkit.envs.together import TogetherBatch
from toolkit.networks.agents import NO_TARGET, Agents
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import Ints


def play(
    network: nn.Module,
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    sampled: bool,
    seed: int = 0,
    device: str = "cpu",
) -> Batch:
    """Return the episodes of a policy on some workloads, each at its end.

    Args:
        network: Gives scores of flat observations; greedy where ties go to the first slot.
        scenario: What is played.
        seeds: Of the workloads.
        sampled: Whether slots are drawn from the softmax of the scores; else the best is taken.
        seed: Of what is drawn.
        device: Where the network lies.
    """
    batch = Batch(scenario, seeds)
    for i in range(len(seeds)):
        batch.start(i)
    rng = generator(seed, "play")
    actions = np.zeros(len(seeds), dtype=np.int64)
    with torch.inference_mode():
        while len(going := np.flatnonzero(batch.flags[:, OVER] == GOING)):
            scores = network(observed(batch, going).to(device))[0]
            if sampled:
                # The slot of greatest score plus Gumbel noise is a draw from the softmax.
                noise = rng.gumbel(size=scores.shape).astype(np.float32)
                scores = scores + torch.from_numpy(noise).to(device)
            actions[going] = scores.argmax(1).cpu().numpy()
            batch.step(actions)
    return batch


def play_together(
    network: Agents, scenario: Scenario, seeds: Sequence[int], *, device: str = "cpu"
) -> TogetherBatch:
    """Return the episodes of agents that take their best slots, each at its end.

    Args:
        network: Of the agents.
        scenario: What is played; its process types are the agents, in this order.
        seeds: Of the workloads.
        device: Where the network lies.
    """
    together = TogetherBatch(scenario, seeds)
    for i in range(len(seeds)):
        together.start(i)
    targets = torch.full((len(seeds), len(together.agents)), NO_TARGET)
    actions = torch.zeros_like(targets)
    with torch.inference_mode():
        while len(going := np.flatnonzero(together.over == GOING)):
            x = torch.from_numpy(together.flat()[going]).to(device)
            instants = torch.from_numpy(together.instants[going])
            actions[going], targets[going] = network.act(x, instants, targets[going])
            together.step(actions.numpy())
    return together


def observed(batch: Batch, rows: Ints) -> Tensor:
    """Return the flat observations of some copies, shape [B, W]."""
    n = len(rows)
    parts = (batch.globals[rows], batch.candidates[rows].reshape(n, -1), batch.mask[rows])
    return torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe"))


def looked_at(scenario: Scenario, *, copies: int, steps: int, seed: int) -> Tensor:
    """Return what a policy sees that draws among the allowed slots, shape [B, W].

    Args:
        scenario: What is played.
        copies: Episodes side by side.
        steps: Decisions of each.
        seed: Of workloads and draws.
    """
    batch = Batch(scenario, range(seed, seed + copies))
    for i in range(copies):
        batch.start(i)
    rng = generator(seed, "look")
    found = []
    for _ in range(steps):
        for i in np.flatnonzero(batch.flags[:, OVER] != GOING).tolist():
            batch.start(i)
        found.append(observed(batch, np.arange(copies)))
        drawn = np.where(batch.mask, rng.random(batch.mask.shape), -1.0)
        batch.step(drawn.argmax(axis=1))
    return torch.cat(found)


def looked_at_together(scenario: Scenario, *, copies: int, steps: int, seed: int) -> Tensor:
    """Return what agents see that draw among the allowed slots, shape [B, n, W].

    Args:
        scenario: What is played.
        copies: Episodes side by side.
        steps: Choices of each agent in each of them.
        seed: Of workloads and draws.
    """
    together = TogetherBatch(scenario, range(seed, seed + copies))
    for i in range(copies):
        together.start(i)
    rng = generator(seed, "look")
    found = []
    for _ in range(steps):
        for i in np.flatnonzero(together.over != GOING).tolist():
            together.start(i)
        found.append(torch.from_numpy(together.flat()))
        drawn = np.where(together.mask, rng.random(together.mask.shape), -1.0)
        together.step(drawn.argmax(axis=2))
    return torch.cat(found)


def lasting(scenario: Scenario) -> float:
    """Return how long an episode lasts under draws among the allowed slots, s."""
    batch = Batch(scenario, [0])
    batch.start(0)
    rng = generator(0, "lasting")
    while batch.flags[0, OVER] == GOING:
        batch.step(np.where(batch.mask, rng.random(batch.mask.shape), -1.0).argmax(axis=1))
    return float(batch.numbers[0, TIME])
