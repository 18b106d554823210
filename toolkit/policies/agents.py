"""Networks of several agents as one policy: they choose at once, and answer in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from toolkit.decision import Decision
from toolkit.errors import SchemaError
from toolkit.features.observe import sizes_of
from toolkit.features.together import observe_together
from toolkit.networks.agents import NO_TARGET, Agents
from toolkit.policies.learned import check, check_workload
from toolkit.policies.policy import certain
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import EPOCH
from toolkit.workload import ALLOCATION, Floats, Vector, Workload


@dataclass(kw_only=True)
class Together:
    """Takes the best slots of all agents, as they were when the first of an instant was asked.

    Agents learn where all choose at once. An engine asks them one after another: what they see is
    what all saw before the first of them chose, so that they act as they were taught to.

    Args:
        name: Name of the policy.
        network: Of the agents, in evaluation mode.
        about: Schema, features, family and lineage.
    """

    name: str
    network: Agents
    about: Mapping[str, Any]

    _scene: Scene | None = field(default=None, init=False, repr=False, compare=False)
    _instant: int = field(default=-1, init=False, repr=False, compare=False)
    _chosen: list[int] = field(default_factory=list, init=False, repr=False, compare=False)
    _targets: torch.Tensor = field(init=False, repr=False, compare=False)

    def reset(self, workload: Workload) -> None:
        """Check that the workload speaks the language, and has the agents, that were taught.

        Raises:
            SchemaError: Naming what differs.
        """
        check_workload(self.name, self.about, workload)
        names, types = self.network.names, workload.types
        if workload.family != ALLOCATION or sorted(names) != sorted(types):
            raise SchemaError(
                f"policy {self.name!r} has the agents {', '.join(names)}; the scenario has the "
                f"process types {', '.join(types)}",
                hint="train agents for its types: toolkit train +algo=marl_ppo scenario=<name>",
            )
        slots, known = sizes_of(workload)[1], self.network.seen.slots
        if known not in (0, slots):
            raise SchemaError(
                f"policy {self.name!r} has fully connected networks for {known} slots, "
                f"this scenario has {slots}",
                hint="train some that take any number: network=candidates",
            )
        self._scene = None

    def check(self, described: Mapping[str, Any]) -> None:
        """Check that decisions speak the language that the policy was taught."""
        check(self.name, self.about, described)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the agent's slot, shape [K]."""
        return certain(self.act(decision), len(decision.mask))

    def act(self, decision: Decision) -> int:
        """Return the slot of the agent that is asked."""
        scene = decision.scene
        instant = int(scene.state.cursor[EPOCH])
        if scene is not self._scene:
            self._targets = torch.full((1, len(self.network.names)), NO_TARGET)
        if scene is not self._scene or instant != self._instant:
            self._choose(decision, instant)
            self._scene, self._instant = scene, instant
        agent = self.network.names.index(decision.agent)
        return self._chosen[agent]

    def _choose(self, decision: Decision, instant: int) -> None:
        types = decision.scene.workload.types
        place = [types.index(name) for name in self.network.names]
        x = torch.from_numpy(_seen(decision)[place])[None]
        with torch.inference_mode():
            chosen, self._targets = self.network.act(x, torch.tensor([instant]), self._targets)
        self._chosen = chosen[0].tolist()


def _seen(decision: Decision) -> Vector:
    """Return the flat observations of all process types, shape [T, W]."""
    G, K, F = sizes_of(decision.scene.workload)
    T = len(decision.scene.workload.types)
    globals_, candidates = np.zeros((T, G), np.float32), np.zeros((T, K, F), np.float32)
    mask, keys = np.zeros((T, K), np.bool_), np.zeros((T, K), np.int32)
    observe_together(decision.known, globals_, candidates, mask, keys)
    parts = (globals_, candidates.reshape(T, -1), mask)
    found: Vector = np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")
    return found
