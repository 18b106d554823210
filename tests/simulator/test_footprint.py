"""What a task, an edge and a step cost does not depend on how many there are."""

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.simulator.scene import FIELDS
from toolkit.simulator.simulator import Truth, scene_of
from toolkit.workload import PLACEMENT, Workload, assemble


def chains(jobs, tasks, extra=0):
    """Jobs of a chain each; task 2 and those after it have up to ``extra`` parents more."""
    degree = np.array([0] + [1 + min(extra, i - 1) for i in range(1, tasks)])
    local = [p for i in range(1, tasks) for p in range(i - degree[i], i)]
    n = jobs * tasks
    parents = (np.arange(jobs)[:, None] * tasks + np.array(local)[None, :]).reshape(-1)
    cluster = Cluster(
        nodes=tuple(Node(name=f"n{i}", cpus=1, memory=1, bandwidth=1e9) for i in range(8))
    )
    arrays = assemble(
        family=PLACEMENT,
        type_of=np.zeros(n),
        job_ptr=np.arange(jobs + 1) * tasks,
        parent_ptr=np.concatenate([[0], np.cumsum(np.tile(degree, jobs))]),
        parents=parents,
        data=np.ones(len(parents)),
        arrival=np.arange(jobs, dtype=float),
        scale=np.ones(n),
        seconds=[[1.0]],
        demand=[[1, 1, 0]],
        cluster=cluster,
        profile_of_type=[0],
    )
    return Workload(types=("a",), cluster=cluster, arrays=arrays, seed=0)


def nbytes(workload):
    truth = Truth(seconds=workload.arrays.seconds, scale=workload.arrays.scale.copy())
    scene = scene_of(workload, truth)
    return sum(a.nbytes for part in (scene.state, workload.arrays, scene.world) for a in part)


def test_a_task_takes_at_most_100_bytes_and_an_edge_16():
    few, many = nbytes(chains(10, 100)), nbytes(chains(20, 100))
    denser = nbytes(chains(20, 100, extra=4))
    edges = chains(20, 100, extra=4).arrays.parents.size - chains(20, 100).arrays.parents.size
    per_edge = (denser - many) / edges
    # A thousand tasks more bring 990 edges with them; the job's own bytes are shared by 100.
    per_task = (many - few - 990 * per_edge) / 1000
    assert per_edge <= 16
    assert per_task <= 100


def test_no_two_arrays_of_a_scene_share_a_name():
    assert len(set(FIELDS)) == len(FIELDS)


def test_episodes_leave_no_memory_behind():
    """Lean functions take references and count none; a scene gives them back when it goes."""
    import gc

    import psutil

    from toolkit.envs.registration import scenario_of
    from toolkit.live import chooser, rollout
    from toolkit.policies.random import Random
    from toolkit.simulator.simulator import Simulator

    scenario, policy, process = scenario_of("paper_b"), Random(), psutil.Process()

    def play(seed):
        workload = scenario.plan(seed)
        policy.reset(workload)
        rollout(
            Simulator(scenario, seed),
            workload,
            chooser(policy, seed),
            horizon=scenario.horizon,
            weights=scenario.weights,
        )

    for seed in range(10):
        play(seed)
    gc.collect()
    before = process.memory_info().rss
    for seed in range(100):
        play(100 + seed)
    gc.collect()
    # An episode's arrays are 600 KiB.
    assert process.memory_info().rss - before < 100 * 100 * 1024
