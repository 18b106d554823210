"""Agents: a network for every process type, and one that sets them targets where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.features.allocation import CANDIDATE_FEATURES
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Shape
from toolkit.workload import Mask

NO_TARGET = -1
"""Of an agent that has been set none yet."""
TARGETED = 2
"""Features by which a worker sees its target beside those of each candidate: whether the candidate
is the target, and how far it lies from it."""
_MOST = 64
_NAME = 200
_CPUS, _MEMORY = ([n for n, _ in CANDIDATE_FEATURES].index(name) for name in ("cpus", "memory"))


class Agents(nn.Module):
    """One network per agent; each sees the global state and scores its own candidates.

    Where there is a manager, it sets every agent a target among the agent's own candidates at the
    first of every so many instants, and the agents, its workers, see their targets, see
    :func:`aimed`. Ahilan & Dayan, Feudal Multi-Agent Hierarchies, arXiv 1901.08492.

    Args:
        actors: By name of the agent.
        manager: Scores the targets of one agent at a time, with the same weights for all.
        every: Instants for which a target stands.
    """

    kind: ClassVar[str] = "agents"

    def __init__(
        self, actors: Mapping[str, Ensemble], manager: Ensemble | None = None, every: int = 1
    ) -> None:
        super().__init__()
        self.names = _names(tuple(actors))
        require(every >= 1, f"every must be 1 or more, got {every}")
        require(
            len({actor.shape for actor in actors.values()}) == 1, "agents have networks of one size"
        )
        # A list, as names of agents are any text, and those of modules are not.
        self.actors = nn.ModuleList(actors.values())
        self.manager, self.every = manager, every
        if manager is not None:
            told, worker = manager.shape, self.actor(0).shape
            require(
                (told.globals, told.candidates + TARGETED, told.slots)
                == (worker.globals, worker.candidates, worker.slots),
                "workers must see what their manager sees, and their target",
            )

    def actor(self, i: int) -> Ensemble:
        """Return the network of an agent."""
        return cast(Ensemble, self.actors[i])

    @property
    def seen(self) -> Shape:
        """Shape of a network that sees what an environment shows."""
        return self.actor(0).shape if self.manager is None else self.manager.shape

    def sizes(self) -> dict[str, Any]:
        """Return names, the sizes of a network, those of the manager, and ``every``."""
        return {
            "names": list(self.names),
            "actor": self.actor(0).sizes(),
            "manager": None if self.manager is None else self.manager.sizes(),
            "every": self.every,
        }

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> Self:
        """Return agents of some sizes, their weights not yet set."""
        names, manager, every = _names(sizes["names"]), sizes["manager"], sizes["every"]
        if type(every) is not int:
            raise TypeError(f"every is a number of instants, got {every!r:.80}")
        return cls(
            {name: Ensemble.of(sizes["actor"]) for name in names},
            None if manager is None else Ensemble.of(manager),
            every,
        )

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return masked scores, shape [B, n, K].

        Args:
            x: What the agents see, shape [B, n, W].
            targets: Slots that the manager has set, shape [B, n].
        """
        if self.manager is not None:
            x = aimed(x, targets, self.seen)
        return torch.stack([self.actor(i)(x[:, i])[0] for i in range(len(self.names))], dim=1)

    def due(self, instants: Tensor, targets: Tensor) -> Mask:
        """Return where targets are to be set, shape [B].

        Args:
            instants: Since the episode began, shape [B].
            targets: Shape [B, n].
        """
        begins = (instants % self.every == 0) | (targets == NO_TARGET).any(1)
        found: Mask = begins.numpy()
        return found

    def act(self, x: Tensor, instants: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best slots, ties to the first, and the targets that stand; shapes [B, n].

        Args:
            x: What the agents see, shape [B, n, W].
            instants: Since the episode began, shape [B], on the CPU.
            targets: Those that stood before, shape [B, n], on the CPU.
        """
        if self.manager is not None and len(rows := self.due(instants, targets).nonzero()[0]):
            B, n, W = x[rows].shape
            best = self.manager(x[rows].reshape(B * n, W))[0].argmax(1)
            targets = targets.clone()
            targets[rows] = best.reshape(B, n).cpu()
        return self(x, targets.to(x.device)).argmax(2).cpu(), targets


def aimed(x: Tensor, targets: Tensor, seen: Shape) -> Tensor:
    """Return observations in which each candidate says whether it is the target, and how far.

    Args:
        x: Flat observations, shape [..., W].
        targets: Slots, shape [...].
        seen: Shape of a network that sees x.

    Returns:
        Shape [..., W + 2 K].
    """
    G, F = seen.globals, seen.candidates
    K = (x.shape[-1] - G) // (F + 1)
    candidates = x[..., G : G + K * F].reshape(*x.shape[:-1], K, F)
    away = distances(candidates, targets)
    told = torch.stack(
        [nn.functional.one_hot(targets.clamp(min=0), K).to(x.dtype), away], dim=-1
    )  # fmt: skip
    whole = torch.cat([candidates, told], dim=-1).flatten(-2)
    return torch.cat([x[..., :G], whole, x[..., G + K * F :]], dim=-1)


def distances(candidates: Tensor, targets: Tensor) -> Tensor:
    """Return how far profiles lie from targets, as shares of the cluster, shape [..., K].

    The mean of the distances of the share of all cpus and of all memory.

    Args:
        candidates: Features of an allocation, shape [..., K, F].
        targets: Slots, shape [...].
    """
    shares = candidates[..., [_CPUS, _MEMORY]]
    index = targets.clamp(min=0)[..., None, None].expand(*targets.shape, 1, 2)
    return (shares - shares.gather(-2, index)).abs().mean(-1)


def _names(names: Any) -> tuple[str, ...]:
    """Return names of agents; they are text of a file, which becomes keys and is shown."""
    if not isinstance(names, list | tuple):
        raise TypeError("names of agents are a list")
    require(1 <= len(names) <= _MOST, f"there may be 1 to {_MOST} agents, got {len(names)}")
    for name in names:
        require(
            isinstance(name, str) and 0 < len(name) <= _NAME and name.isprintable(),
            f"an agent's name is printable text of at most {_NAME} characters, got {name!r:.80}",
        )
    require(len(set(names)) == len(names), "two agents have one name")
    return tuple(names)
