"""The recorded clock of batches: what a live engine showed its state is shown again."""

import dataclasses
import json
import time

import pytest

from collectors.spark.engine import BatchEngine, Ran
from tests.replaying import assert_same
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError
from toolkit.live import chooser, rollout
from toolkit.policies.random import Random
from toolkit.reward import BatchWeights
from toolkit.scenarios.batches import Batches, Stage
from toolkit.simulator.recorded import Forced
from toolkit.simulator.recorded_batches import RecordedBatches
from toolkit.simulator.state import N_KILLED, RETURNED
from toolkit.trace import Trace


def tiny(**changes):
    settings = {
        "name": "tiny",
        "stages": [Stage(name="resize", seconds=0.001, overhead=0.05)],
        "batches": 3,
        "startup": 3.0,
        "weights": BatchWeights(inverse=1000.0, sojourn=0.1, cost=0.01),
        "hosts": 2,
        "host_cpus": 2,
        "host_memory": 2,
        "cores": (1,),
        "memory": (500, 750),
        "instances": (1, 2),
        "frames": (10, 20),
        "partitions": (3,),
        "max_waiting": 120.0,
    }
    return Batches(**{**settings, **changes})


class Live(BatchEngine):
    """Serves each batch in some milliseconds: executors come up, a task fails and runs again."""

    def __init__(self):
        super().__init__()
        self.executors = []

    def _serve(self, batch, until):
        begun = float(self.state.time[0])
        for m in range(batch.granted):
            if not self.state.up[m]:
                self._arrive(self.now())
                self.executors.append((m, self._event(RETURNED, m, begun, self.now())))
        first, last = self.workload.arrays.job_ptr[batch.job : batch.job + 2].tolist()
        ran = []
        for k, task in enumerate(range(first, last)):
            at = self.now() + 0.002 * k
            ran.append(Ran(task=task, slot=0, started=at, finished=at + 0.001, done=k != 1))
        again = ran[-1].finished + 0.001
        ran.append(
            dataclasses.replace(ran[1], started=again, finished=again + 0.001, done=True, attempt=1)
        )
        time.sleep(0.01)
        self._show(ran, self.now())
        batch.finished = self.now()
        self.ran = [*getattr(self, "ran", []), *ran]


class Whole(BatchEngine):
    """Shows the tasks of a batch as a user's own command is shown: all at its end."""

    executors = ()
    ran = ()

    def _serve(self, batch, until):
        time.sleep(0.02)
        batch.finished = ended = self.now()
        first, last = self.workload.arrays.job_ptr[batch.job : batch.job + 2].tolist()
        for task in range(first, last):
            one = Ran(task=task, slot=0, started=ended, finished=ended, done=True)
            self._show([one], ended)


def play(of, engine):
    episode = rollout(
        engine, of.plan(0), chooser(Random(), 0), horizon=of.horizon, weights=of.weights
    )
    return episode, trace_of(engine, episode)


def trace_of(engine, episode):
    from collectors.decisions import decision_rows

    finished = {b.job: b.finished for b in engine.batches}
    rows = {
        "nodes": [
            {"run": 0, "node": 0, "name": "executor", "kind": "executor", "logical": True},
        ],
        "jobs": [
            {"run": 0, "job": j, "arrived_at": float(engine.state.arrived[j]),
             "arrived_seen": seen, "finished_at": finished.get(j)}
            for (word, j), seen in engine.seen.items() if word == "arrived"
        ],
        "tasks": [
            {"run": 0, "task": r.task, "attempt": r.attempt, "job": 0, "type": "resize", "node": 0,
             "started_at": r.started, "finished_at": r.finished,
             "started_seen": engine.tried["started", r.task, r.attempt],
             "finished_seen": engine.tried["finished", r.task, r.attempt],
             "status": "done" if r.done else "failed"}
            for r in engine.ran
        ],
        "spans": [
            {"run": 0, "span": i, "kind": "executor", "name": "executor", "started_at": 0.0,
             "finished_at": shown, "detail": json.dumps({"node": 0, "slot": m})}
            for i, (m, shown) in enumerate(engine.executors)
        ],
        "decisions": decision_rows(0, episode, "random"),
    }  # fmt: skip
    return Trace(tables={n: traces.table(n, rows.get(n, [])) for n in traces.TABLES}, provenance={})


def replay(of, trace, **settings):
    forced = Forced(trace, 0)
    engine = RecordedBatches(trace, 0, **settings)
    episode = rollout(engine, of.plan(0), forced.chooser, horizon=of.horizon, weights=of.weights)
    return forced, episode


@pytest.mark.parametrize("period", [None, 0.005, 0.1])
def test_failed_attempts_and_executors_that_come_up_are_shown_again(period):
    of = tiny(period=period)
    played, trace = play(of, Live())
    forced, replayed = replay(of, trace)
    assert forced.same == 3
    assert replayed.scene.state.totals[N_KILLED] == 3
    assert_same(played, replayed)


@pytest.mark.parametrize("period", [None, 0.005])
def test_what_a_users_own_command_did_is_shown_when_it_was_done(period):
    of = tiny(period=period)
    played, trace = play(of, Whole())
    forced, replayed = replay(of, trace, planned=False)
    assert forced.same == 3
    assert_same(played, replayed)


def test_a_recording_that_was_cut_is_paid_until_its_end():
    of = tiny(period=0.02, max_waiting=0.02, batches=3)

    class Slow(Whole):
        def _serve(self, batch, until):
            if batch.job == 0:
                super()._serve(batch, until)
                return
            time.sleep(max(0.0, until - self.now()))
            self._arrive(self.now())

    played, trace = play(of, Slow())
    assert not played.terminated
    end = float(played.scene.state.time[0])
    forced = Forced(trace, 0)
    engine = RecordedBatches(trace, 0, end, planned=False)
    replayed = rollout(engine, of.plan(0), forced.chooser, horizon=end, weights=of.weights)
    assert forced.same == len(played.steps)
    assert_same(played, replayed)


def changed(trace, name, row, **values):
    rows = trace.tables[name].to_pylist()
    rows[row] |= values
    return Trace(tables={**trace.tables, name: traces.table(name, rows)}, provenance={})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tasks", {"task": 10**6}),
        ("tasks", {"task": -1}),
        ("tasks", {"finished_seen": 1e-12}),
        ("jobs", {"job": 10**6}),
        ("spans", {"detail": json.dumps({"node": 0, "slot": 10**6})}),
        ("spans", {"detail": json.dumps({"node": 0, "slot": -1})}),
        ("spans", {"detail": json.dumps({"node": 0})}),
        ("spans", {"detail": "[" * 100_000}),
        ("spans", {"detail": None}),
    ],
)
def test_an_event_that_cannot_have_happened_is_refused(name, values):
    of = tiny()
    _, trace = play(of, Live())
    with pytest.raises(CorruptError):
        replay(of, changed(trace, name, 0, **values))


def test_a_run_without_decisions_is_refused():
    _, trace = play(tiny(), Whole())
    tables = {**trace.tables, "decisions": trace.tables["decisions"].slice(0, 0)}
    with pytest.raises(ConfigError, match="no decisions to replay"):
        RecordedBatches(Trace(tables=tables, provenance={}), 0)
