"""Fidelity: how well a calibrated replay predicts runs that it has not seen.

Recorded runs are held out by workload, by time and by policy; what was learnt from the others
plays the policy of each on its own workload. Beside the error stand that of the replay which
knows the run (*in sample*), of a *naive* one in which every task takes the mean of its type, and
where runs were repeated the *noise floor*: how far the repeats are from each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from toolkit.calibration.agreement import Check, curve_distance, policies_agree, summarise
from toolkit.calibration.calibration import Calibration, speeds_of
from toolkit.calibration.contention import work
from toolkit.calibration.predict import Abducted, Naive, predict, real, real_curve
from toolkit.calibration.runs import Runs
from toolkit.calibration.search import Effort, search
from toolkit.policies.policy import Policy
from toolkit.progress import progress
from toolkit.seeding import generator
from toolkit.workload import Floats

WORKLOAD, TIME, POLICY = "workload", "time", "policy"
SPLITS = (WORKLOAD, TIME, POLICY)

_FOLDS = 3
_SHOWN = 12
"""Runs that are predicted in each split, at most."""
_DRAWS = 5
_LATE = 0.7
"""Share of the runs that come before what is held out by time."""

QUICK = Effort(random=4, refine=4, runs=4, draws=1)
"""Of the search in a fold."""


def folds(recorded: Runs) -> Iterator[tuple[str, list[int], list[int]]]:
    """Yield splits with the runs to learn from and those to predict."""
    runs = recorded.runs
    seeds = {r: recorded.about(r).get("seed") for r in runs}
    names = {r: str(recorded.about(r)["policy"]) for r in runs}
    for split, told in ((WORKLOAD, seeds), (POLICY, names)):
        groups = list(dict.fromkeys(told[r] for r in runs))
        parts = [groups[k::_FOLDS] for k in range(min(_FOLDS, len(groups)))]
        for part in parts if len(parts) > 1 else []:
            test = [r for r in runs if told[r] in part]
            yield split, [r for r in runs if r not in test], test
    early = int(_LATE * len(runs))
    if 0 < early < len(runs):
        yield TIME, runs[:early], runs[early:]


def measure(
    recorded: Runs, calibration: Calibration, policies: Mapping[str, Policy]
) -> dict[str, Any]:
    """Hold runs out, predict them, and say how far off that was.

    Args:
        recorded: The trace that the calibration was fitted on.
        calibration: Fitted on all of it; stands for *in sample*.
        policies: Who decided, by the names of the recording. Runs of others are not predicted.
    """
    found: list[Check] = []
    every = list(folds(recorded))
    shown = {split: _spread(recorded, every, split, policies) for split in SPLITS}
    total = sum(len(s) for s in shown.values())
    with progress("predicting runs that were held out", total, "runs") as bar:
        for split, train, test in every:
            chosen = [r for r in test if r in shown[split]]
            if not chosen:
                continue
            held = search(recorded, train, policies, QUICK)
            naive = Naive.of(recorded, train, held)
            for run in chosen:
                policy = policies[str(recorded.about(run)["policy"])]
                found.append(check(recorded, run, split, policy, calibration, held, naive))
                bar.update(note=f"by {split}")
    return {
        "splits": summarise(found, _repeats(recorded)),
        "search": dict(calibration.search),
        "parameters": asdict(calibration.sought),
        "kinds": dict(zip(calibration.planned.types, calibration.durations.kinds, strict=True)),
        "rows": [row(c) for c in found],
        "agreement": _agreement(recorded, found),
    }


def _spread(
    recorded: Runs,
    every: Sequence[tuple[str, list[int], list[int]]],
    split: str,
    policies: Mapping[str, Policy],
) -> set[int]:
    """Return which of the runs that a split holds out are predicted: whole workloads, spread."""
    held = sorted(
        r
        for s, _, test in every
        for r in test
        if s == split and str(recorded.about(r)["policy"]) in policies
    )
    by_seed: dict[Any, list[int]] = {}
    for run in held:
        by_seed.setdefault(recorded.about(run).get("seed"), []).append(run)
    groups = list(by_seed.values())
    count = max(1, round(_SHOWN * len(groups) / max(1, len(held))))
    if count >= len(groups):
        return set(held)
    chosen = np.linspace(0, len(groups) - 1, count).astype(int)
    return {run for i in chosen for run in groups[i]}


def check(
    recorded: Runs,
    run: int,
    split: str,
    policy: Policy,
    known: Calibration,
    held: Calibration,
    naive: Naive,
) -> Check:
    """Return a recorded run beside what is predicted of it.

    Args:
        recorded: The trace.
        run: One of its runs.
        split: How it was held out.
        policy: Who decided.
        known: Fitted on the run as well.
        held: Not fitted on it.
        naive: The control, not fitted on it either.
    """
    about, workload = recorded.about(run), recorded.workload(run)
    seeds = [int(about["seed"]) + 7_919 * k for k in range(1, _DRAWS + 1)]
    told = predict(held, held, workload, policy, seeds)
    own = Abducted(recorded=recorded, run=run, calibration=known)
    in_sample = predict(own, known, workload, policy, [int(about["seed"])])
    control = predict(naive, held, workload, policy, seeds)
    every = recorded.executions(run)
    done = every.where(~every.cold)

    def worked(by: Calibration) -> Floats:
        speeds = speeds_of(by.planned, by.sought.interference)
        return np.asarray(np.log(work(every, speeds))[~every.cold])

    alone = worked(held)
    mean = held.durations.log_mean(done.type_of, done.data, done.column)
    curve = real_curve(recorded, run)
    return Check(
        split=split,
        run=run,
        policy=str(about["policy"]),
        seed=int(about["seed"]),
        real=real(recorded, run),
        predicted={
            "held_out": told.metrics,
            "in_sample": in_sample.metrics,
            "naive": control.metrics,
        },
        log_errors={
            "held_out": alone - mean,
            "in_sample": worked(known)
            - known.durations.log_mean(done.type_of, done.data, done.column),
            "naive": np.log(done.seconds) - np.log(naive.mean[done.type_of]),
        },
        luck=held.durations.luck(done.type_of, alone - mean),
        curve=curve_distance(curve[0], curve[1], told.curve[0], told.curve[1]),
        extrapolated=told.beyond,
    )


def row(checked: Check) -> dict[str, Any]:
    """Return a run and the medians of what was predicted of it, for JSON."""
    return {
        "split": checked.split,
        "run": checked.run,
        "policy": checked.policy,
        "seed": checked.seed,
        "real": dict(checked.real),
        "predicted": {
            way: {m: float(np.median(v)) for m, v in metrics.items()}
            for way, metrics in checked.predicted.items()
        },
    }


def _repeats(recorded: Runs) -> dict[tuple[str, int], list[dict[str, float]]]:
    """Return what the runs of the same policy on the same workload took."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for run in recorded.runs:
        about = recorded.about(run)
        cell = str(about["policy"]), int(about["seed"])
        found.setdefault(cell, []).append(real(recorded, run))
    return found


def _agreement(recorded: Runs, found: Sequence[Check]) -> dict[str, Any]:
    """Return whether policies are ordered alike, where they met the same workloads."""
    simulated: dict[str, dict[int, Any]] = {}
    truly: dict[str, dict[int, Any]] = {}
    for c in found:
        if c.split == POLICY:
            simulated.setdefault(c.policy, {})[c.seed] = c.predicted["held_out"]["latency"]
            truly.setdefault(c.policy, {})[c.seed] = np.zeros(0)
    for (policy, seed), repeats in _repeats(recorded).items():
        if seed in truly.get(policy, {}):
            truly[policy][seed] = np.array([r["latency"] for r in repeats])
    return asdict(policies_agree(simulated, truly, generator(0, "agreement")))


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands beside every score: the errors of runs held out by workload.

    Returns:
        Relative errors of makespan and mean latency, ``held_out``, ``in_sample`` and ``naive``;
        share of the tasks within their 90 % interval, and how many tasks that speaks of. Empty
        where no run could be held out.
    """
    splits = document["splits"]
    if not splits:
        return {}
    shown = splits.get(WORKLOAD) or next(iter(splits.values()))
    found: dict[str, Any] = {
        f"{way}_{metric}_error": told[way]
        for metric, told in shown["metrics"].items()
        for way in ("held_out", "in_sample", "naive")
    }
    return found | {"coverage_90": shown["coverage"]["90"]["share"], "tasks": shown["tasks"]}
