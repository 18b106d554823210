"""Journey: a trained policy, where it was trained, and where else it is played."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evaluations.cells import REPLAY, ground_of, settings_of
from evaluations.experiments.arms import Arm
from evaluations.experiments.offline_to_online import merged
from evaluations.recording import Recording
from evaluations.verdicts.comparison import Compared
from toolkit.calibration.ensure import ensure as calibrated
from toolkit.errors import require
from toolkit.features.observe import sizes_of
from toolkit.policies.named import named
from toolkit.seeding import GATE
from toolkit.simulator.simulator import simulated
from toolkit.store import Store

STRUCTURES = "structures"
"""The group whose targets differ in the shape of the graphs alone."""
_UPDATES = 16


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a policy is played that was trained elsewhere.

    Args:
        words: Name of the scenario, and overrides; or ``REPLAY`` and the id of a calibration.
        recording: What is recorded for it where it names no words: its calibrated replay is played.
        dear: Whether it takes so long to play that fewer workloads are, and that no policy is
            trained there at length.
    """

    words: Sequence[str] = ()
    recording: Recording | None = None
    dear: bool = False

    def __post_init__(self) -> None:
        require(
            bool(self.words) != (self.recording is not None),
            "a target must name either words or a recording",
        )

    def settled(self, store: Store) -> Target:
        """Return the target by its words; what is to be recorded and calibrated for it then is.

        Args:
            store: Where recordings and calibrations lie.
        """
        if self.recording is None:
            return self
        calibration = calibrated(store, self.recording.made(store))
        return replace(self, words=(REPLAY, calibration.id), recording=None)


@dataclass(frozen=True, kw_only=True)
class Journey:
    """A trained policy and all places where it is played.

    Args:
        policy: Its name.
        source: Where it was trained: name of the scenario, and overrides.
        hefts: Rules of which the best on training workloads is called HEFT.
        rules: Others; the best heuristic is the best of all.
        beside: Rules that are shown and are no rivals: tuned for what is judged.
        targets: By group, and by name.
        kept: The claim about what is kept on structures that it has not seen.
        tuned: That about what fine-tuning makes of it; "" where the paper has none.
        metric: What is compared; less is better.
        trained: Settings of PPO that goes on at length where it is judged; they differ from its
            YAML.
    """

    policy: str
    source: Sequence[str]
    hefts: Sequence[str]
    rules: Sequence[str]
    beside: Sequence[str]
    targets: Mapping[str, Mapping[str, Target]]
    kept: str
    tuned: str = ""
    metric: str = "latency_mean"
    trained: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(len(self.hefts) > 0, "a journey must name one or more hefts")
        require(STRUCTURES in self.targets, f"a journey needs targets of the group {STRUCTURES!r}")
        names = [n for _, n, _ in self.each()]
        require(len(set(names)) == len(names), f"names of targets must differ, got {names}")

    @property
    def rivals(self) -> list[str]:
        """All rules of which the best counts."""
        return [*self.hefts, *self.rules]

    def settled(self, store: Store) -> Journey:
        """Return the journey with all of its targets :meth:`Target.settled`."""
        return replace(
            self,
            targets={
                group: {name: target.settled(store) for name, target in named_ones.items()}
                for group, named_ones in self.targets.items()
            },
        )

    def each(self) -> Iterator[tuple[str, str, Target]]:
        """Yield group, name and target."""
        for group, named_ones in self.targets.items():
            for name, target in named_ones.items():
                yield group, name, target


@dataclass(frozen=True, kw_only=True)
class Place:
    """What is known of a target before anything is trained there.

    Args:
        decisions: Of an episode of the policy as it is.
        slots: K, of its decisions.
        features: G + K F + K, what a fully connected network would see.
    """

    decisions: int
    slots: int
    features: int


def place_of(policy: str, words: Sequence[str]) -> Place:
    """Return what is known of a place: one training workload is played there."""
    store = Store()
    played = ground_of(words, settings_of(words, store), store)
    workload = played.plan(GATE)
    G, K, F = sizes_of(workload)
    episode = simulated(
        played, named(policy, store).policy, workload, GATE,
        horizon=played.horizon, weights=played.weights,
    )  # fmt: skip
    return Place(decisions=len(episode.steps), slots=K, features=G + K * F + K)


def fine_tuned(
    journey: Journey, target: Target, place: Place, episodes: int, settings: Mapping[str, Any]
) -> Arm:
    """Return how a policy goes on learning for a few episodes.

    The critic is new and learns alone at first, for a quarter of them.

    Args:
        journey: Whose policy.
        target: Where.
        place: How long an episode is there.
        episodes: How many; all are begun at once.
        settings: Of PPO that differ from its YAML.
    """
    rollout = math.ceil(place.decisions / _UPDATES)
    steps = episodes * rollout * _UPDATES
    told = {
        "n_steps": steps, "copies": episodes, "rollout": rollout, "report_every": steps,
        "warm_start": {"critic_steps": steps // 4, "ramp": 0},
    }  # fmt: skip
    return Arm(algo="ppo", settings=merged(settings, told), plays=target.words, init=journey.policy)


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """What was played at a target, or where the policy was trained.

    Args:
        group: Of the target; "" where it was trained.
        name: Of the target.
        played: Rivals, the policy, and what was trained there.
        place: What was known before.
        seconds: That trainings took, by arm.
    """

    group: str
    name: str
    played: Compared
    place: Place
    seconds: Mapping[str, float] = field(default_factory=dict)
