"""Exploration: how Q-learning plays while it learns."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import require


@dataclass(frozen=True, kw_only=True)
class Play:
    """How Q-learning plays while it learns.

    Args:
        copies: Episodes that are played side by side.
        rounds: Decisions of each copy per gradient step.
        capacity: Decisions that are remembered; the oldest are forgotten.
        before: Decisions that are drawn among the allowed slots before the first gradient step.
        epsilon: Share of such draws at first.
        epsilon_end: Share of such draws in the end.
        exploring: Share of the training over which the one becomes the other.
    """

    copies: int
    rounds: int
    capacity: int
    before: int
    epsilon: float
    epsilon_end: float
    exploring: float

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
        require(0 < self.exploring <= 1, "algo.play.exploring must be in (0, 1]")

    def share(self, progress: float) -> float:
        """Return the share of draws at a share of the training."""
        gone = min(1.0, progress / self.exploring)
        return self.epsilon + gone * (self.epsilon_end - self.epsilon)
