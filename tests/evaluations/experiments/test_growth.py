"""The time of a step: sizes, medians and powers."""

import numpy as np
import pandas as pd
import pytest

from evaluations.experiments.powers import exponent, exponents, medians
from evaluations.experiments.scaling import Grid, Placements, grown, placed, timed
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.policies.named import named
from toolkit.store import Store


def test_an_exponent_is_found_with_its_interval():
    sizes = np.array([3.0, 6.0, 12.0, 24.0])
    sure = exponent(sizes, 2 * sizes**1.5)
    assert (sure.low, sure.value, sure.high) == pytest.approx((1.5, 1.5, 1.5))
    noisy = exponent(sizes, sizes * [1.0, 1.5, 0.8, 1.2])
    assert noisy.low < 1 < noisy.high


def test_pipelines_grow_in_one_quantity_at_a_time():
    like = scenario_of("genomics_closed")
    large = grown(like, 9, 12)
    assert len(large.types) == 9
    assert len(large.edges) == 8 + 7
    assert large.cpus == 2 * like.cpus
    points = Grid(nodes=[2, 6, 12], in_flight=[2, 4, 8], reaches=[1, 2, 3], repeats=1).points(like)
    assert [p.size for p in points] == [2, 6, 12, 2, 4, 8, 23, 23 + 22, 23 + 22 + 21]
    assert {p.nodes for p in points if p.grows == "edges"} == {24}
    with pytest.raises(ConfigError, match="three sizes"):
        Grid(nodes=[3, 3, 6], in_flight=[1, 2, 3], repeats=1)


def test_workflows_grow_in_one_quantity_at_a_time():
    like = scenario_of("paper_c_8_dag")
    large = placed(like, 30, 0.5, 3, 2).plan(0)
    assert (large.jobs, len(large.cluster.nodes)) == (2, 24)
    assert large.tasks == 60
    grid = Placements(
        tasks=[5, 10, 20], densities=[0.0, 0.2, 0.9], devices=[1, 2, 3], jobs=[1, 2, 4],
        job_tasks=5, repeats=1,
    )  # fmt: skip
    points = grid.points(like, named("fifo", Store()).policy)
    by = {g: [p.size for p in points if p.grows == g] for g in {p.grows for p in points}}
    assert by["tasks"] == [5, 10, 20]
    assert by["devices"] == [8, 16, 24]
    assert by["workflows at once"] == [1, 2, 4]
    assert by["edges"] == sorted(by["edges"])
    assert by["edges"][-1] > 2 * by["edges"][0]
    with pytest.raises(ConfigError, match="densities"):
        Placements(
            tasks=[1, 2, 3], densities=[0.1, 0.1], devices=[1, 2, 3], jobs=[1, 2, 3],
            job_tasks=1, repeats=1,
        )  # fmt: skip


def test_the_parts_of_a_step_add_up():
    points = Grid(nodes=[2, 6, 12], in_flight=[2, 4, 8], repeats=2).points(
        scenario_of("genomics_closed")
    )
    told = timed(points, 2)
    assert list(told["repeat"]) == [0] * 6 + [1] * 6
    assert list(told["size"][:6]) == [2, 6, 12, 2, 4, 8]
    assert (told["network_ms"] > 0).all()
    assert (told["simulator_ms"] > 0).all()
    assert told["step_ms"].to_numpy() == pytest.approx(
        (told["network_ms"] + told["simulator_ms"]).to_numpy()
    )


def test_medians_and_ratios_are_those_of_repeats():
    rows = [
        {"grows": "nodes", "size": s, "nodes": s, "edges": s, "concurrency": 1, "repeat": r,
         "step_ms": disturbed * s**0.5, "simulator_ms": s, "network_ms": 1.0}
        for r, disturbed in enumerate([1.0, 1.0, 50.0])
        for s in (1, 4, 16)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    told = medians(frame)
    assert list(told["step_ms"]) == pytest.approx([1, 2, 4])
    assert list(told["of_the_smallest"]) == pytest.approx([1, 2, 4])
    assert exponents(frame)["nodes"].value == pytest.approx(0.5)
    assert exponents(frame, "simulator_ms")["nodes"].value == pytest.approx(1.0)
