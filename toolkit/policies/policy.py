"""Policy: answers a decision with probabilities over its slots."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError
from toolkit.workload import Floats, Workload


class Policy(Protocol):
    """What every heuristic, mixture and learned policy is.

    The driver draws the slot and records its probability, so that behaviour mixes, cloning,
    off-policy evaluation and exploration need nothing else.
    """

    @property
    def name(self) -> str:
        """Short name, shown on boards and stored with every decision."""

    def reset(self, workload: Workload) -> None:
        """Prepare for an episode; a policy may read all that the workload declares."""

    def probabilities(self, decision: Decision) -> Floats:
        """Return the probability of each slot, shape [K]; zero where the mask is False."""


class IllegalPolicyError(ToolkitError):
    """A policy answered with something that is no distribution over the allowed slots."""


def certain(slot: int, slots: int) -> Floats:
    """Return the distribution that chooses ``slot`` for sure, shape [slots]."""
    p = np.zeros(slots)
    p[slot] = 1.0
    return p


def draw(policy: Policy, decision: Decision, rng: np.random.Generator) -> tuple[int, float]:
    """Ask a policy and draw a slot.

    Args:
        policy: Who is asked.
        decision: What is asked.
        rng: The driver's generator; one number is consumed per decision, whatever the answer.

    Returns:
        The slot and its probability.

    Raises:
        IllegalPolicyError: When the answer is not a distribution over the allowed slots.
    """
    p = np.asarray(policy.probabilities(decision), dtype=np.float64)
    legal = (
        p.shape == decision.mask.shape
        and bool(np.isfinite(p).all())
        and bool((p >= 0).all())
        and abs(float(p.sum()) - 1.0) < 1e-6
        and not bool((p[~decision.mask] > 0).any())
    )
    if not legal:
        raise IllegalPolicyError(
            f"policy {policy.name!r} answered {np.round(p, 4).tolist()} for "
            f"{decision.agent!r} with mask {decision.mask.astype(int).tolist()}; expected "
            "probabilities that sum to 1 and are 0 where the mask is 0"
        )
    u = rng.random()
    slot = int(np.searchsorted(np.cumsum(p / p.sum()), u, side="right"))
    slot = min(slot, len(p) - 1)
    while p[slot] == 0.0:
        slot -= 1
    return slot, float(p[slot])
