"""The graph network: a recursive oracle, order does not matter, sizes are checked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import ConfigError
from toolkit.networks.graph_network import GraphScorer
from toolkit.networks.graphs import Graphs, Seen, best, joined, log_softmax, summed

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed, scenes=2):
    """Return random graphs of some jobs in some scenes, parents before children in each job."""
    rng = np.random.default_rng(seed)
    job, generation, parent, child, scene = [], [], [], [], []
    for b in range(scenes):
        for _ in range(int(rng.integers(1, 4))):
            first, many = len(job), int(rng.integers(1, 8))
            for v in range(first, first + many):
                above = np.flatnonzero(rng.random(v - first) < 0.4) + first
                parent += above.tolist()
                child += [v] * len(above)
                generation.append(max((generation[u] + 1 for u in above), default=0))
                job.append(len(scene))
            scene.append(b)
    V = len(job)
    key = np.where(rng.random(V) < 0.5, np.arange(V), -1)
    for b in range(scenes):
        key[np.flatnonzero(np.array(scene)[job] == b)[0]] = V + b  # one option at least
    order = np.argsort(parent, kind="stable")
    return Seen(
        x=rng.lognormal(0, 2, (V, 12)).astype(np.float32),
        job=np.array(job, np.int32),
        generation=np.array(generation, np.int32),
        key=key.astype(np.int32),
        parent=np.array(parent, np.int32)[order],
        child=np.array(child, np.int32)[order],
        scene=np.array(scene, np.int32),
        scenes=scenes,
    )


def network(**changes):
    torch.manual_seed(0)
    values = {"variant": "lachesis", "hidden": 4, "rounds": 8}
    found = GraphScorer(**{**values, **changes}).double()
    found.normalise(torch.from_numpy(drawn(1).x))
    return found


def scored(net, seen):
    graphs = Graphs.of_seen(seen, net.rounds)
    with torch.inference_mode():
        scores = net(Graphs(**{**vars(graphs), "x": graphs.x.double()}))
    return dict(zip(seen.key[seen.option].tolist(), scores.tolist(), strict=True))


def told(net, seen):
    """The equations of the paper one node at a time, by recursion."""
    x = net._inputs(torch.from_numpy(seen.x).double())
    own = net.prepare(x)

    def embedding(v):
        children = seen.child[seen.parent == v].tolist()
        if net.tell is None or not children or seen.generation[v] >= net.rounds:
            return own[v]
        return own[v] + net.hear(sum(net.tell(embedding(u)) for u in children))

    e = [embedding(v) for v in range(len(x))]
    y = [
        net.of_job[1](
            sum(net.of_job[0](torch.cat([x[v], e[v]])) for v in np.flatnonzero(seen.job == j))
        )
        for j in range(len(seen.scene))
    ]
    z = [
        net.of_all[1](sum(net.of_all[0](y[j]) for j in np.flatnonzero(seen.scene == b)))
        for b in range(seen.scenes)
    ]
    found = {}
    for v in np.flatnonzero(seen.key >= 0).tolist():
        j = seen.job[v]
        found[int(seen.key[v])] = net.score(torch.cat([x[v], e[v], y[j], z[seen.scene[j]]])).item()
    return found


@pytest.mark.parametrize("changes", [{}, {"rounds": 1}, {"network": "mlp"}, {"variant": "decima"}])
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_messages_are_those_of_the_recursion(changes, seed):
    net, seen = network(**changes), drawn(seed)
    with torch.no_grad():
        wanted = told(net, seen)
    found = scored(net, seen)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("changes", [{}, {"rounds": 1}, {"network": "mlp"}, {"variant": "decima"}])
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_compiled_code_gives_the_scores_of_the_module(changes, seed):
    net, seen = network(**changes), drawn(seed)
    wanted = list(scored(net, seen).values())
    found = net.float().alone().scores(seen)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_order_of_jobs_and_tasks_does_not_matter(seed):
    seen, rng = drawn(seed), np.random.default_rng(seed)
    jobs = np.lexsort((rng.random(len(seen.scene)), seen.scene))
    place_of_job = np.argsort(jobs)
    nodes = np.lexsort((rng.random(len(seen.x)), place_of_job[seen.job]))
    place = np.argsort(nodes).astype(np.int32)
    edges = rng.permutation(len(seen.parent))
    other = Seen(
        x=seen.x[nodes],
        job=place_of_job[seen.job][nodes].astype(np.int32),
        generation=seen.generation[nodes],
        key=seen.key[nodes],
        parent=place[seen.parent[edges]],
        child=place[seen.child[edges]],
        scene=seen.scene[jobs],
        scenes=seen.scenes,
    )
    net = network()
    assert scored(net, other) == pytest.approx(scored(net, seen), rel=1e-9)


@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_scenes_side_by_side_do_not_touch_one_another(seed):
    one, two = drawn(seed, scenes=1), drawn(seed + 1, scenes=2)
    two = two._replace(key=np.where(two.key >= 0, two.key + 1000, -1).astype(np.int32))
    net = network()
    together = scored(net, joined([one, two]))
    assert together == pytest.approx({**scored(net, one), **scored(net, two)}, rel=1e-9)


def test_only_what_can_be_selected_has_a_probability():
    seen, net = drawn(5, scenes=3), network().float()
    graphs = Graphs.of_seen(seen, 8)
    assert len(graphs.option) == (seen.key >= 0).sum()
    logs = log_softmax(net(graphs), graphs.of, graphs.scenes)
    np.testing.assert_allclose(summed(logs.exp(), graphs.of, 3).detach(), 1.0, rtol=1e-5)


def test_the_best_option_of_each_scene_is_found_and_ties_go_to_the_first():
    scores = np.array([1.0, 3.0, 3.0, -5.0, 0.0, 0.0], dtype=np.float32)
    assert best(scores, np.array([0, 0, 0, 1, 2, 2])).tolist() == [1, 3, 4]


def test_the_graph_tells_what_is_to_come():
    """Two tasks that look alike are told apart by their children, but not without messages."""
    x = np.ones((4, 12), np.float32)
    x[2:, 2] = [1.0, 500.0]
    seen = Seen(
        x=x, job=np.zeros(4, np.int32), generation=np.array([0, 0, 1, 1], np.int32),
        key=np.array([0, 1, -1, -1], np.int32), parent=np.array([0, 1], np.int32),
        child=np.array([2, 3], np.int32), scene=np.zeros(1, np.int32), scenes=1,
    )  # fmt: skip
    apart = [v[0] != v[1] for v in (scored(network(network=n), seen) for n in ("graph", "mlp"))]
    assert apart == [True, False]


def test_a_network_comes_back_from_its_sizes():
    net = network(network="mlp", late=True)
    assert GraphScorer.of(net.sizes()).sizes() == net.sizes()


@pytest.mark.parametrize(
    "change",
    [
        {"variant": "deft"}, {"hidden": 0}, {"hidden": 10**9}, {"rounds": True}, {"rounds": 1.5},
        {"network": "candidates"}, {"late": 1}, {"graph": 99},
    ],
)  # fmt: skip
def test_sizes_that_make_no_sense_are_refused(change):
    with pytest.raises(ConfigError):
        GraphScorer.of({**network().sizes(), **change})
