"""Shown: tables and pictures of learners that were trained on one ground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from evaluations.experiments.arms import Followed
from evaluations.experiments.credit import choosing_of, credit
from evaluations.experiments.curves import disagreements, learning_curves
from evaluations.experiments.stability import disagreement, drawdown
from evaluations.experiments.statements import Ground
from evaluations.metrics import UNITS
from evaluations.verdicts.report import Picture, Table, interval
from toolkit.envs.registration import scenario_of
from toolkit.policies.learned import found as learnt
from toolkit.seeding import GATE


def shown(
    name: str,
    ground: Ground,
    metrics: Sequence[str],
    also: Sequence[str],
    offline: Sequence[str],
) -> tuple[list[Table], list[Picture]]:
    """Return tables and pictures of a ground.

    Args:
        name: Of the ground.
        ground: What came of it.
        metrics: A table each.
        also: Rules and arms that ratios are told to beside the best rule.
        offline: Arms that learnt from a dataset, whose curves count gradient steps.
    """
    where = f"`{' '.join(ground.played.ground)}`"
    tables = [
        Table(
            caption=f"{name}: {metric} ({UNITS[metric]}) on unseen workloads of {where}; the "
            "best rule is chosen on training workloads; geometric means of ratios, paired by "
            "workload, 95 % intervals (t) over workloads and, of what was trained, trainings. Of "
            "algorithms that have a gate the policy that it saw best is judged.",
            frame=ground.played.ranking(metric, metric, also),
        )
        for metric in metrics
    ]
    ground, elsewhere = _watched_here(ground, offline)
    tables.append(
        Table(
            caption=f"{name}: trainings. The return is that of the policy's best slots on the "
            "same training workloads, with its 95 % interval (t) over trainings; the mean fall "
            "from the best so far is over the points of the curve; the variance of values is "
            f"over trainings, averaged over {_probes(ground)} states that draws pass through."
            + (
                f" Watched elsewhere, where their record was made: {', '.join(elsewhere)}."
                if elsewhere
                else ""
            ),
            frame=pd.DataFrame([_row(a, each) for a, each in ground.followed.items()]),
        )
    )
    panels = _panels(ground, offline)
    rules = {r: float(ground.played.before[r]["return_mean"].mean()) for r in ground.played.before}
    slug = name.replace(" ", "_")
    pictures = [
        Picture(
            name=f"curves_{slug}",
            caption=f"{name}: mean return of the policy as it is on the same training "
            "workloads: each training thin, their mean with its 95 % interval (t). Lines: "
            "rules on training workloads.",
            draw=partial(learning_curves, panels, rules),
        )
    ]
    valued = {
        label: with_values
        for label, arms in panels.items()
        if (with_values := {a: e for a, e in arms.items() if _has_values(e)})
    }
    if valued:
        pictures.append(
            Picture(
                name=f"values_{slug}",
                caption=f"{name}: variance over trainings of what states are thought to be "
                "worth, by the variance of returns, while they learn.",
                draw=partial(disagreements, valued),
            )
        )
    return tables, pictures


def credited(
    name: str,
    ground: Ground,
    words: Sequence[str],
    discount_seconds: float,
    workloads: int,
) -> Table:
    """Return what the choices of single process types do to the return that all share.

    Args:
        name: Of the ground.
        ground: What came of it.
        words: Name of the scenario, and overrides.
        discount_seconds: τ.
        workloads: How many training workloads are played.
    """
    scenario = scenario_of(words[0], words[1:])
    rows = []
    for arm, each in ground.followed.items():
        choosing = choosing_of(learnt(each[0].policy).network)
        told = credit(
            choosing, scenario, range(GATE, GATE + workloads),
            discount_seconds=discount_seconds,
        )  # fmt: skip
        rows.append({"arm": arm} | {c.agent: f"{c.difference:.3g} ({c.share:.2%})" for c in told})
    return Table(
        caption=f"{name}: by how much the discounted return differs on average where one "
        "choice of one process type is replaced, those of the others and all luck being the "
        "same, and in brackets the share of the variance of returns that this is; first "
        f"training of each arm, {workloads} training workloads, 4 instants each.",
        frame=pd.DataFrame(rows),
    )


def _watched_here(ground: Ground, offline: Sequence[str]) -> tuple[Ground, list[str]]:
    """Return a ground without the arms that were watched elsewhere, and their names.

    What learns from a dataset is watched where that was made, which may not be this ground.
    """
    here = next((e[0].probes for a, e in ground.followed.items() if a not in offline), None)
    elsewhere = [
        arm for arm, each in ground.followed.items()
        if here is not None and not np.array_equal(each[0].probes, here)
    ]  # fmt: skip
    kept = {a: e for a, e in ground.followed.items() if a not in elsewhere}
    return Ground(followed=kept, played=ground.played), elsewhere


def _panels(ground: Ground, offline: Sequence[str]) -> dict[str, dict[str, Sequence[Followed]]]:
    panels: dict[str, dict[str, Sequence[Followed]]] = {}
    for arm, each in ground.followed.items():
        label = "gradient steps" if arm in offline else "decisions taken"
        panels.setdefault(label, {})[arm] = each
    return panels


def _has_values(each: Sequence[Followed]) -> bool:
    return all(f.worth is not None for f in each)


def _probes(ground: Ground) -> int:
    return max(len(f.probes) for each in ground.followed.values() for f in each)


def _row(arm: str, each: Sequence[Followed]) -> dict[str, Any]:
    ends = np.array([f.returns[-1] for f in each])
    half = float("nan")
    if len(each) > 1:
        half = float(t.ppf(0.975, len(each) - 1)) * ends.std(ddof=1) / np.sqrt(len(each))
    values = np.stack([f.values for f in each])
    varied = disagreement(values) if len(each) > 1 else float("nan")
    return {
        "arm": arm,
        "trainings": len(each),
        "decisions or steps": int(np.mean([f.decisions[-1] for f in each])),
        "seconds each": float(np.mean([f.seconds for f in each])),
        "return in the end": interval(ends.mean(), ends.mean() - half, ends.mean() + half, 2),
        "mean of the curve": float(np.mean([f.returns.mean() for f in each])),
        "mean fall from the best so far": float(np.mean([drawdown(f.returns) for f in each])),
        "variance of values": varied,
        "by variance of returns": varied / float(each[0].probes.var(ddof=1)),
    }
