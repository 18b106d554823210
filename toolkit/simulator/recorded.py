"""The recorded clock: a trace replayed exactly as it happened (factual replay)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from toolkit.cluster import Cluster
from toolkit.decision import Decision
from toolkit.errors import ConfigError, CorruptError
from toolkit.live import Chooser, Outcome
from toolkit.scenarios.pipelines import Estimates, Pipelines, PipelineWorkload
from toolkit.simulator.fitting import check_event
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    FINISHED,
    KILLED,
    STARTED,
    apply_event,
    choose_profile,
    initial,
    pass_time,
)
from toolkit.simulator.world import unknown
from toolkit.store import Product, Store
from toolkit.trace import FEATURE, Trace
from toolkit.workload import Floats, Workload


def replayable(store: Store, name: str) -> Product:
    """Return a trace by id, or the newest that can be replayed as a stream of pipelines."""
    return store.get("traces", name, lambda p: bool(p.manifest["about"].get("replayable", True)))


def scenario_of(trace: Trace) -> Pipelines:
    """Return the scenario under which a trace was recorded.

    Raises:
        ConfigError: When it was not recorded under a stream of pipelines.
    """
    told = trace.provenance["scenario"]
    if told is None or "profiles" not in told or not trace.runs("policy"):
        raise ConfigError(
            f"the trace comes from {trace.provenance['source']} and names no scenario of pipelines "
            "that could be replayed",
            hint="see the recordings that do: toolkit list what=traces; make one: toolkit collect",
        )
    return Pipelines.from_dict(told)


def estimates_of(provenance: Mapping[str, Any]) -> Estimates:
    """Return what the recording's policies were told about durations."""
    e = provenance["estimates"]
    return Estimates(
        intercept=np.array(e["intercept"]), exponent=np.array(e["exponent"]), unit=float(e["unit"])
    )


def workload_of(trace: Trace, run: int, *, arrival: str = "arrived_at") -> PipelineWorkload:
    """Return the workload of a recorded run: its true jobs, features and arrivals.

    Args:
        trace: The trace.
        run: Which of its runs.
        arrival: Column of ``jobs`` that says when a job arrives: ``arrived_at``, or
            ``arrived_seen`` for a simulation in which arrivals are seen at once.
    """
    scenario = scenario_of(trace)
    jobs = trace.of("jobs", run).sort_by("job")
    features = np.stack([jobs[FEATURE + f.name].to_numpy() for f in scenario.features], axis=1)
    seed = next(int(r["seed"]) for r in trace.runs() if r["run"] == run)
    nodes = trace.of("nodes", run).sort_by("node").to_pylist()
    return scenario.instances(
        features,
        jobs[arrival].to_numpy(),
        seed,
        estimates=estimates_of(trace.provenance),
        cluster=Cluster.from_rows(nodes),
    )


def instants_of(trace: Trace, run: int) -> Floats:
    """Return the times at which a recorded run's policy was asked, s."""
    decisions = trace.of("decisions", run).sort_by("decision")
    epochs = decisions["epoch"].to_numpy()
    return _times(decisions["at"])[np.unique(epochs, return_index=True)[1]]


def start_delays_of(trace: Trace, run: int) -> Floats:
    """Return how long each task took to start once the recorder could hand it over, s.

    Counted from the last event that the recorder had seen before it did, so that the
    recorder's own work is part of the delay; in the order of ``tasks``.
    """
    tasks, jobs = trace.of("tasks", run), trace.of("jobs", run)
    seen = np.concatenate(
        [
            _times(jobs["arrived_seen"]),
            _times(tasks["started_seen"]),
            _times(tasks["finished_seen"]),
        ]
    )
    seen = np.sort(seen[~np.isnan(seen)])
    submitted = _times(tasks["submitted_at"])
    # Times of events are at least 1e-7 s apart; less is rounding.
    before = np.searchsorted(seen, submitted + 1e-8, side="right") - 1
    return _times(tasks["started_at"]) - np.where(before >= 0, seen[before], submitted)


class Recorded:
    """An :class:`~toolkit.live.Engine` that repeats the events of a recorded run.

    Args:
        trace: The trace.
        run: Which of its runs; one whose decisions were recorded.
        cut: When the recording was cut if it was, s; inf where that is not known.
    """

    def __init__(self, trace: Trace, run: int, cut: float = np.inf) -> None:
        self._cut = cut
        jobs = trace.of("jobs", run).sort_by("job")
        tasks = trace.of("tasks", run).sort_by([("task", "ascending"), ("attempt", "ascending")])
        if len(trace.of("decisions", run)) == 0:
            raise ConfigError(f"run {run} of the trace has no decisions to replay")
        self._tasks, self._jobs = tasks, jobs
        done = np.asarray(pc.equal(tasks["status"], "done").to_numpy(zero_copy_only=False))
        numbers = tasks["task"].to_numpy()
        events = [
            (jobs["job"].to_numpy(), jobs, "arrived", np.full(len(jobs), ARRIVED)),
            (numbers, tasks, "started", np.full(len(tasks), STARTED)),
            # An attempt that failed lets its task wait for the next one.
            (numbers, tasks, "finished", np.where(done, FINISHED, KILLED)),
        ]
        at = np.concatenate([_times(rows[f"{name}_at"]) for _, rows, name, _ in events])
        seen = np.concatenate([_times(rows[f"{name}_seen"]) for _, rows, name, _ in events])
        kinds = np.concatenate([kind for _, _, _, kind in events])
        subjects = np.concatenate([subject for subject, _, _, _ in events])
        known = ~np.isnan(seen)
        # At one instant what ends makes room for what starts, unless it took no time itself.
        ended = _times(tasks["finished_seen"]) > _times(tasks["started_seen"])
        rank = np.concatenate([np.zeros(len(jobs)), np.full(len(tasks), 2), 3 - 2 * ended])
        order = np.lexsort((subjects, rank, seen))
        order = order[known[order]]
        self._at, self._seen = at[order], seen[order]
        self._kinds, self._subjects = kinds[order], subjects[order]
        self._epoch_at = instants_of(trace, run)
        self._next = 0
        self._epoch = 0
        self._scene: Scene | None = None

    def start(self, workload: Workload) -> Scene:
        """Begin again at the first event."""
        self._next = self._epoch = 0
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        return self._scene

    def act(self, key: int) -> None:
        """Note a choice; what it led to has been recorded."""
        choose_profile(self._started().known, key)

    def advance(self, until: float) -> None:
        """Apply what was seen before the next recorded decision; ``until`` is not consulted."""
        scene = self._started()
        s, state = scene.known, scene.state
        self._epoch += 1
        last = self._epoch >= len(self._epoch_at)
        boundary = np.inf if last else float(self._epoch_at[self._epoch])
        while self._next < len(self._seen) and self._seen[self._next] <= boundary:
            i = self._next
            check_event(scene, int(self._kinds[i]), int(self._subjects[i]))
            apply_event(s, self._kinds[i], self._subjects[i], self._at[i], self._seen[i])
            self._next += 1
        if not last:
            pass_time(s, boundary)
        elif not state.done and self._cut < np.inf:
            pass_time(s, self._cut)
        elif not state.done:
            # The recording was cut here: let the clock leave any horizon behind.
            state.time[0] = np.inf

    def _started(self) -> Scene:
        if self._scene is None:
            raise ConfigError("the recorded engine was not started; call start(workload) first")
        return self._scene

    def outcome(self) -> Outcome:
        """Return what was recorded, of each task its last attempt."""
        numbers = self._tasks["task"].to_numpy()
        last = self._tasks.take(len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1])
        ended = np.where(
            pc.equal(last["status"], "done").to_numpy(zero_copy_only=False),
            _times(last["finished_at"]),
            np.nan,
        )
        return Outcome(
            ready=_times(last["ready_at"]),
            started=_times(last["started_at"]),
            finished=ended,
            profile=last["profile"].to_numpy().astype(np.int64),
            node=last["node"].to_numpy().astype(np.int64),
            arrived=_times(self._jobs["arrived_at"]),
            completed=_times(self._jobs["finished_at"]),
        )


class Forced:
    """Answers every decision with what was recorded, in order.

    Past the end of the record the last choice of each agent stands, with no propensity.

    Args:
        trace: The trace.
        run: Which of its runs.
    """

    def __init__(self, trace: Trace, run: int) -> None:
        rows = trace.of("decisions", run).sort_by("decision")
        self._actions = rows["action"].to_pylist()
        self._propensities = rows["propensity"].to_pylist()
        self._agents = rows["agent"].to_pylist()
        self._digests = rows["digest"].to_pylist()
        self._next = 0
        self._last: dict[str, int] = {}
        self.same = 0
        """Decisions so far whose features equal, bit by bit, what the policy was shown."""

    @property
    def chooser(self) -> Chooser:
        """The function that the rollout loop asks."""
        return self._choose

    def _choose(self, decision: Decision) -> tuple[int, float | None]:
        i = self._next
        self._next += 1
        if i >= len(self._actions) and decision.agent in self._last:
            return self._last[decision.agent], None
        if i >= len(self._actions):
            raise CorruptError(
                f"the replay asks {decision.agent!r}, of whom nothing was recorded: the trace does "
                "not fit its scenario"
            )
        if self._agents[i] != decision.agent:
            raise CorruptError(
                f"decision {i} was recorded for {self._agents[i]!r} but the replay asks "
                f"{decision.agent!r}: the trace does not fit its scenario"
            )
        if self._digests[i] == decision.digest():
            self.same += 1
        self._last[decision.agent] = self._actions[i]
        return self._actions[i], self._propensities[i]


def _times(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
