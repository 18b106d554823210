import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tests.test_schedule import example, of, planned, simple
from toolkit import gantt
from toolkit.cluster import Node
from toolkit.errors import ConfigError
from toolkit.schedule import COPY, KILLED
from toolkit.workload import Workload

SVG = "{http://www.w3.org/2000/svg}"


def nodes(count, cpus=2):
    return tuple(Node(name=f"n{m}", cpus=cpus, memory=99, bandwidth=1.0) for m in range(count))


def stream(jobs=3, tasks=4, count=2, cpus=2, seed=0):
    edges = [(u, u + 1, 1.0) for u in range(tasks - 1)]
    return planned(simple(jobs=jobs, tasks=tasks, edges=edges, nodes=nodes(count, cpus)), seed)


def bars(path):
    """Return (axes, fill, left, right, top) of every bar in an SVG, in points."""
    found = []
    panels = [g for g in ET.parse(path).iter(f"{SVG}g") if g.get("id", "").startswith("axes_")]
    for panel in panels:
        for group in panel.iter(f"{SVG}g"):
            if not group.get("id", "").startswith("PolyCollection"):
                continue
            shapes = list(group.iter(f"{SVG}path"))
            uses = list(group.iter(f"{SVG}use"))  # of the one shape that a lone bar defines
            for drawn in uses or shapes:
                fill = re.search(r"fill: ([^;]+)", drawn.get("style"))[1]
                shape = shapes[0] if uses else drawn
                corners = re.findall(r"[ML] (\S+) (\S+)", shape.get("d"))
                shift = [float(drawn.get("x", 0)), float(drawn.get("y", 0))]
                x, y = (np.array(corners, dtype=float) + shift).T
                found.append((panel.get("id"), fill, x.min(), x.max(), y.min()))
    return found


def test_every_execution_is_a_bar_where_it_ran_as_long_as_it_ran(tmp_path):
    schedule = example()
    gantt.draw(schedule, tmp_path / "heft.svg")
    _, fills, left, right, top = zip(*bars(tmp_path / "heft.svg"), strict=True)
    order = [gantt.COLOURS.index(f) for f in fills]  # a colour per type, and a type per task
    assert sorted(order) == list(range(10))
    left, right = np.array(left), np.array(right)
    scale = (right[order.index(9)] - left[order.index(0)]) / 80
    assert np.allclose((left - left.min()) / scale, schedule.start[order], atol=1e-3)
    assert np.allclose((right - left.min()) / scale, schedule.finish[order], atol=1e-3)
    rows = np.unique(top, return_inverse=True)[1]
    assert rows.tolist() == schedule.node[order].tolist()
    text = (tmp_path / "heft.svg").read_text()
    for words in ("makespan 80 s", "HEFT, seed 0", "time (s)", "n10"):
        assert f"<!-- {words} -->" in text


def test_jobs_have_colours_until_there_are_too_many_and_then_types_have(tmp_path):
    few, many = stream(jobs=20), stream(jobs=21)
    gantt.draw(few, tmp_path / "few.svg")
    gantt.draw(many, tmp_path / "many.svg")
    count = {c: 0 for c in gantt.COLOURS}
    for _, fill, *_ in bars(tmp_path / "few.svg"):
        count[fill] += 1
    assert set(count.values()) == {4}
    fills = [fill for _, fill, *_ in bars(tmp_path / "many.svg")]
    assert {f: fills.count(f) for f in fills} == dict.fromkeys(gantt.COLOURS[:4], 21)


def test_types_beyond_the_colours_share_grey_the_least_used_first(tmp_path):
    kinds = 25
    whole = simple(jobs=25, tasks=12, nodes=nodes(4))
    w = whole.arrays
    arrays = w._replace(
        type_of=(np.arange(len(w.type_of)) % kinds).astype(np.int32),
        seconds=np.ones((kinds, 1)),
        profile_of_type=np.zeros(kinds, dtype=np.int32),
    )
    names = tuple(f"type{t}" for t in range(kinds))
    workload = Workload(types=names, cluster=whole.cluster, arrays=arrays, seed=0)
    rows = [(t, t % 4, t, t + 1 + (t % kinds) / 100) for t in range(workload.tasks)]
    gantt.draw(of(workload, rows), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    shown = re.findall(r"<!-- (type\d+) -->", text)
    assert shown == [f"type{t}" for t in range(6, kinds)]
    assert "<!-- 6 others -->" in text


def test_copies_are_hatched_and_killed_attempts_are_outlines(tmp_path):
    workload = simple(tasks=2, edges=[(0, 1, 5.0)])
    rows = [(0, 0, 0, 10), (0, 1, 0, 6, KILLED), (0, 1, 6, 16, COPY), (1, 1, 16, 26)]
    gantt.draw(of(workload, rows), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert sum(fill == "#ffffff" for _, fill, *_ in bars(tmp_path / "a.svg")) == 1
    assert '<pattern id="' in text and "<!-- copy -->" in text and "<!-- killed attempt -->" in text
    gantt.draw(stream(), tmp_path / "b.svg")
    text = (tmp_path / "b.svg").read_text()
    assert "<pattern" not in text and "killed" not in text


def test_panels_share_the_axis_of_time_and_are_compared_with_the_first(tmp_path):
    whole = example()
    rows = list(zip(whole.task, whole.node, whole.start, whole.finish, strict=True))
    half = of(whole.workload, [(t, m, s / 2, f / 2) for t, m, s, f in rows], policy="half")
    gantt.compare([whole, half], tmp_path / "two.svg")
    by_panel = {}
    for panel, fill, left, right, _ in bars(tmp_path / "two.svg"):
        by_panel.setdefault(panel, {})[fill] = (left, right)
    first, second = (np.array([p[c] for c in gantt.COLOURS[:10]]) for p in by_panel.values())
    zero = first[0, 0]
    assert np.allclose((first - zero) / 2, second - zero, atol=1e-3)
    text = (tmp_path / "two.svg").read_text()
    assert "<!-- makespan 40 s (−50.0 %) -->" in text and "<!-- half, seed 0 -->" in text


def test_more_lanes_than_rows_become_utilisation_by_node(tmp_path):
    fits, wide = stream(jobs=2, count=32), stream(jobs=2, count=65, cpus=1)
    gantt.draw(fits, tmp_path / "fits.svg")
    gantt.draw(wide, tmp_path / "wide.svg")
    assert len(bars(tmp_path / "fits.svg")) == 8
    assert not bars(tmp_path / "wide.svg")
    assert "<!-- share of the node in use -->" in (tmp_path / "wide.svg").read_text()
    # Idle lanes are left out before bars are.
    gantt.draw(stream(jobs=2, count=2, cpus=60), tmp_path / "idle.svg")
    assert "<!-- node, a row per lane in use -->" in (tmp_path / "idle.svg").read_text()


def test_utilisation_is_what_adding_up_overlaps_gives():
    schedule = stream(jobs=6, tasks=5, count=3, cpus=4)
    edges = np.linspace(-3.0, schedule.finish.max() + 4, 40)
    share = schedule.shares()
    expected = np.zeros((3, 39))
    for x in range(schedule.executions):
        lower = np.maximum(edges[:-1], schedule.start[x])
        upper = np.minimum(edges[1:], schedule.finish[x])
        expected[schedule.node[x]] += share[x] * np.maximum(upper - lower, 0) / np.diff(edges)
    assert np.allclose(gantt.utilisation(schedule, edges), expected)
    assert 0.2 < expected.max() <= 1.0


@pytest.mark.parametrize("suffix", gantt.SUFFIXES)
def test_the_same_schedule_gives_the_same_bytes(suffix, tmp_path):
    for name in ("a", "b"):
        gantt.draw(stream(), tmp_path / f"{name}{suffix}")
    first, second = (tmp_path / f"a{suffix}").read_bytes(), (tmp_path / f"b{suffix}").read_bytes()
    assert first == second
    assert first.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_user_set_for_other_pictures_changes_nothing(tmp_path):
    import matplotlib

    gantt.draw(example(), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "black"}):
        gantt.draw(example(), tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_names_are_shown_as_they_are(tmp_path):
    gantt.draw(example(), tmp_path / "a.svg", title="costs $1 -- or $x_{ <a&b>")
    assert ET.parse(tmp_path / "a.svg").find(f"{SVG}title").text == "costs $1 -- or $x_{ <a&b>"


def test_a_picture_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'a.gif': its name must end in .png, .svg or .pdf"):
        gantt.draw(example(), tmp_path / "a.gif")
    with pytest.raises(ConfigError, match="there is no folder"):
        gantt.draw(example(), tmp_path / "absent" / "a.png")
    with pytest.raises(ConfigError, match="no schedule"):
        gantt.compare([], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="by hand, seed 0: nothing ran"):
        gantt.draw(of(simple(), []), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_colours_differ_to_every_sight():
    # Machado, Oliveira and Fernandes 2009, severity 1: prot-, deuter- and tritanopia.
    sights = np.array(
        [
            np.eye(3),
            [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
            [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
            [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
        ]
    )
    # Ottosson 2020, OKLab.
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    lab = np.array(
        [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    )
    part = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in gantt.COLOURS])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    for sight in sights:
        seen = np.cbrt(np.clip(linear @ sight.T, 0, 1) @ cones.T) @ lab.T
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + np.eye(len(seen))
        assert apart.min() > 0.06
        assert apart[:8, :8].min() > 0.075
