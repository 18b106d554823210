"""Fitted Q evaluation: a network that learns what a policy would earn from recorded decisions."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch

from evaluations.ope import Logged
from toolkit.errors import require
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.scorer import MASKED, Shape
from toolkit.seeding import generator
from toolkit.workload import Floats, Ints, Vector

_SETTLED = 0.05
"""Greatest move of the estimate in the last quarter, in spreads of the recorded returns."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was learnt.

    Args:
        value: Of the mean return: that of the first decisions under the policy.
        q: Value of what was done in each decision, shape [N].
        v: Value of what the policy would do, shape [N].
        moved: How far ``value`` moved in the last quarter of the steps, in spreads of the recorded
            returns.
        residual: Root mean squared Bellman error over all decisions, in the same spreads.
    """

    value: float
    q: Floats
    v: Floats
    moved: float
    residual: float

    @property
    def settled(self) -> bool:
        """Whether the estimate hardly moved in the end; one that does is not to be believed."""
        return self.moved <= _SETTLED


@dataclass(frozen=True, kw_only=True)
class FQE:
    """Fitted Q evaluation (Le, Voloshin and Yue, ICML 2019, algorithm 3) with the one network.

    It begins with the recorded returns, those of the behaviour: where episodes are long and hardly
    discounted, values that begin with nothing take too many steps to come back from the end.

    Args:
        n_steps: Gradient steps; the first quarter learns the recorded returns.
        batch_size: Decisions per step.
        learning_rate: Of Adam; it falls to a tenth in the end.
        tau: How much of the network its slow copy, which it bootstraps from, takes over per step.
        hidden: Width of the network.
        seed: Of weights and sampling.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    tau: float
    hidden: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "hidden"):
            value = getattr(self, name)
            require(value >= 1, f"fqe.{name} must be at least 1, got {value}")
        require(self.learning_rate > 0, "fqe.learning_rate must be positive")
        require(0 < self.tau <= 1, f"fqe.tau must be in (0, 1], got {self.tau}")

    def fit(self, given: Logged) -> Fitted:
        """Learn what the policy of ``given`` would earn.

        Args:
            given: Recorded decisions and the policy's chances in each.
        """
        # So small a network waits for a second thread longer than it is helped by it.
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        seen = torch.from_numpy(given.observations)
        chances = torch.from_numpy(given.chances.astype(np.float32))
        action = torch.from_numpy(given.action)
        reward, discount, following, ahead = (torch.from_numpy(x) for x in _steps(given))
        spread = float(given.paid.sum(axis=1).std()) or 1.0
        G, _, F = given.sizes
        network = CandidateScorer(Shape(globals=G, candidates=F, hidden=self.hidden))
        network.normalise(seen)
        slow = copy.deepcopy(network).requires_grad_(False)
        optimiser = torch.optim.Adam(network.parameters(), self.learning_rate)
        rng = generator(self.seed, "fqe")
        first = torch.from_numpy(given.row[:, 0])
        values = []
        for k in range(self.n_steps):
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate * (1 - 0.9 * k / self.n_steps)
            rows = torch.from_numpy(rng.integers(0, len(action), self.batch_size))
            target = ahead[rows] / spread
            if k == self.n_steps // 4:
                slow.load_state_dict(network.state_dict())
            if k >= self.n_steps // 4:
                after = following[rows]
                with torch.no_grad():
                    value = _expected(slow, seen[after], chances[after])
                target = reward[rows] / spread + discount[rows] * value
            scores = network.action_values(seen[rows])
            mine = scores.gather(1, action[rows, None]).squeeze(1)
            loss = torch.nn.functional.smooth_l1_loss(mine, target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                for a, b in zip(slow.parameters(), network.parameters(), strict=True):
                    a.lerp_(b, self.tau)
            if k + 1 in (self.n_steps, self.n_steps - self.n_steps // 4):
                with torch.inference_mode():
                    values.append(float(_expected(slow, seen[first], chances[first]).mean()))
        with torch.inference_mode():
            q = network.action_values(seen).gather(1, action[:, None]).squeeze(1)
            v = _expected(network, seen, chances)
            error = q - reward / spread - discount * v[following]
        return Fitted(
            value=values[-1] * spread,
            q=q.double().numpy() * spread,
            v=v.double().numpy() * spread,
            moved=abs(values[-1] - values[0]),
            residual=float(error.square().mean().sqrt()),
        )


def _steps(given: Logged) -> tuple[Vector, Vector, Ints, Vector]:
    """Return reward, discount to the next decision, its row and the return from here, of each.

    At an end the discount is 0 and the next row its own.
    """
    n = len(given.action)
    reward, discount, ahead = np.zeros((3, n), dtype=np.float32)
    following = np.arange(n)
    for rows, paid, time in zip(given.row, given.reward, given.time, strict=True):
        own = rows[rows >= 0]
        reward[own] = paid[: len(own)]
        following[own[:-1]] = own[1:]
        discount[own[:-1]] = np.exp(-np.diff(time[: len(own)]) / given.discount_seconds)
    for i in range(n - 1, -1, -1):
        ahead[i] = reward[i] + discount[i] * ahead[following[i]]
    return reward, discount, following, ahead


def _expected(network: CandidateScorer, x: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """Return the value of what a policy does, shape [B]."""
    values = network.action_values(x)
    return torch.where(values > MASKED / 2, values * chances, 0.0).sum(1)
