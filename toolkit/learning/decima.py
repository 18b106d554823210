"""Decima: a graph network that selects tasks, learnt by REINFORCE with an input-dependent baseline.

Mao et al., Learning Scheduling Algorithms for Data Processing Clusters, SIGCOMM 2019,
doi:10.1145/3341302.3342080, arXiv 1810.01963. Several episodes play the same jobs with the same
luck; the return of a selection is compared with the mean return that the others had at the same
time (section 5.3). What differs from the paper:

- DEFT allocates, and there is no parallelism limit (see :mod:`toolkit.policies.graph_deft`).
- The reward is the scenario's; weighed with ``sojourn`` it is theirs, minus the integral of the
  number of jobs in the system. Returns are discounted by exp(−elapsed/τ), where they subtract a
  moving average of the reward.
- Episodes are cut at a time drawn from an exponential distribution whose mean grows, as theirs
  are, so that a poor policy is not lost in the queues that it lets grow; here the mean is
  ``cut`` × τ / (share of the training that is left), and whole episodes are played in the end.
- A batch may be learnt from in several steps, whose ratio of probabilities is clipped as PPO's is
  (Schulman et al., arXiv 1707.06347). One epoch of one batch is plain REINFORCE.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.features.graph import LACHESIS
from toolkit.learning.checkpoint import State, packed, unpack
from toolkit.learning.gate import Gate
from toolkit.learning.input_baseline import advantages, standardised
from toolkit.learning.learner import Algorithm, Given
from toolkit.learning.selecting import Selecting
from toolkit.networks.graph_network import NETWORKS, VARIANTS, GraphScorer
from toolkit.networks.graphs import Graphs, Seen, best, joined, log_softmax, summed
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import Floats, Ints, Mask

_SEEDS = 2**30
_SHORTEST = 0.25
"""Share of the mean length that an episode has at least."""


@dataclass(frozen=True, kw_only=True)
class Decima(Algorithm):
    """Hyper-parameters of Decima.

    Args:
        n_steps: Episodes; exactly so many are played.
        copies: Episodes of a batch, played side by side.
        alike: So many of them each play the same workload with the same luck.
        sample: Selections of a batch that are learnt from in one epoch, drawn at random; those
            that follow one another differ little.
        batch_size: Selections per gradient step.
        epochs: How often a sample is drawn from a batch.
        learning_rate: Falling to a tenth in the end.
        clip: Of the ratio of probabilities.
        cut: Mean length of an episode in the beginning, in multiples of τ.
        entropy: Weight of the entropy in the beginning.
        entropy_end: In the end; it falls linearly.
        most_gradient: Norm to which gradients are clipped.
        hidden: Width of the embeddings.
        rounds: Generations of a job that hear of their children.
        late: Whether a task is selected only when some node would else idle; see
            :class:`~toolkit.policies.graph_deft.GraphDeft`.
        gate_every: Batches between two looks of the gate.
        gate_workloads: Training workloads on which it judges, always the same.
        report_every: Episodes between two points of the learning curve.
        network: ``graph``, or ``mlp`` for the control without messages.
    """

    n_steps: int
    copies: int
    alike: int
    sample: int
    batch_size: int
    epochs: int
    learning_rate: float
    clip: float
    cut: float
    entropy: float
    entropy_end: float
    most_gradient: float
    hidden: int
    rounds: int
    late: bool
    gate_every: int
    gate_workloads: int
    report_every: int
    network: str = "graph"

    title: ClassVar[str] = "decima"

    def __post_init__(self) -> None:
        for name in (
            "n_steps",
            "copies",
            "sample",
            "batch_size",
            "epochs",
            "gate_every",
            "gate_workloads",
            "report_every",
        ):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        for name in ("learning_rate", "clip", "cut", "most_gradient"):
            require(getattr(self, name) > 0, f"algo.{name} must be positive")
        require(
            self.alike >= 2 and self.copies % self.alike == 0,
            "algo.copies must be a multiple of algo.alike, which must be 2 or more for a baseline, "
            f"got {self.copies} and {self.alike}",
        )
        require(
            self.n_steps % self.copies == 0,
            f"algo.n_steps must be a multiple of algo.copies, {self.copies}, got {self.n_steps}",
        )
        for name in ("entropy", "entropy_end"):
            require(getattr(self, name) >= 0, f"algo.{name} must not be negative")
        require(
            self.network in NETWORKS,
            f"{self.name} knows the networks {' and '.join(NETWORKS)}, got {self.network!r}",
            hint="network=graph passes messages along the edges, network=mlp does not",
        )
        self.fresh()  # which checks its sizes

    def fresh(self) -> GraphScorer:
        """Return a network that has learnt nothing."""
        return GraphScorer(
            variant=self.title,
            hidden=self.hidden,
            rounds=self.rounds,
            network=self.network,
            late=self.late,
        )

    def start(self, given: Given) -> DecimaLearner:
        """Return a training before its first step."""
        return DecimaLearner(self, given)


class _Played(NamedTuple):
    """What a batch of ``N`` episodes went through in ``T`` rounds of selections."""

    seen: Sequence[Seen]  # [T]
    rows: Sequence[Ints]  # [T] episodes that were going
    option: Sequence[Ints]  # [T] what each of them chose, into the options of the round
    likely: Sequence[Floats]  # [T] logarithm of its probability
    advantage: Floats  # [T, N], NaN where an episode was over
    returns: Floats  # [N] summed rewards


class DecimaLearner:
    """A training by REINFORCE on the CPU: graphs of a hundred nodes are no work for a GPU.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount and seed.
    """

    def __init__(self, settings: Decima, given: Given) -> None:
        self._settings, self._given = settings, given
        self._scenario = given.played(settings.name)
        self._done, self._updates, self._decisions = 0, 0, 0
        torch.manual_seed(given.seed)
        self._network = settings.fresh()
        last = self._network.score[1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            # Nearly uniform at first, so that what is drawn tells of all options.
            last.weight.mul_(0.01)
        met = [seen.x for seen in self._episodes("look", whole=True).seen]
        require(len(met) > 0, f"nobody is ever asked for a task in {self._scenario.name}")
        self._network.normalise(torch.from_numpy(np.concatenate(met)))
        self._adam = torch.optim.Adam(self._network.parameters(), settings.learning_rate)
        self._gate = Gate(
            self._scenario, settings.gate_workloads, np.inf, "cpu", returns=self._returns
        )
        self._gate.look(self._network, self._adam)

    @staticmethod
    def _returns(network: Any, scenario: Scenario, seeds: Sequence[int]) -> Floats:
        return selected(network, scenario, seeds).returns

    @property
    def done(self) -> int:
        """Episodes played."""
        return self._done

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play a batch of episodes and learn from it."""
        s = self._settings
        played = self._episodes("train")
        measured = self._learn(played)
        self._done += s.copies
        self._updates += 1
        self._decisions += sum(len(rows) for rows in played.rows)
        if self._updates % s.gate_every == 0 or self._done >= s.n_steps:
            self._gate.look(self._network, self._adam)
        measured["return"] = float(played.returns.mean())
        measured["gate"] = self._gate.looks[-1]
        return s.copies, measured

    def _episodes(self, purpose: str, *, whole: bool = False) -> _Played:
        """Play the next batch of episodes by draws from the network's softmax."""
        s, network, tau = self._settings, self._network.alone(), self._given.discount_seconds
        rng = generator(self._given.seed, purpose, self._updates)
        groups = s.copies // s.alike
        left = 1 - self._done / s.n_steps
        ends = tau * s.cut / left * (_SHORTEST + rng.exponential(1 - _SHORTEST, groups))
        playing = Selecting(
            self._scenario,
            np.repeat(rng.integers(_SEEDS, size=groups), s.alike).tolist(),
            late=s.late,
            wide=VARIANTS[s.title] == LACHESIS,
            horizons=None if whole else np.repeat(ends, s.alike),
        )
        seen, rows, option, likely = [], [], [], []
        times, rewards = [], []
        while len(going := playing.going):
            seen.append(playing.look())
            rows.append(going)
            asked = seen[-1].asked
            scores = torch.from_numpy(network.scores(seen[-1]))
            logs = log_softmax(scores, torch.from_numpy(asked), len(going)).numpy()
            # The option of greatest score plus Gumbel noise is a draw from the softmax.
            chosen = best(logs + rng.gumbel(size=len(logs)), asked)
            option.append(chosen)
            likely.append(logs[chosen])
            times.append(playing.time.copy())
            playing.step(seen[-1].key[seen[-1].option[chosen]])
            rewards.append(playing.paid.copy())
        times.append(playing.time.copy())
        advantage = advantages(
            np.reshape(rewards, (-1, s.copies)), np.array(times), _alive(rows, s.copies),
            tau=tau, alike=s.alike,
        )  # fmt: skip
        return _Played(seen, rows, option, likely, advantage, playing.returns)

    def _learn(self, played: _Played) -> dict[str, float]:
        s = self._settings
        share = self._done / s.n_steps
        self._adam.param_groups[0]["lr"] = s.learning_rate * (1 - 0.9 * share)
        entropy = s.entropy + (s.entropy_end - s.entropy) * share
        standard = standardised(played.advantage, s.alike)
        rng = generator(self._given.seed, "minibatches", self._updates)
        sums: dict[str, list[float]] = {"loss": [], "entropy": [], "kl": []}
        for _ in range(s.epochs):
            for steps in _minibatches(played.rows, s.batch_size, s.sample, rng):
                graphs = Graphs.of_seen(joined([played.seen[t] for t in steps]), s.rounds)
                advantage = np.concatenate([standard[t, played.rows[t]] for t in steps])
                found = self._gradient(
                    graphs,
                    torch.from_numpy(_shifted(played, steps)),
                    torch.from_numpy(np.concatenate([played.likely[t] for t in steps])),
                    torch.from_numpy(advantage.astype(np.float32)),
                    entropy,
                )
                for key, value in zip(sums, found, strict=True):
                    sums[key].append(value)
        return {key: float(np.mean(values)) for key, values in sums.items() if values}

    def _gradient(
        self, graphs: Graphs, option: Tensor, before: Tensor, advantage: Tensor, entropy: float
    ) -> tuple[float, float, float]:
        """Take a gradient step; return loss, mean entropy and divergence from who played."""
        s, network = self._settings, self._network
        logs = log_softmax(network(graphs), graphs.of, graphs.scenes)
        moved = logs[option] - before
        ratio = moved.exp()
        clipped = ratio.clamp(1 - s.clip, 1 + s.clip)
        loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
        spread = -summed(logs.exp() * logs, graphs.of, graphs.scenes).mean()
        self._adam.zero_grad()
        (loss - entropy * spread).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), s.most_gradient)
        self._adam.step()
        return float(loss.detach()), float(spread.detach()), float(-moved.detach().mean())

    def network(self) -> GraphScorer:
        """Return the policy that the gate found best."""
        found = copy.deepcopy(self._network)
        self._gate.give(found)
        return found.eval()

    def present(self) -> GraphScorer:
        """Return the policy as it is now."""
        return copy.deepcopy(self._network).eval()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return None: the baseline is what others met, no value is learnt."""
        return None

    def story(self) -> Mapping[str, float]:
        """Return what the gate saw, and how many selections were made."""
        return {**self._gate.story(), "decisions": float(self._decisions)}

    def state(self) -> State:
        """Return all that decides how the training goes on; episodes begin anew at every step."""
        kept, seen = self._gate.state()
        return State(
            tensors={**packed({"network": self._network}, {"adam": self._adam}), **kept},
            numbers={
                "done": self._done,
                "updates": self._updates,
                "decisions": self._decisions,
                "gate": seen,
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told = state.numbers
        unpack(state.tensors, {"network": self._network}, {"adam": self._adam})
        self._gate.restore(state.tensors, told["gate"])
        self._done, self._updates = int(told["done"]), int(told["updates"])
        self._decisions = int(told["decisions"])


def selected(network: GraphScorer, scenario: Scenario, seeds: Sequence[int]) -> Selecting:
    """Return the episodes of the best options of a network on some workloads, at their ends."""
    wide = VARIANTS[network.variant] == LACHESIS
    playing = Selecting(scenario, seeds, late=network.late, wide=wide)
    alone = network.alone()
    while len(playing.going):
        seen = playing.look()
        chosen = best(alone.scores(seen), seen.asked)
        playing.step(seen.key[seen.option[chosen]])
    return playing


def _alive(rows: Sequence[Ints], copies: int) -> Mask:
    """Return which episodes were going in each round, shape [T, N]."""
    found = np.zeros((len(rows), copies), dtype=np.bool_)
    for t, row in enumerate(rows):
        found[t, row] = True
    return found


def _minibatches(
    rows: Sequence[Ints], batch_size: int, sample: int, rng: np.random.Generator
) -> Any:
    """Yield rounds in an order drawn anew, in groups of at least so many selections."""
    group: list[int] = []
    many = drawn = 0
    for t in rng.permutation(len(rows)).tolist():
        group.append(t)
        many += len(rows[t])
        if many >= batch_size:
            yield group
            drawn += many
            group, many = [], 0
            if drawn >= sample:
                return
    if group:
        yield group


def _shifted(played: _Played, steps: Sequence[int]) -> Ints:
    """Return what was chosen in some rounds, into the options of all of them end to end."""
    options = [len(played.seen[t].option) for t in steps]
    before = np.cumsum(options) - options
    return np.concatenate([played.option[t] + b for t, b in zip(steps, before, strict=True)])
