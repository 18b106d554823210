"""The command ``toolkit evaluate``: policies × workloads, paired, into the one record."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from evaluations import real
from evaluations.metrics import UNITS, measure
from evaluations.ope_suite import OpeSuite
from evaluations.suite import Suite
from toolkit import reward, tracking
from toolkit import trace as traces
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.ensure import ensure as calibrated
from toolkit.errors import ConfigError
from toolkit.features.observe import FEATURISER
from toolkit.live import rollout
from toolkit.policies.named import Named, named
from toolkit.policies.shipped import folders
from toolkit.progress import Progress, progress
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.seeding import generator
from toolkit.simulator.recorded import Forced, Recorded, replayable, scenario_of, workload_of
from toolkit.simulator.simulator import SIMULATOR, simulated
from toolkit.statistics import Interval, bootstrap, mean, paired
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SHOWN = ("return_mean", "latency_mean", "latency_p95", "throughput", "cost", "max_queue")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One policy on one suite.

    Args:
        policy: Its name.
        learned: Whether it was trained.
        cells: A row per workload seed.
        score: Mean normalised score with its 95 % interval.
    """

    policy: str
    learned: bool
    cells: pd.DataFrame
    score: Interval


def evaluate(cfg: DictConfig) -> Report:
    """Judge policies on unseen workloads in the calibrated replay, or on the runs of a trace.

    All policies meet the same workloads and the same luck; each pair is compared seed by seed.
    """
    suite = instantiate(cfg.suite, _convert_="all")
    wanted = list(cfg.policies) if cfg.policies is not None else None
    if isinstance(suite, real.RealSuite):
        judged_ones = replace(suite, policies=wanted) if wanted else suite
        return real.evaluate(judged_ones, force=bool(cfg.force))
    if isinstance(suite, OpeSuite):
        return (replace(suite, policies=wanted) if wanted else suite).run(str(cfg.trace))
    judged, calibration = run(suite, trace=str(cfg.trace), policies=wanted, force=bool(cfg.force))
    pairs = compare(judged, suite)
    document = {
        "suite": suite.name,
        "engine": suite.engine,
        "calibration": calibration.id,
        "calibration_error": _error(calibration),
        "policies": [
            {"policy": j.policy, "learned": j.learned, "score": asdict(j.score), **_means(j.cells)}
            for j in judged
        ],
        "pairs": pairs,
        "units": dict(UNITS),
    }
    return Report(document=document, text=_text(suite, judged, pairs, calibration))


def ensure(suite: Suite, *, trace: str = "latest") -> None:
    """Evaluate what a suite still lacks; does nothing where every policy has been judged."""
    run(suite, trace=trace, policies=None, force=False)


def run(
    suite: Suite, *, trace: str, policies: Sequence[str] | None, force: bool
) -> tuple[list[Judged], Product]:
    """Judge policies and record one MLflow run per policy.

    Args:
        suite: What is judged.
        trace: Id of the trace that the replay is calibrated on, or whose runs are judged.
        policies: Names; those of the suite when None.
        force: Judge again even what the record holds.

    Returns:
        What was judged, best first, and the calibration.
    """
    store = Store()
    recording = replayable(store, trace)
    calibration = calibrated(store, recording)
    if suite.engine == "recorded":
        cells, learned, keys = _recorded_cells(suite, recording, store)
    else:
        cells, learned, keys = _simulated_cells(suite, calibration, policies, store, force)
    for needed in (suite.floor, suite.reference):
        if needed not in cells:
            raise ConfigError(
                f"suite {suite.name!r} scores against {needed!r}, which is not among the policies "
                f"{sorted(cells)}",
                hint="add it, or name another: suite.floor=<policy> suite.reference=<policy>",
            )
    low = float(cells[suite.floor]["return_mean"].mean())
    high = float(cells[suite.reference]["return_mean"].mean())
    if high <= low:
        raise ConfigError(
            f"{suite.reference!r} (mean return {high:.1f}) is no better than {suite.floor!r} "
            f"({low:.1f}); a score between them would say nothing",
            hint="name a stronger reference: suite.reference=<policy>",
        )
    floor = cells[suite.floor].set_index("seed")["return_mean"]
    judged = []
    for name, frame in cells.items():
        # Measured from the floor on the same workload, so that easy and hard ones weigh alike.
        base = frame["seed"].map(floor).fillna(low)
        frame = frame.assign(score=100 * (frame["return_mean"] - base) / (high - low))
        rng = generator(0, "score", suite.name)
        judged.append(
            Judged(
                policy=name,
                learned=learned[name] is not None or name.partition("~")[0] in folders(),
                cells=frame,
                score=bootstrap(frame["score"].to_numpy(), rng, statistic=mean),
            )
        )
        _record(suite, judged[-1], keys[name], learned[name], calibration, recording, store, force)
    return sorted(judged, key=lambda j: (-j.score.value, j.policy)), calibration


Cells = tuple[dict[str, pd.DataFrame], dict[str, Product | None], dict[str, str]]


def _simulated_cells(
    suite: Suite, product: Product, wanted: Sequence[str] | None, store: Store, force: bool
) -> Cells:
    calibration = Calibration.load(product.path)
    names = list(dict.fromkeys([*(wanted or suite.policies), suite.floor, suite.reference]))
    found = {n: named(n, store) for n in names}
    # A score depends on its ends too, so their keys are part of every key.
    ends = [found[suite.floor].key, found[suite.reference].key]
    rules = [asdict(suite) | {"policies": None}, SIMULATOR, FEATURISER, reward.VERSION]
    keys = {n: fingerprint(rules, product.digest, found[n].key, ends) for n in names}
    cells: dict[str, pd.DataFrame] = {}
    for n in names:
        known = None if force else tracking.find_evaluation(suite.name, keys[n])
        if known is not None:
            cells[n] = tracking.cells(known)
    missing = [n for n in names if n not in cells]
    if missing:
        total = len(missing) * suite.seeds
        with progress(f"evaluating on {suite.name}", total, "episodes") as bar:
            for n in missing:
                cells[n] = _simulate(suite, calibration, found[n], n, bar)
    products = {n: found[n].product for n in names}
    return {n: cells[n] for n in names}, products, keys


def _simulate(
    suite: Suite, calibration: Calibration, policy: Named, name: str, bar: Progress
) -> pd.DataFrame:
    rows = []
    for seed in range(suite.first_seed, suite.first_seed + suite.seeds):
        workload = calibration.plan(seed)
        episode = simulated(
            calibration, policy.policy, workload, seed,
            horizon=calibration.horizon, weights=calibration.weights,
        )  # fmt: skip
        rows.append({"seed": seed, **measure(episode)})
        bar.update(note=name)
    return pd.DataFrame(rows)


def _recorded_cells(suite: Suite, recording: Product, store: Store) -> Cells:
    trace = traces.read(recording.path)
    scenario = scenario_of(trace)
    rows: dict[str, list[dict[str, float]]] = {}
    for about in trace.runs("policy"):
        number = int(about["run"])
        workload = workload_of(trace, number)
        episode = rollout(
            Recorded(trace, number),
            workload,
            Forced(trace, number).chooser,
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        cell = {"seed": int(about["seed"]), **measure(episode)}
        rows.setdefault(str(about["policy"]), []).append(cell)
    # A workload that was met several times is one cell: the mean.
    cells = {
        name: pd.DataFrame(r).groupby("seed", as_index=False).mean() for name, r in rows.items()
    }
    # The trace says which artefact ran; a newer one of the same name did not.
    artefacts = recording.manifest["about"].get("artefacts", {})
    products = {n: store.get("policies", artefacts[n]) if n in artefacts else None for n in cells}
    ends = [suite.floor, suite.reference]
    return cells, products, {n: fingerprint(recording.digest, n, ends) for n in cells}


def _record(
    suite: Suite,
    judged: Judged,
    key: str,
    policy: Product | None,
    calibration: Product,
    recording: Product,
    store: Store,
    force: bool,
) -> None:
    if not force and tracking.find_evaluation(suite.name, key) is not None:
        return
    rng = generator(0, "metrics", suite.name)
    frame = judged.cells
    metrics: dict[str, float] = {
        "score": judged.score.value,
        "ci_low": judged.score.low,
        "ci_high": judged.score.high,
        "iqm": bootstrap(frame["score"].to_numpy(), rng).value,
        "n_seeds": float(len(frame)),
    }
    for name in (n for n in UNITS if n in frame):
        values = frame[name].to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            continue
        interval = bootstrap(values, rng, statistic=mean)
        metrics |= {
            name: interval.value,
            f"{name}_ci_low": interval.low,
            f"{name}_ci_high": interval.high,
        }
    lineage = dict(policy.manifest["about"]) if policy is not None else {}
    tracking.log_evaluation(
        suite=suite.name,
        policy=judged.policy,
        metrics=metrics,
        params={f"suite.{k}": v for k, v in asdict(suite).items()},
        tags={
            "engine": "simulator" if suite.engine == "simulator" else "ray",
            "learned": str(judged.learned).lower(),
            "calibration": calibration.id,
            "calibration_error": _error(calibration),
            "simulator": str(SIMULATOR),
            "schema": str(FEATURISER),
            "dataset": lineage.get("dataset", ""),
            "dataset_digest": str(lineage.get("dataset_digest", ""))[:36],
            "trained_policy": policy.id if policy is not None else "",
            "commit": revision(),
            "command": f"toolkit evaluate suite={suite.name} trace={recording.id} "
            f"policies=[{policy.id if policy is not None else judged.policy}]",
            "cell_key": key,
        },
        cells=frame,
    )


def compare(judged: Sequence[Judged], suite: Suite) -> list[dict[str, Any]]:
    """Compare each pair of policies on mean latency, over the seeds that both met.

    Returns:
        A row per pair: the paired mean difference (first minus second, s) with its 95 %
        bootstrap interval, and whether they differ: the interval leaves out 0.
    """
    rows: list[dict[str, Any]] = []
    for a, b in itertools.combinations(judged, 2):
        both = a.cells.merge(b.cells, on="seed", suffixes=("_a", "_b"))
        if len(both) < 2:
            continue
        found = paired(
            both["latency_mean_a"].to_numpy(),
            both["latency_mean_b"].to_numpy(),
            generator(0, "pairs", suite.name),
        )
        d = found.difference
        rows.append(
            {
                "first": a.policy,
                "second": b.policy,
                "latency_difference": d.value,
                "ci_low": d.low,
                "ci_high": d.high,
                "p": found.p,
                "n": found.n,
                "differ": bool(d.low > 0 or d.high < 0),
            }
        )
    return rows


def _error(calibration: Product) -> float:
    told = calibration.manifest["about"]["fidelity"].get("held_out_makespan_error")
    return float("nan") if told is None else float(told)


def _means(cells: pd.DataFrame) -> dict[str, float]:
    return {n: float(cells[n].mean()) for n in UNITS if n in cells}


def _text(
    suite: Suite, judged: Sequence[Judged], pairs: Sequence[Mapping[str, Any]], fitted: Product
) -> str:
    head = f"  {'policy':<16}{'score':>8} {'95 % CI':<18}" + "".join(f"{n:>14}" for n in _SHOWN)
    lines = [f"suite {suite.name}, {suite.engine}, {len(judged[0].cells)} workloads", head]
    for j in judged:
        interval = f"[{j.score.low:.1f}, {j.score.high:.1f}]"
        numbers = "".join(f"{j.cells[n].mean():>14.3f}" for n in _SHOWN)
        lines.append(f"  {j.policy:<16}{j.score.value:>8.1f} {interval:<18}{numbers}")
    differ = sum(bool(p["differ"]) for p in pairs)
    lines.append(
        f"  mean latency differs beyond noise in {differ} of {len(pairs)} pairs of policies"
    )
    if suite.engine == "simulator":
        lines.append(
            f"  simulated; calibration {fitted.id}: held-out makespan error {_error(fitted):.1%}"
        )
    lines.append("next: toolkit leaderboard")
    return "\n".join(lines)
