"""Turns: who meets which workload in each run of a recording."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import require
from toolkit.seeding import generator


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of a policy.

    Args:
        policy: Index of the policy.
        seed: Of the workload.
        repeat: How often the policy has met this workload before; None where it meets each once.
    """

    policy: int
    seed: int
    repeat: int | None = None

    @property
    def luck(self) -> int:
        """Seed of what is drawn beside the workload; of its own in every repeat."""
        if not self.repeat:
            return self.seed
        return int(generator(self.seed, "repeat", self.repeat).integers(2**62))

    @property
    def about(self) -> dict[str, int]:
        """What the run's entry in the provenance says of it."""
        return {"seed": self.seed} | ({} if self.repeat is None else {"repeat": self.repeat})


@dataclass(frozen=True, kw_only=True)
class Turns:
    """The order of a recording: by workload, then repeat, then policy.

    What drifts on the machine thus meets all policies alike. Repeats are rounds, each with an
    order of its own: what a run leaves behind for the next meets all alike, too.

    Args:
        policies: How many take turns.
        paired: Whether all of them meet the same workloads.
        times: How often each meets each workload.
    """

    policies: int
    paired: bool
    times: int

    def __post_init__(self) -> None:
        require(self.times >= 1, f"collector.times must be at least 1, got {self.times}")
        require(
            self.paired or self.times == 1,
            f"collector.times={self.times} repeats workloads that all policies meet, which "
            "collector.paired=false does not give them",
            hint=f"toolkit collect collector.paired=true collector.times={self.times}",
        )

    def of(self, episode: int, seed: int) -> Turn:
        """Return whose turn an episode is.

        Args:
            episode: From 0.
            seed: Of the first workload; each further one has the next.
        """
        workload = episode // (self.policies * self.times) if self.paired else episode
        turn, place = divmod(episode, self.policies)
        if self.times == 1:
            return Turn(policy=place, seed=seed + workload)
        order = generator(seed, "turn", turn).permutation(self.policies)
        return Turn(policy=int(order[place]), seed=seed + workload, repeat=turn % self.times)
