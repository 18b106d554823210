"""Tables of paper B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from evaluations.cells import BOUND
from evaluations.papers import judging_b as judging
from evaluations.papers import learning_b as learning
from evaluations.papers.figures_b import (
    RANDOM,
    STATIC,
    TIMES,
    Frames,
    mean_of,
    ms,
    percent,
    ratio,
    shown,
)
from evaluations.verdicts.report import Table, interval
from toolkit.statistics import Interval

_CHOSEN: Mapping[str, tuple[str, float, int]] = {
    "cores": ("cores of an executor", 1.0, 2),
    "memory": ("memory, MiB", 1.0, 0),
    "instances": ("executors asked for", 1.0, 2),
    "granted": ("granted", 1.0, 2),
    "cpu_reserved": ("CPU reserved, %", 100.0, 1),
    "cpu_busy": ("CPU used, %", 100.0, 1),
    "memory_reserved": ("memory reserved, %", 100.0, 1),
    "memory_busy": ("memory used, %", 100.0, 1),
}


def compared(
    policy: str,
    rivals: Sequence[str],
    rates: Mapping[int, Frames],
    mixed: Frames,
    workloads: Sequence[int],
    chosen_on: int,
) -> list[Table]:
    """Return times of batches, and what the policy gains over others.

    Args:
        policy: Who is judged.
        rivals: Rules to compare with.
        rates: Who served what, by frames per partition.
        mixed: The same where they change.
        workloads: How many there are, of each of both.
        chosen_on: Training workloads that told which configuration is the best.
    """
    times = {f"{f}": _times_table(frames) for f, frames in rates.items()}
    times["mixed"] = _times_table(mixed)
    whole = [f.assign(**{"frames": name}) for name, f in times.items()]
    gains = [
        {"frames": name, **row}
        for name, frames in [*((str(f), x) for f, x in rates.items()), ("mixed", mixed)]
        for row in _gain_rows(policy, rivals, frames)
    ]
    n = f"{workloads[0]} unseen workloads of 120 batches at each rate, {workloads[1]} mixed"
    return [
        Table(
            caption="Time of a batch with 95 % intervals, simulated; in all: from arrival to "
            "completion; batch alone: from its first task on. Switches: share of batches that "
            f"had executors of another configuration than the one before. {n}.",
            frame=_first("frames", pd.concat(whole, ignore_index=True)),
        ),
        Table(
            caption=f"What `{policy}` gains over others: 1 − geometric mean of the ratios "
            "over workloads, paired, with 95 % bootstrap intervals; possible: 1 − bound/other, "
            "the most that any policy could. Core-seconds as ratio, below 1: spends less. "
            f"`{STATIC}`: the best configuration that never changes at no more core-seconds "
            f"than the policy's, chosen on {chosen_on} training workloads of that rate.",
            frame=pd.DataFrame(gains),
        ),
    ]


def _gain_rows(policy: str, rivals: Sequence[str], frames: Frames) -> list[dict[str, Any]]:
    rows = []
    for rival in (STATIC, *rivals):
        row: dict[str, Any] = {"over": f"`{rival}`"}
        for metric, label in TIMES.items():
            gain = judging.gain_of(ratio(frames, policy, rival, metric))
            row[f"gain {label}"] = percent(gain)
            most = 1 - ratio(frames, BOUND, rival, metric).value
            row[f"possible {label}"] = f"{max(0.0, most):.1%}"
        cost = ratio(frames, policy, rival, "core_seconds")
        row["core-seconds"] = interval(cost.value, cost.low, cost.high)
        rows.append(row)
    return rows


def configurations(policy: str, rates: Mapping[int, Frames]) -> Table:
    """Return what is chosen for a batch, and what is used of it."""
    rows = [
        {
            "frames": f,
            "policy": f"`{arm}`",
            **{
                label: shown(mean_of(frames[arm][c].to_numpy() * scale, "chosen", c), digits)
                for c, (label, scale, digits) in _CHOSEN.items()
            },
        }
        for f, frames in rates.items()
        for arm in (policy, RANDOM, STATIC)
    ]
    return Table(
        caption="What is chosen for a batch, and how much of the hosts' cores and memory "
        "executors reserve and tasks use, over time; 95 % intervals. Where nothing varies "
        "between workloads an interval has no width.",
        frame=pd.DataFrame(rows),
    )


def learnt(
    policy: str,
    words: Sequence[str],
    trained: Sequence[learning.Followed],
    times: Mapping[str, Interval],
    rates: Mapping[int, Frames],
) -> list[Table]:
    """Return what came of trainings, and the agent's share of a batch.

    Args:
        policy: Who is judged.
        words: Name of the scenario of the trainings, and overrides.
        trained: The trainings.
        times: Of a gradient step and of a decision, ms.
        rates: Who served what, by frames per partition.
    """
    rows = []
    for one in trained:
        how = judging.learning(one.mean, one.copies, 10_000)
        rows.append(
            {
                "ε falls": one.name,
                "decisions": how.decisions,
                "reward at first, 1/s": 1e3 * how.start,
                "in the end, 1/s": 1e3 * how.level,
                "share of the rise made by 10,000": how.risen,
                "level from": how.settled,
            }
        )
    shares = [
        {
            "frames": f,
            "batch, ms": ms,
            "gradient step and the decisions before it, ms": shown(times["training"], 2),
            "share in training": percent(judging.share_of(times["training"], ms)),
            "decision, ms": shown(times["after"], 3),
            "share after it": percent(judging.share_of(times["after"], ms), 3),
        }
        for f, ms in ((f, ms(x[policy])) for f, x in rates.items())
    ]
    return [
        Table(
            caption=f"Trainings of `{learning.ALGORITHM}` on `{' '.join(words)}`, one of "
            "each. Level from: decisions after which running means over a twentieth of the "
            f"training stay within {judging.LEVEL:.0%} of the whole rise off the level, the "
            "mean of the last fifth.",
            frame=pd.DataFrame(rows),
        ),
        Table(
            caption="Processor time of the agent on the machine that made this, beside "
            f"simulated batches of `{policy}`. In training: a gradient step and the "
            "decisions before it, their simulation included; after it: features and network.",
            frame=pd.DataFrame(shares),
        ),
    ]


def _times_table(frames: Frames) -> pd.DataFrame:
    rows = []
    for arm, frame in frames.items():
        row: dict[str, Any] = {"policy": "(no policy below)" if arm == BOUND else f"`{arm}`"}
        for metric, label in TIMES.items():
            found = mean_of(1e3 * frame[metric].to_numpy(), "times", arm, metric)
            row[f"{label}, ms"] = shown(found, 0)
        for metric, label in (("core_seconds", "core-seconds"), ("switches", "switches")):
            row[label] = float(frame[metric].mean()) if metric in frame else float("nan")
        row["order"] = float(frame["latency_mean"].mean())
        rows.append(row)
    found_ = pd.DataFrame(rows).sort_values("order", kind="stable")
    return found_.drop(columns="order")


def _first(column: str, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[column, *(c for c in frame.columns if c != column)]]
