"""Steps: the answers that a log implies as steps of an episode, paid as the rollout loop pays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit import reward
from toolkit.decision import Decision
from toolkit.live import Episode, Step, outcome_of
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import N_WAITING
from toolkit.workload import Floats


class Steps:
    """Collects answers; the last of an instant is paid until the next instant.

    Args:
        weights: Of the reward.
    """

    def __init__(self, weights: reward.Reward) -> None:
        self._columns, self._signed = reward.columns(weights), reward.signed(weights)
        self._steps: list[Step] = []
        self._invalid: list[bool] = []
        self._open: list[tuple[Decision, int]] = []
        self._before: Floats = np.zeros(len(self._columns))
        self._instant = self._longest = 0
        self._at = -np.inf

    def take(self, decision: Decision, slot: int, *, legal: bool) -> None:
        """Take an answer, before it is carried out.

        Args:
            decision: What was asked.
            slot: What was chosen, -1 where no slot shows it.
            legal: Whether the mask allows it.
        """
        state = decision.scene.state
        now = float(state.time[0])
        if now > self._at:
            self._pay(decision.scene)
            self._at, self._before = now, state.totals[self._columns]
        self._longest = max(self._longest, int(state.by_type[:, N_WAITING].max()))
        self._open.append((decision, slot))
        self._invalid.append(not legal)

    def _pay(self, scene: Scene) -> None:
        """Pay the answers of the last instant for the time until now."""
        if not self._open:
            return
        state, nothing = scene.state, np.zeros(len(self._columns))
        paid = state.totals[self._columns] - self._before
        for i, (decision, slot) in enumerate(self._open):
            last = i == len(self._open) - 1
            self._steps.append(
                Step(
                    epoch=self._instant,
                    decision=decision,
                    action=slot,
                    propensity=None,
                    elapsed=float(state.time[0]) - self._at if last else 0.0,
                    components=paid if last else nothing,
                    reward=float(self._signed @ paid) if last else 0.0,
                )
            )
        self._instant += 1
        self._open = []

    def episode(self, scene: Scene) -> Episode:
        """Return all of it, at the end.

        Args:
            scene: The last one.
        """
        self._pay(scene)
        return Episode(
            steps=tuple(self._steps),
            outcome=outcome_of(scene),
            scene=scene,
            terminated=scene.state.done,
            longest_queue=self._longest,
        )

    @property
    def invalid(self) -> npt.NDArray[np.bool_]:
        """Which answers the mask forbids or no slot shows, shape [steps]."""
        return np.array(self._invalid, dtype=np.bool_)
