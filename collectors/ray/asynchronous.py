"""Asynchronous: learners as Ray actors around one that holds what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from collectors.ray.fanout import connected, result
from toolkit.learning.a3c import Placed, Player
from toolkit.learning.shared import Outcome, Shared
from toolkit.workload import Vector

Holding = tuple[Sequence[Vector], Mapping[str, Any], int, int]
"""Weights, state of the optimiser, copies and rollout, as :class:`Shared` takes them."""


class Gang:
    """Learners and whoever holds the weights.

    They ask for no CPUs of the cluster, so that a training that is itself a task of it never
    waits for itself; Ray spreads them over the nodes.

    Args:
        holding: What the holder begins with.
        placed: What each learner is told.
        address: Of a Ray cluster that exists; null starts one on loopback and stops it.

    Raises:
        EngineError: When Ray does not start.
    """

    def __init__(self, holding: Holding, placed: Sequence[Placed], address: str | None) -> None:
        import ray

        self._stack = ExitStack()
        self._stack.enter_context(connected(len(placed) + 1, address))
        light = {"num_cpus": 0, "scheduling_strategy": "SPREAD"}
        self._shared = ray.remote(Shared).options(**light).remote(*holding)
        learner = ray.remote(_Learner).options(**light)
        self._learners = [learner.remote(p) for p in placed]
        for actor in (self._shared, *self._learners):
            self._stack.callback(ray.kill, actor)

    def round(self, decisions: int, rate: float) -> Outcome:
        """Let the learners take some decisions together; return what came of it.

        Args:
            decisions: A multiple of the copies of a learner.
            rate: Learning rate.

        Raises:
            EngineError: When a learner fails or is lost.
        """
        result(self._shared.grant.remote(decisions, rate))
        for done in [learner.run.remote(self._shared) for learner in self._learners]:
            result(done)
        outcome: Outcome = result(self._shared.outcome.remote())
        return outcome

    def close(self) -> None:
        """End them, and the Ray that was started for them."""
        self._stack.close()


class _Learner:
    """A learner in a process of its own.

    Args:
        placed: What it is told.
    """

    def __init__(self, placed: Placed) -> None:
        self._player = Player(placed)

    def run(self, shared: Any) -> None:
        """Play and hand in gradients until the round is over."""
        errand = result(shared.pull.remote())
        while errand is not None:
            found = self._player.gradients(errand.weights, errand.steps)
            errand = result(shared.push.remote(errand.version, *found))
