"""The graph network of Decima and Lachesis: scores the tasks that can be selected.

Mao et al., Learning Scheduling Algorithms for Data Processing Clusters, SIGCOMM 2019,
doi:10.1145/3341302.3342080, arXiv 1810.01963, section 5.1; Lachesis has the same two phases
(Zhou et al., IEEE MDM 2022, doi:10.1109/MDM55031.2022.00040, arXiv 2103.06980) over features of
its own, see :mod:`toolkit.features.graph`. Every node gets an embedding from its features and
those of its children,

    e_v = g(Σ over children u of f(e_u)) + x_v    (equation 1),

every job a summary y = g₂(Σ f₂(x_v, e_v)), the cluster z = g₃(Σ f₃(y)), and every node that can be
selected a score q(features, e_v, y, z). A softmax over these scores selects. What the text leaves
open is decided as its published code has it: two layers with leaky ReLU in every function, a node
without children is x_v alone, the summary and the score see the features beside the embedding.
The head that limits the parallelism of a job is left out: DEFT allocates instead.

Features enter twice: as sign(x) log(1 + abs(x)), standardised, since seconds span decades, and in
proportion to their mean, since sums of work are what summaries are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.features.graph import DECIMA, GRAPH, LACHESIS
from toolkit.networks.graph_alone import GraphAlone
from toolkit.networks.graphs import Graphs

VARIANTS: Mapping[str, int] = {"decima": DECIMA, "lachesis": LACHESIS}
"""How many of the features each sees."""
NETWORKS = ("graph", "mlp")
_FAR = 10.0
_LEAST = 1e-3


class GraphScorer(nn.Module):
    """Maps graphs to one score per task that can be selected, [A].

    Args:
        variant: ``decima`` or ``lachesis``.
        hidden: Width of embeddings; layers between are twice as wide.
        rounds: Generations of a job, counted from the tasks whose parents have finished, that
            hear of their children; Decima's code has 8.
        network: ``graph``, or ``mlp`` for the control without messages: each task is scored from
            its own features, the sums over its job and those over all jobs.
        late: Whether a task is selected only when some node would else idle, as
            :class:`~toolkit.policies.graph_deft.GraphDeft` says; belongs to what was learnt.
    """

    kind: ClassVar[str] = "graph"

    def __init__(
        self, *, variant: str, hidden: int, rounds: int, network: str = "graph", late: bool = False
    ) -> None:
        super().__init__()
        require(variant in VARIANTS, f"variant must be one of {[*VARIANTS]}, got {variant!r}")
        require(network in NETWORKS, f"network must be 'graph' or 'mlp', got {network!r}")
        for name, value, most in (("hidden", hidden, 1024), ("rounds", rounds, 1024)):
            require(
                type(value) is int and 1 <= value <= most,
                f"network size {name!r} must be an integer in [1, {most}], got {value!r}",
            )
        require(isinstance(late, bool), f"late must be true or false, got {late!r}")
        self.variant, self.hidden, self.rounds = variant, hidden, rounds
        self.network, self.late = network, late
        F, h = VARIANTS[variant], hidden
        self.mean: Tensor
        self.std: Tensor
        self.size: Tensor
        self.register_buffer("mean", torch.zeros(F))
        self.register_buffer("std", torch.ones(F))
        self.register_buffer("size", torch.ones(F))
        self.prepare = _layers(2 * F, h)
        self.tell = _layers(h, h) if network == "graph" else None
        self.hear = _layers(h, h) if network == "graph" else None
        self.of_job = nn.ModuleList([_layers(2 * F + h, h), _layers(h, h)])
        self.of_all = nn.ModuleList([_layers(h, h), _layers(h, h)])
        self.score = nn.Sequential(_layers(2 * F + 3 * h, h), nn.Linear(h, 1))

    def sizes(self) -> dict[str, Any]:
        """Return all that it is built from, and the version of the features."""
        return {
            "variant": self.variant,
            "hidden": self.hidden,
            "rounds": self.rounds,
            "network": self.network,
            "late": self.late,
            "graph": GRAPH,
        }

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> Self:
        """Return a network of some sizes, its weights not yet set."""
        told = dict(sizes)
        version = told.pop("graph")
        require(version == GRAPH, f"graphs of version {version!r}; this release shows {GRAPH}")
        return cls(**told)

    def normalise(self, x: Tensor) -> None:
        """Set how features are standardised.

        Args:
            x: Of nodes, shape [V, 12].
        """
        x = x[:, : len(self.mean)].double()
        moved = _logarithm(x)
        self.mean.copy_(moved.mean(0))
        self.std.copy_(moved.std(0, unbiased=False).clamp(min=_LEAST))
        self.size.copy_(x.abs().mean(0).clamp(min=_LEAST))

    def alone(self) -> GraphAlone:
        """Return what gives the same scores without torch, for playing."""
        return GraphAlone(self)

    def forward(self, graphs: Graphs) -> Tensor:
        """Return the score of each option, shape [A]."""
        x = self._inputs(graphs.x)
        e = self.embeddings(x, graphs)
        told = self.of_job[0](torch.cat([x, e], dim=1))
        jobs = told.new_zeros(len(graphs.scene), self.hidden).index_add(0, graphs.job, told)
        y = self.of_job[1](jobs)
        scenes = y.new_zeros(graphs.scenes, self.hidden)
        z = self.of_all[1](scenes.index_add(0, graphs.scene, self.of_all[0](y)))
        node = graphs.option
        parts = [x[node], e[node], y[graphs.job[node]], z[graphs.of]]
        found: Tensor = self.score(torch.cat(parts, dim=1)).squeeze(-1)
        return found

    def embeddings(self, x: Tensor, graphs: Graphs) -> Tensor:
        """Return e of each node, shape [V, hidden].

        Args:
            x: What enters of each node, shape [V, 2 F].
            graphs: The graphs.
        """
        own = self.prepare(x)
        if self.tell is None or self.hear is None:
            found: Tensor = own
            return found
        first = graphs.blocks[0]
        done = [own[:first]]
        told = self.tell(done[0]) if len(graphs.blocks) > 1 else done[0]
        at, edge = first, 0
        for nodes, edges in zip(graphs.blocks[1:], graphs.edges[1:], strict=True):
            child = graphs.child[edge : edge + edges]
            parent = graphs.parent[edge : edge + edges]
            nothing = own.new_zeros(nodes, self.hidden)
            heard = nothing.index_add(0, parent, told.index_select(0, child))
            some = own.new_zeros(nodes, 1).index_fill(0, parent, 1.0)
            done.append(own[at : at + nodes] + self.hear(heard) * some)
            at, edge = at + nodes, edge + edges
            if at < len(own):
                told = torch.cat([told, self.tell(done[-1])])
        return torch.cat(done)

    def _inputs(self, x: Tensor) -> Tensor:
        x = x[:, : len(self.mean)]
        standard = ((_logarithm(x) - self.mean) / self.std).clamp(-_FAR, _FAR)
        return torch.cat([standard, (x / self.size).clamp(-_FAR, _FAR)], dim=1)


def _layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 2 * outputs),
        nn.LeakyReLU(),
        nn.Linear(2 * outputs, outputs),
        nn.LeakyReLU(),
    )


def _logarithm(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(torch.abs(x))
