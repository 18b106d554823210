"""Credit: what an agent's own choice does to the return that all share, and what its critic says.

At some instants of an episode the choice of one agent is replaced by another that it might have
made, while those of the others stay; the policy then goes on. Both episodes meet the same
workload with the same luck, so that their returns differ by what the choice did and by what
followed from it. A critic that credits its agent rightly tells these differences in advance: what
was paid for the interval plus what it thinks the states are worth to which the two choices led.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toolkit.envs.stepping import GOING, TERMINATED
from toolkit.envs.together import TogetherBatch
from toolkit.errors import require
from toolkit.learning.learner import Learner
from toolkit.learning.play import observed
from toolkit.networks.agents import NO_TARGET, Agents
from toolkit.networks.networks import Ensemble, Network
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import Floats, Ints

Choosing = Callable[[TogetherBatch, Tensor], tuple[Ints, Tensor]]
"""Takes episodes and the targets that stand, [N, n]; gives choices [N, n] and targets."""
Judging = Callable[[TogetherBatch], Floats]
"""Gives what every agent thinks the episodes' rest is worth, in the unit of returns, [N, n]."""


@dataclass(frozen=True, kw_only=True)
class Credit:
    """How an agent's own choices and the shared return hang together.

    Args:
        agent: Name of the process type.
        replaced: Choices that were replaced.
        difference: Mean size of the difference that it made to the discounted return from there.
        share: Half the mean square of it by the variance of these returns: the part of the variance
            that is owed to the choice, alone or with others (Jansen, Analysis of variance designs
            for model output, Computer Physics Communications 117, 1999, eq. 8; exact where the
            policy draws its choices as the replacements are drawn, a measure of size elsewhere).
        correlation: Of the differences with those that the agent's critic tells; NaN where it
            tells none.
    """

    agent: str
    replaced: int
    difference: float
    share: float
    correlation: float


def credit(
    choosing: Choosing,
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    discount_seconds: float,
    judging: Judging | None = None,
    instants: int = 4,
    seed: int = 0,
) -> list[Credit]:
    """Return the credit of every agent.

    Args:
        choosing: The policy, see :func:`choosing_of`.
        scenario: An allocation.
        seeds: Of the workloads.
        discount_seconds: τ.
        judging: What the agents' critics say, see :func:`judging_of`.
        instants: Of each episode, at which the choice of every agent is replaced once.
        seed: Of what is drawn: the instants, and replacements among the other allowed slots.
    """
    require(instants >= 1, f"instants must be 1 or more, got {instants}")
    told = _played(choosing, scenario, seeds, discount_seconds, judging)
    branches = _branches(told, instants, generator(seed, "credit"))
    require(len(branches) > 0, f"in {scenario.name} no agent ever had a choice")
    others = TogetherBatch(scenario, [seeds[b.copy] for b in branches])
    for i, b in enumerate(branches):
        others.resume(
            i, seeds[b.copy], others.batch.stream(i), told.chosen[b.copy][: b.instant].tolist()
        )  # fmt: skip
    actions = np.stack([told.chosen[b.copy][b.instant] for b in branches])
    actions[np.arange(len(branches)), [b.agent for b in branches]] = [b.slot for b in branches]
    targets = torch.stack([told.targets[b.copy][b.instant] for b in branches])
    found = _on(choosing, others, actions, targets, discount_seconds, judging)
    agents = np.array([b.agent for b in branches])
    was = np.array([told.returns[b.copy][b.instant] for b in branches])
    said = np.array([told.said[b.copy][b.instant, b.agent] for b in branches])
    difference = was - found[0]
    claimed = said - found[1][np.arange(len(branches)), agents]
    variance = float(np.concatenate(told.returns).var())
    return [
        _of(name, difference[agents == k], claimed[agents == k], variance)
        for k, name in enumerate(others.agents)
    ]


def choosing_of(network: Network) -> Choosing:
    """Return how a network takes its best slots, be it of one agent or of several."""
    if isinstance(network, Agents):
        agents = network

        def together(env: TogetherBatch, targets: Tensor) -> tuple[Ints, Tensor]:
            with torch.inference_mode():
                instants = torch.from_numpy(env.instants)
                chosen, aims = agents.act(torch.from_numpy(env.flat()), instants, targets)
            return chosen.numpy(), aims.clone()

        return together
    require(isinstance(network, Ensemble), f"a network of kind {network.kind} makes no profiles")
    scorer: Any = network

    def in_turn(env: TogetherBatch, targets: Tensor) -> tuple[Ints, Tensor]:
        batch = copy.deepcopy(env.batch)
        N, n = env.mask.shape[:2]
        every, slots = np.arange(N), np.zeros(N, dtype=np.int64)
        chosen: Ints = np.zeros((N, n), dtype=np.int64)
        for position, turn in enumerate(env.turns.T):
            with torch.inference_mode():
                slots = scorer(observed(batch, every))[0].argmax(1).numpy()
            chosen[every, turn] = slots
            if position < n - 1:
                batch.step(slots)
        return chosen, targets

    return in_turn


def judging_of(learner: Learner) -> Judging:
    """Return what the critics of a training say.

    Those of agents judge what each of them sees; a central one judges what it is asked first.

    Raises:
        ConfigError: When it learns no values.
    """
    own = getattr(learner, "worths", None)

    def judging(env: TogetherBatch) -> Floats:
        seen = torch.from_numpy(env.flat())
        N, n = env.mask.shape[:2]
        if own is not None:
            return np.asarray(own(seen).numpy(), dtype=np.float64)
        worth = learner.worth(seen[torch.arange(N), torch.from_numpy(env.turns[:, 0])])
        require(worth is not None, "what is learnt has no values that could be compared")
        assert worth is not None
        return np.repeat(worth.numpy().astype(np.float64)[:, None], n, axis=1)

    return judging


@dataclass(frozen=True, kw_only=True)
class _Branch:
    """A choice that is replaced: in which episode, when, whose, and by which slot."""

    copy: int
    instant: int
    agent: int
    slot: int


@dataclass(frozen=True, kw_only=True)
class _Played:
    """Episodes as they went, each array with a row per instant.

    Args:
        chosen: Choices, each shape [L, n].
        targets: Those that stood before, each shape [L, n].
        masks: Slots that were allowed, each shape [L, n, K].
        returns: Discounted, from each instant on, each shape [L].
        said: Reward plus discounted value of what followed, by each critic, each shape [L, n].
    """

    chosen: list[Ints]
    targets: list[Tensor]
    masks: list[Any]
    returns: list[Floats]
    said: list[Floats]


def _played(
    choosing: Choosing,
    scenario: Scenario,
    seeds: Sequence[int],
    tau: float,
    judging: Judging | None,
) -> _Played:
    env = TogetherBatch(scenario, seeds)
    for i in range(len(seeds)):
        env.start(i)
    targets = torch.full((len(seeds), len(env.agents)), NO_TARGET)
    rows: list[list[tuple[Any, ...]]] = [[] for _ in seeds]
    while len(going := np.flatnonzero(env.over == GOING)):
        before, masks = targets, env.mask.copy()
        chosen, targets = choosing(env, targets)
        env.step(chosen)
        said, discount = _said(env, tau, judging)
        for i in going.tolist():
            rows[i].append(
                (chosen[i], before[i], masks[i], env.rewards[i], discount[i], said[i])
            )  # fmt: skip
    returns = []
    for each in rows:
        found, following = np.zeros(len(each)), 0.0
        for t in reversed(range(len(each))):
            found[t] = following = each[t][3] + each[t][4] * following
        returns.append(found)
    return _Played(
        chosen=[np.stack([r[0] for r in each]) for each in rows],
        targets=[torch.stack([r[1] for r in each]) for each in rows],
        masks=[np.stack([r[2] for r in each]) for each in rows],
        returns=returns,
        said=[np.stack([r[5] for r in each]) for each in rows],
    )


def _on(
    choosing: Choosing,
    env: TogetherBatch,
    actions: Ints,
    targets: Tensor,
    tau: float,
    judging: Judging | None,
) -> tuple[Floats, Floats]:
    """Take some choices, then go on; return discounted returns [N] and what was said [N, n]."""
    # Targets that are due at the instant of the replaced choice stand after it, too.
    _, targets = choosing(env, targets)
    env.step(actions)
    said, discount = _said(env, tau, judging)
    returns, weight = env.rewards.copy(), discount
    while (env.over == GOING).any():
        chosen, targets = choosing(env, targets)
        env.step(chosen)
        returns += weight * env.rewards
        weight = weight * np.exp(-env.elapsed / tau)
    return returns, said


def _said(env: TogetherBatch, tau: float, judging: Judging | None) -> tuple[Floats, Floats]:
    """Return what the last step was worth to each critic, [N, n], and its discounts, [N]."""
    discount: Floats = np.exp(-env.elapsed / tau)
    if judging is None:
        return np.full(env.invalid.shape, np.nan), discount
    ahead = (discount * (env.over != TERMINATED))[:, None] * judging(env)
    found: Floats = env.rewards[:, None] + ahead
    return found, discount


def _branches(told: _Played, instants: int, rng: np.random.Generator) -> list[_Branch]:
    found = []
    for i, chosen in enumerate(told.chosen):
        at = rng.choice(len(chosen), size=min(instants, len(chosen)), replace=False)
        for t in np.sort(at).tolist():
            for k, slot in enumerate(chosen[t].tolist()):
                others = np.flatnonzero(told.masks[i][t, k])
                others = others[others != slot]
                if len(others):
                    drawn = int(rng.choice(others))
                    found.append(_Branch(copy=i, instant=t, agent=k, slot=drawn))
    return found


def _of(name: str, difference: Floats, claimed: Floats, variance: float) -> Credit:
    if len(difference) == 0:
        return Credit(agent=name, replaced=0, difference=0.0, share=0.0, correlation=np.nan)
    told = len(difference) > 2 and difference.std() > 0 and bool(claimed.std() > 0)
    return Credit(
        agent=name,
        replaced=len(difference),
        difference=float(np.abs(difference).mean()),
        share=float((difference**2).mean() / (2 * variance)) if variance > 0 else 0.0,
        correlation=float(np.corrcoef(difference, claimed)[0, 1]) if told else np.nan,
    )
