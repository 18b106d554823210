"""Generated graphs have the structure of the papers and the weights that were asked for."""

from __future__ import annotations

import dataclasses

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import ConfigError
from toolkit.seeding import generator
from toolkit.workflows.fft import FFT
from toolkit.workflows.fork_join import ForkJoin
from toolkit.workflows.gauss import Gauss
from toolkit.workflows.graph import Graph, Weights
from toolkit.workflows.layered import Layered
from toolkit.workflows.pipeline import Pipeline
from toolkit.workflows.query import Query

KINDS = [
    Layered(),
    Layered(tasks=(5, 40), fatness=0.4, density=0.9, reach=3, types=1),
    ForkJoin(),
    Gauss(m=(2, 9)),
    FFT(),
    FFT(m=8, equal_levels=False),
    Pipeline(stages=(1, 6), lanes=(1, 5)),
    Query(stages=(4, 12), width=(2, 8), job_sigma=0.1, data_sigma=0.2),
]
seeds = st.integers(min_value=0, max_value=2**31)


def draw(kind: Weights, seed: int) -> Graph:
    return kind.graph(generator(seed, "graph"))


def children(graph: Graph) -> np.ndarray:
    """Return the child of each edge."""
    return np.repeat(np.arange(graph.tasks), np.diff(graph.parent_ptr))


def depths(graph: Graph) -> np.ndarray:
    """Return the level of each task, 0 for entries, computed one task after the other."""
    depth = np.zeros(graph.tasks, dtype=int)
    for task in range(graph.tasks):
        above = graph.parents[graph.parent_ptr[task] : graph.parent_ptr[task + 1]]
        depth[task] = 1 + max(depth[above]) if len(above) else 0
    return depth


def rows(graph: Graph) -> list[list[int]]:
    """Return the parents of each task."""
    return [p.tolist() for p in np.split(graph.parents, graph.parent_ptr[1:-1])]


@given(kind=st.sampled_from(KINDS), seed=seeds)
@settings(max_examples=60, deadline=None)
def test_every_graph_is_topological_and_complete(kind, seed):
    graph = draw(kind, seed)
    assert (graph.parents < children(graph)).all()
    assert all(p == sorted(set(p)) for p in rows(graph))
    assert (graph.work > 0).all()
    assert (graph.data > 0).all()
    assert graph.types == tuple(f"k{i}" for i in range(kind.types))


@given(kind=st.sampled_from(KINDS), seed=seeds)
@settings(max_examples=30, deadline=None)
def test_the_same_generator_gives_the_same_graph(kind, seed):
    one, two = draw(kind, seed), draw(kind, seed)
    assert one.name == two.name
    for field in ("type_of", "work", "parent_ptr", "parents", "data"):
        assert np.array_equal(getattr(one, field), getattr(two, field))
    other = draw(kind, seed + 1)
    assert not np.array_equal(one.work, other.work)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: type(k).__name__)
def test_work_and_data_have_the_asked_expectation(kind):
    asked = dataclasses.replace(kind, mean_seconds=3.0, ccr=2.0, bandwidth=50.0, sigma=0.4)
    rng = generator(7, "expectation")
    graphs = [asked.graph(rng) for _ in range(400)]
    assert np.mean([g.work.mean() for g in graphs]) == pytest.approx(3.0, rel=0.04)
    ratios = [g.ccr(50.0) for g in graphs if g.edges]
    assert np.mean(ratios) == pytest.approx(2.0, rel=0.04)


def test_types_are_drawn_uniformly():
    rng = generator(1, "types")
    counts = sum(np.bincount(Layered(types=3).graph(rng).type_of, minlength=3) for _ in range(100))
    assert counts / counts.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.03)


@given(
    seed=seeds,
    tasks=st.tuples(st.integers(1, 60), st.integers(60, 120)),
    fatness=st.floats(0.1, 5.0),
    density=st.floats(0.0, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_layers_hang_together(seed, tasks, fatness, density):
    graph = draw(Layered(tasks=tasks, fatness=fatness, density=density), seed)
    assert tasks[0] <= graph.tasks <= tasks[1]
    depth = depths(graph)
    # The numbering goes layer by layer, and an edge joins a layer to the next one.
    assert (np.diff(depth) >= 0).all()
    assert (depth[children(graph)] == depth[graph.parents] + 1).all()
    widest = 2 * max(1, round(fatness * graph.tasks**0.5)) - 1
    assert np.bincount(depth).max() <= widest


def test_density_0_gives_one_parent_each_and_density_1_gives_all():
    for seed in range(20):
        sparse = draw(Layered(tasks=60, density=0.0), seed)
        assert sparse.edges == sparse.tasks - int((depths(sparse) == 0).sum())
        full = draw(Layered(tasks=60, density=1.0), seed)
        width = np.bincount(depths(full))
        assert full.edges == int((width[1:] * width[:-1]).sum())


def test_parents_lie_as_far_back_as_reach_allows():
    graph = draw(Layered(tasks=200, density=1.0, reach=3), 0)
    depth = depths(graph)
    back = depth[children(graph)] - depth[graph.parents]
    assert set(back.tolist()) == {1, 2, 3}


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_stages_of_a_query_are_alike_and_read_whole_by_one(seed):
    graph = draw(Query(stages=(2, 9), width=(1, 6), types=2), seed)
    stages = {}
    for task in range(graph.tasks):
        row = slice(graph.parent_ptr[task], graph.parent_ptr[task + 1])
        parents = tuple(graph.parents[row].tolist())
        look = (graph.type_of[task], graph.work[task], parents, tuple(graph.data[row].tolist()))
        stages.setdefault(look, []).append(task)
    read = {}
    for _, _, parents, _ in stages:
        for members in stages.values():
            if set(members) & set(parents):
                assert set(members) <= set(parents)
                read[members[0]] = read.get(members[0], 0) + 1
    # All but the last, which ends the job.
    assert read == {members[0]: 1 for members in stages.values() if members[-1] < graph.tasks - 1}
    assert 2 <= len(stages) <= 9
    assert max(map(len, stages.values())) <= 6


def test_few_queries_hold_most_of_the_work():
    rng = generator(0, "heavy")
    work = np.sort([Query(job_sigma=1.5).graph(rng).work.sum() for _ in range(400)])
    assert work[-40:].sum() > 0.4 * work.sum()


def test_fatness_makes_graphs_short():
    depth = [depths(draw(Layered(tasks=100, fatness=f), 3)).max() for f in (0.3, 1.0, 3.0)]
    assert depth[0] > depth[1] > depth[2]


def test_gauss_of_order_3_is_the_graph_of_the_paper():
    graph = draw(Gauss(m=3, sigma=0.0, mean_seconds=13 / 5, ccr=1.0, data_sigma=0.0), 0)
    assert rows(graph) == [[], [0], [0], [1], [2, 3]]
    # 2 divisions, two updates of 2 multiplications and subtractions, then 1 and 2.
    assert graph.work == pytest.approx([2, 4, 4, 1, 2])
    assert graph.data / graph.data[0] == pytest.approx([1, 1, 1, 1, 0.5])


@pytest.mark.parametrize("m", [2, 3, 5, 10, 16])
def test_gauss_has_the_tasks_edges_and_levels_of_its_order(m):
    graph = draw(Gauss(m=m), 0)
    assert graph.tasks == (m * m + m - 2) // 2
    assert graph.edges == m * m - m - 1
    assert depths(graph).max() + 1 == 2 * (m - 1)


def test_gauss_of_order_5_has_14_tasks():
    assert draw(Gauss(m=5), 0).tasks == 14


@pytest.mark.parametrize(("m", "tasks"), [(2, 5), (4, 15), (8, 39), (16, 95), (32, 223)])
def test_fft_has_the_tasks_edges_and_levels_of_its_points(m, tasks):
    graph = draw(FFT(m=m), 0)
    stages = m.bit_length() - 1
    assert graph.tasks == tasks == 2 * m - 1 + m * stages
    assert graph.edges == 2 * (m - 1) + 2 * m * stages
    assert depths(graph).max() + 1 == 1 + 2 * stages


def test_fft_of_4_points_is_the_graph_of_the_paper():
    graph = draw(FFT(m=4), 0)
    calls = [[], [0], [0], [1], [1], [2], [2]]
    assert rows(graph) == [
        *calls,
        *[[3, 4], [3, 4], [5, 6], [5, 6]],
        *[[7, 9], [8, 10], [7, 9], [8, 10]],
    ]


def test_every_path_of_an_fft_is_critical():
    graph = draw(FFT(m=16, sigma=1.0), 4)
    level = depths(graph)
    for d in range(level.max() + 1):
        assert len(set(graph.work[level == d])) == 1
        assert len(set(graph.data[level[children(graph)] == d])) <= 1
    assert graph.longest_path() == pytest.approx(
        sum(graph.work[level == d][0] for d in range(level.max() + 1))
    )
    free = draw(FFT(m=16, sigma=1.0, equal_levels=False), 4)
    assert len(set(free.work)) == free.tasks


def test_fft_draws_only_powers_of_two():
    rng = generator(0, "fft")
    assert {FFT(m=(4, 32)).graph(rng).name for _ in range(100)} == {
        *("fft-4", "fft-8", "fft-16", "fft-32")
    }


def test_fork_join_alternates_between_one_task_and_many():
    graph = draw(ForkJoin(width=3, stages=2), 0)
    assert rows(graph) == [[], [0], [0], [0], [1, 2, 3], [4], [4], [4], [5, 6, 7]]
    for width, stages in ((1, 1), (5, 4)):
        graph = draw(ForkJoin(width=width, stages=stages), 0)
        assert (graph.tasks, graph.edges) == (1 + stages * (width + 1), 2 * stages * width)


def test_a_pipeline_is_chains_side_by_side():
    graph = draw(Pipeline(stages=3, lanes=2), 0)
    assert rows(graph) == [[], [0], [1], [], [3], [4]]
    assert draw(Pipeline(stages=1), 0).edges == 0


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (Layered, {"tasks": 0}, "tasks must be"),
        (Layered, {"tasks": (5, 3)}, "tasks must be"),
        (Layered, {"tasks": 2.5}, "tasks must be"),
        (Layered, {"tasks": "ab"}, "tasks must be"),
        (Layered, {"density": 1.5}, "density"),
        (Layered, {"density": float("nan")}, "density"),
        (Layered, {"fatness": 0.0}, "fatness"),
        (Layered, {"reach": 0}, "reach"),
        (Gauss, {"m": 1}, "m must be"),
        (FFT, {"m": 12}, "power of two"),
        (FFT, {"m": (4, 12)}, "power of two"),
        (ForkJoin, {"width": 0}, "width"),
        (ForkJoin, {"stages": True}, "stages"),
        (Pipeline, {"lanes": -1}, "lanes"),
        (Pipeline, {"mean_seconds": 0.0}, "mean_seconds"),
        (Pipeline, {"sigma": -0.1}, "sigma"),
        (Pipeline, {"ccr": float("inf")}, "ccr"),
        (Pipeline, {"types": 0}, "types"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(kind, wrong, said):
    with pytest.raises(ConfigError, match=said):
        kind(**wrong)


def test_tasks_are_sorted_and_their_edges_follow():
    graph = Graph.build(
        "job",
        [("last", "b", 3.0), ("first", "a", 1.0), ("middle", "a", 2.0)],
        [("middle", "last", 7.0), ("first", "last", 5.0), ("first", "middle", 4.0)],
    )
    assert graph.labels == ("first", "middle", "last")
    assert graph.work.tolist() == [1, 2, 3]
    assert [graph.types[t] for t in graph.type_of] == ["a", "a", "b"]
    assert rows(graph) == [[], [0], [0, 1]]
    assert graph.data.tolist() == [4, 5, 7]
    assert graph.longest_path() == 6.0
    assert graph.longest_path(np.array([1.0, 0.5, 1.0])) == 2.5
    assert graph.ccr(4.0) == pytest.approx((16 / 3) / 4 / 2)


def test_data_of_repeated_edges_are_summed():
    graph = Graph.build("job", [("a", "t", 1), ("b", "t", 1)], [("a", "b", 2), ("a", "b", 3)])
    assert graph.data.tolist() == [5]


@st.composite
def shuffled(draw):
    """Draw a graph as tasks and edges in any order."""
    n = draw(st.integers(1, 12))
    pairs = [(i, j) for j in range(n) for i in range(j)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    order = draw(st.permutations(range(n)))
    work = draw(st.lists(st.floats(0, 10), min_size=n, max_size=n))
    return (
        [(f"t{i}", "t", work[i]) for i in order],
        [(f"t{i}", f"t{j}", float(i + 1)) for i, j in draw(st.permutations(chosen))],
    )


@given(shuffled())
@settings(max_examples=80, deadline=None)
def test_any_order_of_input_gives_the_same_edges_and_the_longest_path_of_networkx(given_graph):
    tasks, edges = given_graph
    graph = Graph.build("job", tasks, edges)
    label, child = graph.labels, children(graph)
    found = {
        (label[p], label[c], d) for p, c, d in zip(graph.parents, child, graph.data, strict=True)
    }
    assert found == set(edges)
    assert dict(zip(label, graph.work, strict=True)) == {t: w for t, _, w in tasks}

    # A path of nodes becomes a path of edges once a sink has taken in every task's own work.
    work = {t: w for t, _, w in tasks}
    reference = nx.DiGraph()
    reference.add_weighted_edges_from((u, v, work[u]) for u, v, _ in edges)
    reference.add_weighted_edges_from((u, "sink", work[u]) for u in work)
    assert graph.longest_path() == pytest.approx(nx.dag_longest_path_length(reference))

    again = Graph.build("job", [(t, "t", work[t]) for t in label], [e for e in edges])
    assert again.labels == label


@pytest.mark.parametrize(
    ("tasks", "edges", "said"),
    [
        ("abc", [("a", "b"), ("b", "c"), ("c", "b")], "'b' -> 'c' -> 'b'"),
        ("ab", [("a", "x")], "names 'x', which is no task"),
        ("ab", [("b", "b")], "'b' depends on itself"),
        ("aa", [], "two tasks are called 'a'"),
        ("", [], "at least one task"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_and_the_task_is_named(tasks, edges, said):
    with pytest.raises(ConfigError, match=said):
        Graph.build("job", [(t, "t", 1.0) for t in tasks], [(u, v, 0.0) for u, v in edges])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"work": [1, np.nan]}, r"work\[1\]"),
        ({"work": [-1, 1]}, r"work\[0\]"),
        ({"data": [np.inf]}, r"data\[0\]"),
        ({"parents": [1]}, "before its child"),
        ({"parents": [-1]}, "before its child"),
        ({"parents": [0, 0], "parent_ptr": [0, 0, 2], "data": [1, 1]}, "without repetition"),
        ({"parent_ptr": [0, 0, 2]}, "parent_ptr"),
        ({"parent_ptr": [0, 1]}, "need type_of"),
        ({"type_of": [0, 1]}, "type_of"),
        ({"labels": ("a",)}, "labels"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(change, said):
    good = {
        "name": "job",
        "types": ("t",),
        "type_of": [0, 0],
        "work": [1, 1],
        "parent_ptr": [0, 0, 1],
        "parents": [0],
        "data": [1],
    }
    Graph(**good)
    with pytest.raises(ConfigError, match=said):
        Graph(**{**good, **change})
