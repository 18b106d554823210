"""Exploration: how Q-learning plays while it learns."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import require


@dataclass(frozen=True, kw_only=True)
class Play:
    """How Q-learning plays while it learns.

    The share of draws falls in one of two ways: in a straight line over ``exploring``, or by
    ``decay``, ε ← max(ε_end, ε · decay), counted from the first gradient step. Papers that write
    "decay 0.995" seldom say of what: per ``step`` a decision, so that ε = 0.01 is reached from 1
    after 919 of them; per ``episode`` a whole episode, so that ε is still 0.08 after 500.

    Args:
        copies: Episodes that are played side by side.
        rounds: Decisions of each copy per gradient step.
        capacity: Decisions that are remembered; the oldest are forgotten.
        before: Decisions that are drawn among the allowed slots before the first gradient step.
        epsilon: Share of such draws at first.
        epsilon_end: Share of such draws in the end, or the least of them.
        exploring: Share of the training over which the one becomes the other.
        decay: What the share is multiplied by instead.
        decay_per: After each ``step`` (a decision of any copy) or ``episode`` (of any copy).
    """

    copies: int
    rounds: int
    capacity: int
    before: int
    epsilon: float
    epsilon_end: float
    exploring: float | None = None
    decay: float | None = None
    decay_per: str = "step"

    def __post_init__(self) -> None:
        for name in ("copies", "rounds", "capacity", "before"):
            value = getattr(self, name)
            require(value >= 1, f"algo.play.{name} must be at least 1, got {value}")
        require(
            self.copies <= self.before <= self.capacity - self.copies,
            "algo.play.before must be from algo.play.copies to so many below algo.play.capacity",
        )
        require(
            0 <= self.epsilon_end <= self.epsilon <= 1,
            "algo.play.epsilon must fall from at most 1 to at least 0",
        )
        require(
            (self.exploring is None) != (self.decay is None),
            "exploration falls either over algo.play.exploring or by algo.play.decay",
            hint="set one of them and the other to null",
        )
        require(
            self.exploring is None or 0 < self.exploring <= 1,
            "algo.play.exploring must be in (0, 1]",
        )
        require(
            self.decay is None or 0 < self.decay < 1,
            f"algo.play.decay must be in (0, 1), e.g. 0.995, got {self.decay}",
        )
        require(
            self.decay_per in ("step", "episode"),
            f"algo.play.decay_per must be step or episode, got {self.decay_per!r}",
        )

    def share(self, progress: float, *, decisions: int, episodes: int) -> float:
        """Return the share of draws.

        Args:
            progress: Share of the training that is done.
            decisions: Decisions taken since the first gradient step.
            episodes: Episodes ended since then.
        """
        if self.exploring is not None:
            gone = min(1.0, progress / self.exploring)
            return self.epsilon + gone * (self.epsilon_end - self.epsilon)
        assert self.decay is not None
        times = decisions if self.decay_per == "step" else episodes
        return max(self.epsilon_end, self.epsilon * self.decay**times)
