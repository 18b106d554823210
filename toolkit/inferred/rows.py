"""Rows: decisions read from what ran, as columns of the table ``decisions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.decision import Decision
from toolkit.inferred.steps import Steps
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import EPOCH, State

COLUMNS = (
    "decision", "epoch", "agent", "at", "action", "key", "slots", "propensity", "policy",
    "digest", "inferred", "invalid",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """The decisions that a log implies.

    Args:
        columns: Those of the table ``decisions`` but for ``run``.
        invalid: How many of them the mask forbids, or no slot shows.
        waits: How many are waits.
        left_out: What of the log they do not cover, as counts.
        options: What the keys stand for where the trace has no table of them.
        scene: After the last of what ran.
    """

    columns: Mapping[str, list[Any]]
    invalid: int
    waits: int
    left_out: Mapping[str, int]
    scene: Scene
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def decisions(self) -> int:
        """How many there are."""
        return len(self.columns["decision"])


class Rows:
    """Collects decisions; none of them has a propensity.

    Args:
        steps: Takes them too, with all that they show; nobody does where absent.
    """

    def __init__(self, steps: Steps | None = None) -> None:
        self.steps = steps
        self.columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}

    def answer(
        self,
        state: State,
        decision: Decision | None,
        agent: str,
        wanted: int,
        key: int,
        *,
        shown: Decision | None = None,
    ) -> bool:
        """Keep the answer to a decision; return whether it was a legal one.

        Args:
            state: At the moment.
            decision: What was asked; None where nothing was due.
            agent: Who was asked.
            wanted: The key of what was chosen, among those of the decision.
            key: The same as the trace names it.
            shown: What would have been asked where nothing was due, for the steps.
        """
        slot = -1
        if decision is not None:
            found = (decision.keys == wanted).nonzero()[0]
            slot = int(found[0]) if len(found) else -1
        legal = decision is not None and slot >= 0 and bool(decision.mask[slot])
        c = self.columns
        c["decision"].append(len(c["decision"]))
        c["epoch"].append(int(state.cursor[EPOCH]))
        c["agent"].append(agent)
        c["at"].append(float(state.time[0]))
        c["action"].append(slot)
        c["key"].append(key)
        c["slots"].append(0 if decision is None else len(decision.keys))
        c["propensity"].append(None)
        c["policy"].append("log")
        c["digest"].append("" if decision is None else decision.digest())
        c["inferred"].append(True)
        c["invalid"].append(not legal)
        seen = shown if decision is None else decision
        if self.steps is not None and seen is not None:
            self.steps.take(seen, slot, legal=legal)
        return legal

    def inferred(
        self, left_out: Mapping[str, int], scene: Scene, options: Mapping[str, Any] | None = None
    ) -> Inferred:
        """Return what was collected."""
        keys, agents = self.columns["key"], self.columns["agent"]
        waits = sum(k < 0 and a == "task" for k, a in zip(keys, agents, strict=True))
        return Inferred(
            columns=self.columns,
            invalid=sum(self.columns["invalid"]),
            waits=waits,
            left_out=left_out,
            scene=scene,
            options=options or {},
        )
