"""What has run, as a schedule that could have been carried out and files that others read."""

import gzip
import json

import numpy as np
import pytest

from tests.envs.standins import SCENARIOS, Placement, small
from tests.envs.test_environment import play
from toolkit.envs.environment import SchedulingEnv
from toolkit.errors import ConfigError
from toolkit.history import schedule_of
from toolkit.schedule import COPY, RUN
from toolkit.simulator.scene import Scene
from toolkit.simulator.world import unknown

COPYING = Placement(name="copying", duplicate=True, data=60.0)


@pytest.mark.parametrize(
    "name", [*SCENARIOS, "genomics_closed", "paper_c_8_unreliable", "paper_c_8_duplication"]
)
def test_what_ran_could_have_been_carried_out(name):
    env = SchedulingEnv(small(name))
    for seed in range(3):
        play(env, seed=seed)
        schedule = env.schedule("random")
        schedule.check()
        assert schedule.policy == "random" and schedule.seed == seed
        counts = np.bincount(schedule.task[schedule.kind == RUN])
        assert (counts == 1).all() and len(counts) == env.scene.workload.tasks
        np.testing.assert_array_equal(
            schedule.finish[schedule.kind == RUN], env.scene.state.finished
        )


def test_copies_are_shown_beside_their_children():
    env = SchedulingEnv(COPYING)
    nodes = COPYING.nodes
    copies = 0
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            mask = observation["mask"].copy()
            if observation["globals"][0] and mask[nodes:].any():
                mask[:nodes] = 0
                copies += 1
            observation, _, over, _, _ = env.step(int(np.flatnonzero(mask)[-1]))
        schedule = env.schedule()
        schedule.check()
        copies -= int((schedule.kind == COPY).sum())
    assert copies == 0
    assert (schedule.kind == COPY).sum() > 1
    # An engine that keeps its truth to itself is drawn by the estimates.
    s = env.scene
    told = schedule_of(Scene(workload=s.workload, state=s.state, world=unknown()), "x", 0)
    same = told.kind == COPY
    w = s.workload.arrays
    seconds = w.seconds[w.type_of[told.task], w.column[told.node]] * w.scale[told.task]
    np.testing.assert_allclose((told.finish - told.start)[same], seconds[same])


def test_an_unfinished_episode_is_drawn_until_now():
    env = SchedulingEnv(Placement(rate=1.0))
    play(env, seed=0, most=25)
    schedule, now = env.schedule(), float(env.scene.state.time[0])
    assert 0 < schedule.executions < env.scene.workload.tasks
    assert (schedule.start < now).all() and (schedule.finish <= now).all()
    assert (schedule.finish == now).any()


def test_a_rollout_becomes_a_trace_and_a_picture(tmp_path):
    env = SchedulingEnv(SCENARIOS["placement"])
    play(env, seed=0)
    for name in ("a.json", "a.trace.json", "a.json.gz", "a.png", "a.svg"):
        env.export(tmp_path / name)
    trace = json.loads((tmp_path / "a.trace.json").read_text())
    assert json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes())) == trace
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(slices) == env.scene.workload.tasks
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="no ending"):
        env.export(tmp_path / "a.txt")
