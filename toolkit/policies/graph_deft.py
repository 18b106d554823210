"""A graph network that selects, and DEFT that allocates: Decima-DEFT and Lachesis.

Each time an executable task is not committed yet, the network chooses among those that are not,
interchangeable ones as one, and DEFT commits it to the node where it finishes first; then the
heads of the queues are handed over and time passes (:mod:`toolkit.policies.deft`). Where there is
nothing to choose from, nobody is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from toolkit.decision import Decision
from toolkit.errors import ToolkitError
from toolkit.features.graph import LACHESIS, Graph, Stages, describe, room_for, stages_of
from toolkit.networks.graph_alone import GraphAlone
from toolkit.networks.graph_network import VARIANTS, GraphScorer
from toolkit.networks.graphs import Seen
from toolkit.policies import learned
from toolkit.policies.deft import (
    FIFO,
    Queues,
    commit,
    empty,
    expect,
    head,
    holdable,
    next_node,
    prepare,
    settle,
)
from toolkit.policies.family import require_family
from toolkit.policies.listed import earliest_slot
from toolkit.policies.policy import certain
from toolkit.simulator.compiled import lean
from toolkit.simulator.state import PRESENT
from toolkit.workload import PLACEMENT, Floats, Indices, Mask, Workload


@lean
def begin(s: Any, q: Any, keys: Indices) -> None:
    """Bring queues and lanes to the decision at hand.

    Args:
        s: The scene.
        q: The queues, changed in place.
        keys: Tasks, shape [K].
    """
    prepare(s, q, keys)
    expect(s, q)


@lean
def _options(s: Any, q: Any) -> tuple[int, int]:
    """Return how many kinds of tasks could be committed, 2 for more, and one of them or -1."""
    count, found = 0, -1
    for j in range(s.cursor[PRESENT]):
        lead = s.first[s.by_arrival[j]]
        while lead >= 0:
            task = lead
            for _ in range(max(1, s.twins[lead])):
                if q.node[task] < 0 and holdable(s, task):
                    count += 1
                    found = task
                    break
                task = s.twin[task]
            if count == 2:
                return count, found
            lead = s.link[lead]
    return count, found


@lean
def choosing(s: Any, q: Any, mask: Mask, late: bool) -> bool:
    """Commit tasks as long as there is no choice; return whether somebody is to be asked.

    Args:
        s: The scene.
        q: The queues, changed in place.
        mask: Of the decision at hand, shape [K].
        late: Whether nothing is committed while some task can be handed over now.
    """
    while not late or head(s, q, mask) < 0:
        count, task = _options(s, q)
        if count != 1:
            return count > 1
        commit(s, q, task)
    return False


@dataclass(frozen=True, kw_only=True)
class GraphDeft:
    """Commits what the network scores highest, ties to the job that came first.

    Args:
        name: Name of the policy.
        network: Scores the tasks; in evaluation mode. Where it is ``late``, a task is selected
            only while some node has room and none of the queues' heads fits, as Decima does when
            an executor is free; else every executable task is committed at once, as the X-DEFT
            family is defined.
        about: Schema, features, family and lineage.
    """

    name: str
    network: GraphScorer
    about: Mapping[str, Any]

    _alone: GraphAlone = field(init=False, repr=False, compare=False)
    _now: tuple[Queues, Stages, Graph] | None = field(
        init=False, repr=False, compare=False, default=None
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_alone", self.network.alone())

    def reset(self, workload: Workload) -> None:
        """Begin with empty queues.

        Raises:
            ConfigError: When the workload is of another family.
            SchemaError: When it speaks another language than the policy was taught.
        """
        require_family(self.name, PLACEMENT, workload)
        learned.check_workload(self.name, self.about, workload)
        stages = stages_of(workload)
        room = room_for([stages], len(workload.arrays.capacity), workload.jobs)
        object.__setattr__(self, "_now", (empty(workload), stages, room))

    def check(self, described: Mapping[str, Any]) -> None:
        """Check that decisions speak the language that the policy was taught."""
        learned.check(self.name, self.about, described)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the queue's head, or of its node; shape [K]."""
        if self._now is None or len(self._now[0].node) != decision.scene.workload.tasks:
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        q, s, mask = self._now[0], decision.known, decision.mask
        if decision.agent == "node":
            slot = int(next_node(s, q, decision.subject, mask))
            if slot < 0:
                slot = max(0, int(earliest_slot(s, decision.subject, decision.keys, mask)))
            return certain(slot, len(mask))
        begin(s, q, decision.keys)
        while choosing(s, q, mask, self.network.late):
            commit(s, q, self._selected(s))
        return certain(int(settle(s, q, decision.keys, mask, FIFO)), len(mask))

    def _selected(self, s: Any) -> int:
        """Return the task that the network selects."""
        assert self._now is not None
        q, stages, room = self._now
        wide = VARIANTS[self.network.variant] == LACHESIS
        at = describe(s, q, stages, room, 0, (0, 0, 0), wide)
        seen = Seen.of(room, at, 1)
        return int(seen.key[seen.option[int(self._alone.scores(seen).argmax())]])
