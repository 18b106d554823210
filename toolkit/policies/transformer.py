"""A decision transformer as a policy: asks for a return, and remembers what was done for it.

A policy is told no rewards. What has been paid since its first decision is read from the running
sums of the state, by the reward that it was taught, and taken from the return that it asks for:
what is left stands before every decision, as it did in the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from toolkit import reward
from toolkit.decision import Decision
from toolkit.errors import SchemaError
from toolkit.features.observe import sizes_of
from toolkit.learning.transformer import Transformer, greedy
from toolkit.policies.learned import check, check_workload
from toolkit.policies.policy import certain
from toolkit.workload import FAMILIES, Floats, Ints, Vector, Workload


@dataclass(frozen=True, kw_only=True)
class Conditioned:
    """Chooses the slot that the transformer scores highest after the last decisions.

    It takes its own answers for what was done, as a policy is not told what a driver drew.

    Args:
        name: Name of the policy.
        network: The transformer, in evaluation mode; its ``target`` is the return asked for.
        about: Schema, features, family, reward and lineage.
    """

    name: str
    network: Transformer
    about: Mapping[str, Any]

    _episode: _Episode = field(init=False, repr=False, compare=False)

    def reset(self, workload: Workload) -> None:
        """Check that the workload speaks the language that the policy was taught; forget the last.

        Raises:
            SchemaError: Naming what differs.
        """
        check_workload(self.name, self.about, workload)
        slots, known = sizes_of(workload)[1], self.network.shape.slots
        family = FAMILIES[workload.family]
        if slots != known or self.about["reward"] != reward.VERSION:
            raise SchemaError(
                f"policy {self.name!r} is a transformer for {known} slots and rewards of version "
                f"{self.about['reward']}, this scenario has {slots} and {reward.VERSION}",
                hint="train on its dataset: toolkit train +algo=decision_transformer",
            )
        if family != self.about["family"]:
            raise SchemaError(
                f"policy {self.name!r} was taught {self.about['family']}, this is {family}"
            )
        weights = reward.REWARDS[workload.family](
            **{name: float(weight) for name, _, _, weight in self.about["terms"]}
        )
        episode = _Episode(self.network, reward.columns(weights), reward.signed(weights))
        object.__setattr__(self, "_episode", episode)

    def check(self, described: Mapping[str, Any]) -> None:
        """Check that decisions speak the language that the policy was taught."""
        check(self.name, self.about, described)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the best slot, ties to the first; shape [K]."""
        return certain(self._episode.answer(decision), len(decision.mask))


class _Episode:
    """The last decisions of an episode, the present one last.

    Args:
        network: The transformer.
        columns: The running sum that each term of the reward is the difference of, shape [C].
        signed: Weights with signs, shape [C].
    """

    def __init__(self, network: Transformer, columns: Ints, signed: Floats) -> None:
        T, W = network.shape.context, network.shape.width
        self._network, self._columns, self._signed = network, columns, signed
        self._before: Floats | None = None
        self._count = 0
        self._observations: Vector = np.zeros((T, W), dtype=np.float32)
        self._actions: Ints = np.zeros(T, dtype=np.int64)
        self._rests: Vector = np.zeros(T, dtype=np.float32)
        self._counts: Ints = np.zeros(T, dtype=np.int64)
        self._shown: Vector = np.zeros(T, dtype=np.float32)

    def answer(self, decision: Decision) -> int:
        """Return the slot for a decision, and remember both."""
        now = decision.view.totals[self._columns]
        if self._before is None:
            self._before = now
        left = self._network.target - float(self._signed @ (now - self._before))
        for array in (self._observations, self._actions, self._rests, self._counts, self._shown):
            array[:-1] = array[1:]
        self._count = min(self._count + 1, self._network.shape.decisions)
        parts = (decision.globals, decision.candidates.reshape(-1), decision.mask)
        self._observations[-1] = np.concatenate(parts, dtype=np.float32, casting="unsafe")
        self._actions[-1] = 0
        self._rests[-1] = left / self._network.scale
        self._counts[-1] = self._count
        self._shown[-1] = 1.0
        with torch.inference_mode():
            shown = (self._observations, self._actions, self._rests, self._counts, self._shown)
            scores = self._network(*(torch.from_numpy(array)[None] for array in shown))
        self._actions[-1] = greedy(scores)
        return int(self._actions[-1])
