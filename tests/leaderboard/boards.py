"""Boards: rows, sections and evidence as values, with names that mean harm."""

from __future__ import annotations

import numpy as np
import pandas as pd

from leaderboard.evidence import Choices, Episode, Evidence
from leaderboard.row import Group, Row, verdicts
from leaderboard.section import Section
from toolkit import tracking
from toolkit.seeding import generator
from toolkit.statistics import bootstrap, mean

EVIL = "</script><script>window.ran=1</script><img src=x onerror=window.ran=2>|`x`_*\x1b[31m\u202e"
POLICIES = {
    "cql": 84.0,
    "srpt_heft": 78.0,
    "iql": 77.0,
    "mheft": 64.0,
    EVIL: 52.0,
    "fifo": 41.0,
    "random": 2.0,
}
LEARNED = ("cql", "iql", EVIL)
PLACES = ("node-a", "node-b", "node-c with a rather long name", EVIL)
TYPES = ("quality", "trim", "align", "merge", "call")


def row(**values):
    """Return a row of which nothing is known but what is given."""
    texts = dict.fromkeys(tracking.TEXTS, "") | {"run_id": "r", "created": "2026-01-01T00:00:00"}
    numbers = dict.fromkeys(tracking.NUMBERS, float("nan")) | {"calibration_error": float("nan")}
    return Row(**{**texts, **numbers, "suite": "s", "policy": "p", "learned": False, **values})


def board(suite="workflows_8_stream", *, seeds=24, **shared):
    """Return a section of seven policies and one that failed, and the evidence for it."""
    rng = generator(7, "board", suite)
    luck = rng.normal(0, 8, seeds)
    cells, rows = {}, []
    for number, (policy, level) in enumerate(POLICIES.items()):
        run = f"{suite}-run-{number}"
        scores = level + luck + rng.normal(0, 3, seeds)
        cells[run] = pd.DataFrame({"seed": range(10_000, 10_000 + seeds), "score": scores})
        rows.append(_row(suite, policy, run, scores, number, **shared))
    rows.append(
        row(
            suite=suite, policy="tdca", run_id=f"{suite}-run-failed", failed=3.0,
            failure=f"no slot is allowed {EVIL}", engine="simulator", n_seeds=24.0,
            command=f"toolkit evaluate suite={suite} policies=[tdca]", **shared,
        )
    )  # fmt: skip
    group = Group(tuple(sorted(rows, key=lambda r: (r.failed > 0, -r.score))))
    section = Section(group=group, verdicts=verdicts(group, cells.__getitem__, limit=50), limit=50)
    learned = [r.trained_policy for r in rows if r.trained_policy]
    return section, Evidence(
        cells=cells,
        curves={p: curve(i) for i, p in enumerate(learned)},
        episodes={r.run_id: episode(i) for i, r in enumerate(rows[:-1])},
    )


def _row(suite, policy, run, scores, number, **shared):
    found = bootstrap(scores, generator(0), statistic=mean)
    latency = 900.0 - 5 * found.value
    return row(
        suite=suite, policy=policy, run_id=run, learned=policy in LEARNED, engine="simulator",
        score=found.value, ci_low=found.low, ci_high=found.high, iqm=float(np.median(scores)),
        latency_mean=latency, latency_mean_ci_low=latency - 20, latency_mean_ci_high=latency + 20,
        latency_p95=1.4 * latency, latency_p99=1.7 * latency, throughput=0.9 + found.value / 200,
        cost=1.2, max_queue=14.0 + number, makespan=2.1 * latency, of_bound=2 - found.value / 100,
        slr=1.9, utilisation=0.4 + found.value / 300, fairness=0.9, decision_ms=0.2 + 0.1 * number,
        n_seeds=float(len(scores)), command=f"toolkit evaluate suite={suite} policies=[{policy}]",
        dataset="placement/workflows-8-stream-mixed-v1" if policy in LEARNED else "",
        trained_policy=f"policy-{number}" if policy in LEARNED else "", commit="a" * 40, **shared,
    )  # fmt: skip


def curve(number):
    """Return what a training logged."""
    steps = np.arange(0, 20_000, 250)
    noise = generator(number, "curve").normal(0, 0.04, len(steps))
    lines = {"loss": 2 * np.exp(-steps / (4000 + 900 * number)) + 0.3 + noise}
    lines["score"] = (80 - 6 * number) * (1 - np.exp(-steps / 5000)) + 40 * noise
    if number == 0:
        lines[f"entropy {EVIL}"] = 1.5 - steps / 40_000
    return pd.concat(
        [pd.DataFrame({"metric": m, "step": steps, "value": v}) for m, v in lines.items()],
        ignore_index=True,
    )


def episode(number, *, jobs=6, tasks=20):
    """Return an episode; the better the policy, the tighter its schedule."""
    rng = generator(number, "episode")
    free = np.zeros((len(PLACES), 2))
    bars = []
    for task in range(jobs * tasks):
        place = int(rng.integers(len(PLACES)))
        lane = int(free[place].argmin())
        start = float(free[place, lane] + rng.exponential(0.4 + 0.3 * number))
        finish = start + float(rng.gamma(3, 1.5))
        free[place, lane] = finish
        bars.append((place, task // tasks, task % len(TYPES), round(start, 4), round(finish, 4)))
    time = np.sort(rng.uniform(0, free.max(), 40)).round(3).tolist()
    return Episode(
        task="paper_c_8_stream", seed=10_000, unit="s", places=PLACES, types=TYPES, jobs=jobs,
        bars=bars, left_out=12,
        choices=Choices(
            name="cores", time=time, value=rng.integers(1, 9, 40).tolist(),
            queue=rng.poisson(5, 40).tolist(), size=rng.gamma(2, 300, 40).round(1).tolist(),
        ),
    )  # fmt: skip
