"""What the masked algorithms share: d3rlpy's own extension points around the one network.

d3rlpy's algorithms know no masks (takuseno/d3rlpy#356) and encode each state twice. These are
algorithms of its own kind, so that its ``update``, ``fit`` and ``predict`` work, over networks in
which a masked slot scores −1e9 wherever slots are compared.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch
from d3rlpy.algos.qlearning.base import QLearningAlgoBase, QLearningAlgoImplBase
from d3rlpy.base import LearnableConfig
from d3rlpy.constants import ActionSpace
from d3rlpy.optimizers.optimizers import OptimizerWrapper
from d3rlpy.torch_utility import Modules
from torch import Tensor, nn

from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.networks.scorer import CANDIDATES, Scorers, Shape

GAMMA = math.exp(-1.0)
"""d3rlpy raises it to the ``intervals`` of a batch, which hold elapsed/τ."""


@dataclasses.dataclass()
class ScorerConfig(LearnableConfig):
    """d3rlpy's side of a configuration; users set the dataclass of the algorithm."""

    gamma: float = GAMMA
    globals: int = 1
    candidates: int = 1
    slots: int = 1
    hidden: int = 64
    attention: bool = False
    network: str = CANDIDATES
    learning_rate: float = 3e-4

    def scorers(self, n: int, device: str) -> Scorers:
        """Return fresh networks."""
        shape = Shape.of(
            (self.globals, self.slots, self.candidates),
            hidden=self.hidden,
            attention=self.attention,
            network=self.network,
        )
        return Scorers(scorer_of(shape) for _ in range(n)).to(device)

    def adam(self, *modules: nn.Module) -> OptimizerWrapper:
        """Return an optimiser of the weights of modules."""
        weights = [p for module in modules for p in module.parameters()]
        # Fused, and gradients dropped rather than filled with zeros, which is what ``compiled``
        # does here: else the optimiser takes as long as a small network's forward pass.
        adam = torch.optim.Adam(weights, lr=self.learning_rate, fused=True)
        return OptimizerWrapper(params=weights, optim=adam, compiled=True)


class ScorerImpl(QLearningAlgoImplBase):
    """Acts by the mean score of one of its lists of networks.

    Args:
        acting: The networks whose mean score decides.
        modules: All networks and optimisers.
        observation_shape: Shape of an observation, (W,).
        action_size: K.
        device: Of torch.
    """

    def __init__(
        self,
        acting: Scorers,
        modules: Modules,
        observation_shape: Any,
        action_size: int,
        device: str,
    ) -> None:
        super().__init__(observation_shape, action_size, modules, device)
        self.acting = acting

    def inner_predict_best_action(self, x: Any) -> Tensor:
        """Return the slot of the greatest mean score."""
        return torch.stack([scorer(x)[0] for scorer in self.acting]).mean(0).argmax(1)

    def inner_sample_action(self, x: Any) -> Tensor:
        """Return the best slot: what explores is not the algorithm's concern."""
        return self.inner_predict_best_action(x)

    def inner_predict_value(self, x: Any, action: Tensor) -> Tensor:
        """Return the mean value of slots."""
        values = torch.stack([scorer.action_values(x) for scorer in self.acting]).mean(0)
        return values.gather(1, action.long().reshape(-1, 1)).flatten()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what states are worth in scaled returns, shape [B]; None: nothing estimates it."""
        return None


class ScorerAlgo(QLearningAlgoBase[Any, Any]):
    """An algorithm over scorers, in d3rlpy's own form."""

    def get_action_type(self) -> ActionSpace:
        """Return DISCRETE."""
        return ActionSpace.DISCRETE

    def networks(self) -> dict[str, nn.Module]:
        """Return lists of networks by name; those of an algorithm that has been built."""
        return {k: v for k, v in self._parts().items() if isinstance(v, nn.Module)}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Return optimisers by name; those of an algorithm that has been built."""
        return {k: v.optim for k, v in self._parts().items() if isinstance(v, OptimizerWrapper)}

    def best(self, x: Tensor) -> Tensor:
        """Return the slots that ``predict`` would, shape [B]; all modules stay as they are.

        Switching them to evaluation and back costs as much as a small network's forward pass, and
        nothing in them knows a difference.
        """
        impl: ScorerImpl = self._impl
        with torch.no_grad():
            return impl.inner_predict_best_action(x)

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what states are worth in scaled returns, shape [B]; None: nothing estimates it."""
        impl: ScorerImpl = self._impl
        with torch.no_grad():
            return impl.worth(x)

    def network(self) -> Ensemble:
        """Return a copy of the networks that decide, on the CPU."""
        impl: ScorerImpl = self._impl
        return Ensemble([copy.deepcopy(scorer).cpu() for scorer in impl.acting]).eval()

    def _parts(self) -> dict[str, Any]:
        impl: ScorerImpl = self._impl
        return dict(vars(impl.modules))
