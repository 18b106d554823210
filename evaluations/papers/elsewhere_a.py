"""Elsewhere: the policy of paper A on other data, other pipelines and under other weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from evaluations.cells import BOUND
from evaluations.experiments.curves import against
from evaluations.experiments.keeping import SHORT, in_part
from evaluations.papers import judging_a as judging
from evaluations.papers import pictures_a as pictures
from evaluations.verdicts.claims import NOT_COMPARABLE, Finding
from evaluations.verdicts.comparison import Compared, slope
from evaluations.verdicts.part import Part, percent
from evaluations.verdicts.report import Picture, Table, interval
from toolkit.seeding import generator
from toolkit.statistics import Interval, bootstrap, mean

LATENCY = "latency_mean"


def variation(
    by_level: Mapping[float, Compared], policy: str, others: Sequence[str], command: str
) -> Part:
    """Return what the policy gains as data vary more, the finding of A8.

    Args:
        by_level: What was played by coefficient of variation, ascending, with the same seeds.
        policy: The arm that is judged.
        others: Arms that are shown beside it.
        command: What to type to get it again.
    """
    levels = list(by_level)
    arms = [policy, *others]
    gains = {
        a: [played.gain(a, played.best(LATENCY), LATENCY) for played in by_level.values()]
        for a in arms
    }
    saved = np.stack(
        [-played.logs(policy, played.best(LATENCY), LATENCY).mean(axis=0)
         for played in by_level.values()], axis=1,
    )  # fmt: skip
    rise = bootstrap(slope(saved, levels), generator(0, "slope"), statistic=mean)
    means = saved.mean(axis=0).tolist()
    rows = []
    for i, (level, played) in enumerate(by_level.items()):
        best = played.best(LATENCY)
        possible = played.possible(best, LATENCY)
        rows.append(
            {
                "coefficient of variation": level,
                "better of static and reactive": best,
                "its latency (s)": float(played.cells[best][LATENCY].mean()),
                **{f"{a} saves": percent(gains[a][i]) for a in arms},
                "no policy saves more than": percent(possible),
            }
        )
    workloads = len(saved)
    told = ", ".join(f"{percent(g)} at {c:g}" for c, g in zip(levels, gains[policy], strict=True))
    told_of = ", ".join(f"{a} saves {percent(gains[a][-1])} at {levels[-1]:g}" for a in others)
    finding = Finding(
        claim="A8",
        verdict=judging.rising(rise, means),
        figure=f"{told}; per unit of the coefficient the logarithm of latency saved changes by "
        f"{interval(rise.value, rise.low, rise.high)}",
        why="the slope is that of each workload, whose seeds are the same at all levels; "
        "confirmed where it is positive as a whole and the last level has the largest advantage; "
        f"beside it {told_of}",
        command=command,
    )
    return Part(
        tables=[
            Table(
                caption=f"Latency saved against the coefficient of variation of the size of the "
                f"data, whose mean stays; {workloads} unseen workloads each.",
                frame=pd.DataFrame(rows),
            )
        ],
        pictures=[
            Picture(
                name="variation",
                caption="Latency saved as the data vary more, with 95 % intervals.",
                draw=partial(
                    against,
                    "coefficient of variation of the size of the data",
                    levels,
                    gains,
                    "latency",
                ),  # fmt: skip,
            )
        ],
        findings=[finding],
    )


def transfer(
    by_structure: Mapping[str, Compared], policy: str, tuned: str, others: Sequence[str],
    own: str, command: str,
) -> Part:  # fmt: skip
    """Return what the policy gains on pipelines of other structures, the finding of A11.

    Args:
        by_structure: What was played by name of the structure, ``own`` among them.
        policy: The arm that is judged as it is.
        tuned: The arm that went on learning on the structure; the own one has none.
        others: Arms that are shown beside it.
        own: The structure that the policy was trained on.
        command: What to type to get it again.
    """
    rows = []
    gains: dict[str, Interval] = {}
    of_tuned: dict[str, Interval] = {}
    for name, played in by_structure.items():
        best = played.best(LATENCY)
        arms = [a for a in (policy, tuned, *others, BOUND) if a in played.cells]
        found = {a: played.gain(a, best, LATENCY) for a in arms}
        if name != own:
            gains[name] = found[policy]
            of_tuned[name] = played.ratio(policy, tuned, LATENCY)
        rows.append(
            {
                "pipeline": name,
                "best rule": best,
                **{f"{a} saves": percent(found[a]) if a in found else "–"
                   for a in (policy, tuned, *others, BOUND)},
            }
        )  # fmt: skip
    told = "; ".join(
        f"{name}: saves {percent(g)}, latency "
        f"{interval(of_tuned[name].value, of_tuned[name].low, of_tuned[name].high)} of the tuned"
        for name, g in gains.items()
    )
    finding = Finding(
        claim="A11",
        verdict=in_part(list(gains.values()), list(of_tuned.values())),
        figure=told,
        why="confirmed where the policy as it is helps on one structure at least, and on one at "
        f"least helps nothing or takes {SHORT - 1:.0%} longer than after it went on "
        "learning there; structures have the same number of process types, as the network knows "
        "no other",
        command=command,
    )
    workloads = next(iter(by_structure.values())).cells[policy]["seed"].nunique()
    return Part(
        tables=[
            Table(
                caption="Latency saved against the better of static and reactive on pipelines of "
                f"other structures, as it is and after fine-tuning; {workloads} unseen workloads "
                "each.",
                frame=pd.DataFrame(rows),
            )
        ],
        findings=[finding],
    )


def weights(by_weight: Mapping[float, str], played: Compared | None, command: str) -> Part:
    """Return what the policy becomes under other weights, the finding of A9.

    Args:
        by_weight: Arms by the weight of cost that they learnt under, ascending.
        played: The open system; None where nothing was trained.
        command: What to type to get it again.
    """
    if played is None:
        why = "this size of the suite trains under one weighting only"
        return Part(findings=[Finding(claim="A9", verdict=NOT_COMPARABLE, why=why)])
    arms = list(by_weight.values())
    pairs = list(itertools.pairwise(arms))
    dearer = [played.ratio(a, b, "cost") for a, b in pairs]
    slower = [played.ratio(b, a, LATENCY) for a, b in pairs]
    means = {m: [float(played.cells[a][m].mean()) for a in arms] for m in (LATENCY, "cost")}
    told = [
        f"from weight {low:g} to {high:g} cost falls by {percent(_less(d))} and latency grows by "
        f"{percent(_more(s))}"
        for (low, high), d, s in zip(itertools.pairwise(by_weight), dearer, slower, strict=True)
    ]
    finding = Finding(
        claim="A9",
        verdict=judging.followed(dearer, slower),
        figure="; ".join(told),
        why="cost against latency only: in an open stream throughput is what arrives, whatever "
        "its weight; one training for each weight, from the policy that is judged",
        command=command,
    )
    frame = pd.DataFrame(
        {
            "weight of cost": list(by_weight),
            "mean latency (s)": means[LATENCY],
            "cost (CPU-equivalent s)": means["cost"],
        }
    )
    return Part(
        tables=[Table(caption="What PPO becomes as cost weighs more.", frame=frame)],
        pictures=[
            Picture(
                name="weights",
                caption="Latency against cost by the weight of cost; the others stay 1.",
                draw=partial(pictures.front, list(by_weight), means[LATENCY], means["cost"]),
            )
        ],
        findings=[finding],
    )


def _less(ratio: Interval) -> Interval:
    """Return by which share the second of a ratio is less than the first."""
    return Interval(*(1 - 1 / x for x in (ratio.value, ratio.low, ratio.high)))


def _more(ratio: Interval) -> Interval:
    return Interval(*(x - 1 for x in (ratio.value, ratio.low, ratio.high)))
