"""The graph of a scene: a plain oracle of what is shown, estimates alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.learning.selections import jobs
from tests.simulator.random_scenes import placement
from toolkit.envs.stepping import GOING
from toolkit.features.graph import FEATURES, describe, room_for, stages_of
from toolkit.learning.selecting import carry_on
from toolkit.networks.graphs import Seen
from toolkit.policies.deft import best_node, empty, holdable
from toolkit.scenarios.workflows import Batch
from toolkit.simulator.compiled import njit
from toolkit.simulator.simulator import Truth, scene_of
from toolkit.simulator.state import DONE, RUNNING, WAITING

X = {name: i for i, (name, _) in enumerate(FEATURES)}


@njit
def lanes(s):
    return s.lane_of.copy(), s.lane_free.copy()


class Play:
    """One episode in which a generator selects."""

    def __init__(self, workload, truth, seed, late):
        self.workload, self.late, self.rng = workload, late, np.random.default_rng(seed)
        self.scene = scene_of(workload, truth)
        self.queues, self.stages = empty(workload), stages_of(workload)
        self.room = room_for([self.stages], len(workload.arrays.capacity), workload.jobs)
        self.keys, self.mask = np.full(80, -1, np.int32), np.zeros(80, np.bool_)
        self.chosen = -1

    def go(self):
        """Go to the next selection; return its graph, or None at the end."""
        over = carry_on(
            self.scene.handle, self.queues, self.keys, self.mask, self.chosen, 128.0, self.late
        )
        if over != GOING:
            return None
        at = describe(self.scene.handle, self.queues, self.stages, self.room, 0, (0, 0, 0), True)
        seen = Seen.of(self.room, at, 1)
        self.chosen = int(self.rng.choice(seen.key[seen.key >= 0]))
        return seen


def groups(w, job):
    """Return the sets of interchangeable tasks of a job, by comparing every pair."""
    found = []
    for task in range(w.job_ptr[job], w.job_ptr[job + 1]):
        row = slice(w.parent_ptr[task], w.parent_ptr[task + 1])
        look = (
            w.rank[task], w.type_of[task], w.scale[task],
            w.parents[row].tolist(), w.data[row].tolist(),
        )  # fmt: skip
        for other, members in found:
            if other == look:
                members.append(task)
                break
        else:
            found.append((look, [task]))
    return [members for _, members in found]


def told(play):
    """Return what is to be shown, stage by stage, as (members, features, options) and edges."""
    w, state, q = play.workload.arrays, play.scene.state, play.queues
    s = play.scene.handle
    lane_of, lane_free = lanes(s)
    free_lanes = [
        lane for lane, m in enumerate(lane_of) if state.up[m] and lane_free[lane] <= state.time[0]
    ]
    free = {int(lane_of[lane]) for lane in free_lanes}
    queued = q.queue[: q.length[0]].tolist()
    rows, edges = [], set()
    arrived = [j for j in range(play.workload.jobs) if not np.isnan(state.arrived[j])]
    for job in arrived:
        if state.left[job] == 0:
            continue
        on_job = sum(w.job_of[t] == job for t in queued) + sum(
            state.status[t] == RUNNING for t in range(w.job_ptr[job], w.job_ptr[job + 1])
        )
        unfinished = [g for g in groups(w, job) if any(state.status[t] != DONE for t in g)]
        for members in unfinished:
            open_ = [t for t in members if state.status[t] < RUNNING and t not in queued]
            options = [t for t in open_ if state.status[t] == WAITING and holdable(s, t)]
            x = dict.fromkeys(X, 0.0)
            seconds = w.mean_seconds[w.type_of[members[0]]] * w.scale[members[0]]
            x["tasks left"], x["work left"] = len(open_), len(open_) * seconds
            x["seconds"], x["upward rank"] = seconds, w.rank[members[0]]
            x["executors on its job"], x["free executors"] = on_job, len(free_lanes)
            if options:
                parents = w.parents[w.parent_ptr[options[0]] : w.parent_ptr[options[0] + 1]]
                x["is local"] = float(any(int(state.node[p]) in free for p in parents))
                x["would finish in"] = best_node(s, options[0])[2] - state.time[0]
            rows.append((members, x, min(options, default=-1)))
        for i, above in enumerate(unfinished):
            for j, below in enumerate(unfinished):
                row = slice(w.parent_ptr[below[0]], w.parent_ptr[below[0] + 1])
                if set(above) & set(w.parents[row].tolist()):
                    edges.add((job, i, j))
    return rows, edges


@pytest.mark.parametrize("late", [False, True])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_it_is_what_a_plain_calculation_finds(late, seed):
    workload, truth = placement(seed, outages=seed % 3, duplicate=bool(seed % 2))
    play = Play(workload, truth, seed, late)
    for _ in range(30):
        seen = play.go()
        if seen is None:
            break
        rows, edges = told(play)
        assert len(rows) == len(seen.x)
        for v, (_, x, key) in enumerate(rows):
            assert seen.key[v] == key
            for name, value in x.items():
                if name in ("fastest seconds", "slowest seconds", "data in take", "data out take"):
                    continue
                assert seen.x[v, X[name]] == pytest.approx(value, rel=1e-6), name
        first = {j: int(np.argmax(seen.job == j)) for j in range(len(seen.scene))}
        names = sorted({job for job, _, _ in edges} | set(_present(play)))
        place = {job: first[i] for i, job in enumerate(names)}
        wanted = {(place[job] + i, place[job] + j) for job, i, j in edges}
        assert wanted == set(zip(seen.parent.tolist(), seen.child.tolist(), strict=True))
        for v in range(len(seen.x)):
            above = [u for u, c in wanted if c == v]
            assert seen.generation[v] == max((seen.generation[u] + 1 for u in above), default=0)


def _present(play):
    state = play.scene.state
    return np.flatnonzero(~np.isnan(state.arrived) & (state.left > 0)).tolist()


def test_seconds_and_data_are_estimates_on_the_nodes_that_can_hold_a_task():
    workload, _ = placement(4, jobs=2, grid=False)
    w, st_ = workload.arrays, stages_of(workload)
    pairs = [(a, b) for a in range(len(w.capacity)) for b in range(len(w.capacity)) if a != b]
    latency = np.mean([w.latency[p] for p in pairs])
    cost = np.mean([1 / w.bandwidth[p] for p in pairs])
    moved = np.where(w.data > 0, latency + w.data * cost, 0.0)
    for v, first in enumerate(st_.tasks[st_.task_ptr[:-1]].tolist()):
        t = w.type_of[first]
        nodes = (w.demand[w.profile_of_type[t]] <= w.capacity + 1e-9).all(axis=1)
        seconds = w.seconds[t, w.column[nodes]] * w.scale[first]
        into = moved[w.parent_ptr[first] : w.parent_ptr[first + 1]].sum()
        out = moved[w.parents == first].sum()
        np.testing.assert_allclose(
            st_.fixed[v, 1:5], [seconds.min(), seconds.max(), into, out], rtol=1e-9
        )


def test_the_truth_is_not_seen_before_it_happens():
    """Whatever the tasks that run now truly take, the first graphs are the same."""
    of = jobs(arrivals=Batch())
    workload = of.plan(3)
    shown = []
    for factor in (1.0, 1.7):
        truth = Truth(seconds=workload.arrays.seconds, scale=workload.arrays.scale * factor)
        play = Play(workload, truth, 0, True)
        found = []
        while (seen := play.go()) is not None and play.scene.state.time[0] == 0.0:
            found.append(seen)
        shown.append(found)
    assert len(shown[0]) == len(shown[1]) >= 2
    for a, b in zip(*shown, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.key, b.key)
