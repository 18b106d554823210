"""The report of a calibration: what it says, and that it can be drawn whatever is missing."""

import json

import matplotlib as mpl
import pytest

from evaluations.fidelity import picture, text

PNG = b"\x89PNG"


def split(held_out, **changed):
    errors = {"in_sample": 0.02, "naive": 0.2, "floor": 0.01, "explained": 0.2}
    return {
        "runs": 4,
        "tasks": 100,
        "metrics": {
            "makespan": errors | {"held_out": held_out, "held_out_worst": 2 * held_out},
            "latency": errors | {"held_out": 0.06, "held_out_worst": 0.09, "floor": None},
        },
        "log_error": {"held_out": 0.125, "in_sample": 0.11, "naive": 0.44},
        "coverage": {
            "50": {"share": 0.52, "low": 0.418, "high": 0.621, "n": 100},
            "90": {"share": 0.91, "low": 0.836, "high": 0.958, "n": 100},
        },
        "ks": {"statistic": 0.06, "p": 0.84},
        "pit": [5] * 20,
        "curve": 0.07,
        "extrapolated": 0.0,
    } | changed


def document():
    return {
        "splits": {"workload": split(0.05), "policy": split(0.08)},
        "rows": [
            {
                "split": name,
                "run": run,
                "policy": "static",
                "seed": run,
                "real": {"makespan": 50.0 + 20 * run},
                "predicted": {
                    "held_out": {"makespan": 52.0 + 20 * run},
                    "naive": {"makespan": 70.0},
                },
            }
            for name in ("workload", "policy")
            for run in range(4)
        ],
        "agreement": {
            "policies": 4, "seeds": 6, "pairs": 6, "differ": 5, "same_sign": 0.8,
            "spearman": 0.9, "kendall": 0.67, "slope": 1.1, "slope_low": 0.9, "slope_high": 1.25,
        },
        "search": {"random": 0.3, "refined": 0.25, "evaluations": 64, "kept": "refined"},
        "parameters": {"contention": 0.123456, "placement": "head of line"},
        "kinds": {"align": "parametric", "sort": "boosted", "call": "parametric"},
    }  # fmt: skip


def unknown(value):
    """Return a document in which no number is known."""
    if isinstance(value, dict):
        return {k: unknown(v) for k, v in value.items()}
    if isinstance(value, list):
        return [unknown(v) for v in value]
    return None if isinstance(value, float) else value


def test_the_table_says_what_was_measured():
    lines = [" ".join(line.split()) for line in text(document()).splitlines()]
    for line in (
        "relative error mean worst mean worst |log|",
        "in sample 2.0% 2.0% 0.110",
        "held out by workload 5.0% 10.0% 6.0% 9.0% 0.125",
        "held out by policy 8.0% 16.0% 6.0% 9.0% 0.125",
        "naive: mean of each type 20.0% 20.0% 0.440",
        "noise floor 1.0% -",
        "workload 100 52.0% [41.8%, 62.1%] 91.0% [83.6%, 95.8%] 0.060 0.84 7.0% 0.0%",
        "policies: 5 of 6 pairs differ in the recording, 80.0% of these with the same sign in "
        "simulation;",
        "Spearman 0.90, Kendall 0.67; slope of differences 1.10 [0.90, 1.25]",
        "search: loss 0.25 refined, 0.3 at random, in 64 evaluations; kept refined",
        "parameters: contention 0.1235, placement head of line",
        "types of tasks: 2 parametric (align, call), 1 boosted (sort)",
    ):
        assert line in lines


def test_the_columns_stand_below_their_heads():
    lines = text(document()).splitlines()
    assert max(map(len, lines)) <= 100
    held = next(line for line in lines if "held out by workload" in line)
    assert lines[1].index("worst") + len("worst") == held.index("10.0%") + len("10.0%")
    table = next(line for line in lines if "KS" in line)
    row = lines[lines.index(table) + 1]
    assert table.index("KS") + 2 == row.index("0.060") + 5
    assert len(table) == len(row)


def test_many_types_are_counted_and_some_named():
    kinds = {f"type{i}": "mean" for i in range(9)}
    assert "9 mean (type0, type1, type2, type3, type4, …)" in text(document() | {"kinds": kinds})


def test_what_was_not_measured_is_left_out():
    told = text({"splits": {"time": split(0.05)}})
    for word in ("policies", "search", "parameters", "types of tasks"):
        assert word not in told
    assert text({"splits": {}}) == "  no run was held out"


def test_metrics_of_some_splits_only():
    batches = split(0.03)
    batches["metrics"] = {"total": batches["metrics"]["makespan"]}
    told = text({"splits": {"workload": split(0.05), "time": batches}})
    row = next(line for line in told.splitlines() if "held out by time" in line)
    assert row.split()[4:] == ["-", "-", "-", "-", "3.0%", "6.0%", "0.125"]


def test_what_is_unknown_is_a_dash():
    told = text(unknown(document()))
    assert "None" not in told and "nan" not in told
    assert "- [-, -]" in told


def test_the_same_document_gives_the_same_bytes():
    first = picture(document())
    assert first.startswith(PNG)
    assert b"tIME" not in first and b"Date" not in first
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "black"}):
        assert picture(json.loads(json.dumps(document()))) == first
        assert mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("key", ["rows", "pit", "coverage"])
def test_the_picture_shows_each_measurement(key):
    changed = document()
    if key == "rows":
        changed["rows"][0]["predicted"]["held_out"]["makespan"] = 90.0
    elif key == "pit":
        changed["splits"]["policy"]["pit"][3] = 20
    else:
        changed["splits"]["policy"]["coverage"]["50"]["share"] = 0.6
    assert picture(changed) != picture(document())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "told",
    [
        {"splits": {}},
        {"splits": {}, "rows": []},
        {"splits": {"time": split(0.05, pit=[0] * 20)}},
        unknown(document()),
    ],
)
def test_a_picture_of_nothing_is_a_picture(told):
    assert picture(told).startswith(PNG)
