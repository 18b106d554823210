"""Suite of off-policy estimates, never without what the calibrated replay says of the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from evaluations import ope
from evaluations.fqe import FQE
from toolkit import trace as traces
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.ensure import ensure as calibrated
from toolkit.errors import require
from toolkit.policies.named import named
from toolkit.progress import progress
from toolkit.report import Report
from toolkit.seeding import generator
from toolkit.simulator.recorded import replayable
from toolkit.simulator.simulator import simulated
from toolkit.statistics import bootstrap, mean
from toolkit.store import Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

ESTIMATORS = ("importance", "per_decision", "doubly_robust", "fqe")
FEWEST = 3
"""Fewer policies have no order worth a correlation."""


@dataclass(frozen=True, kw_only=True)
class OpeSuite:
    """What recorded decisions say of policies that did not make them.

    Args:
        name: Name of the suite.
        policies: What is judged; those that draw have weights, e.g. ``static~0.5``.
        fqe: Settings of :class:`~evaluations.fqe.FQE`.
        seeds: Unseen workloads in the calibrated replay.
        first_seed: Seed of the first of them.
    """

    name: str
    policies: Sequence[str]
    fqe: Mapping[str, Any]
    seeds: int
    first_seed: int

    def __post_init__(self) -> None:
        require(
            len(set(self.policies)) == len(self.policies) >= FEWEST,
            f"suite.policies must name {FEWEST} or more, each once: their order is compared",
        )
        require(self.seeds >= 2, f"suite.seeds must be at least 2, got {self.seeds}")
        FQE(**self.fqe)

    def run(self, cfg: DictConfig) -> Report:
        """Estimate the mean return of each policy from a trace, and beside it in the replay.

        Args:
            cfg: Of the command; ``trace`` is a recording whose decisions have propensities.

        Raises:
            ConfigError: When they have none.
        """
        store = Store()
        recording = replayable(store, str(cfg.trace))
        recorded = traces.read(recording.path)
        ope.require_propensities(recorded)
        product = calibrated(store, recording)
        fitted = Calibration.load(product.path)
        rows, earned = [], np.nan
        with progress("estimating from the record", len(self.policies), "policies") as bar:
            for name in self.policies:
                policy = named(name, store).policy
                given = ope.logged(recorded, policy)
                model = FQE(**self.fqe).fit(given)
                estimates = {
                    "importance": ope.importance(given),
                    "per_decision": ope.per_decision(given),
                    "doubly_robust": ope.doubly_robust(given, model.q, model.v),
                }
                earned = float(given.paid.sum(axis=1).mean())
                returns = []
                for seed in range(self.first_seed, self.first_seed + self.seeds):
                    workload = fitted.plan(seed)
                    episode = simulated(
                        fitted, policy, workload, seed,
                        horizon=fitted.horizon, weights=fitted.weights,
                    )  # fmt: skip
                    returns.append(sum(s.reward for s in episode.steps))
                rng = generator(0, "ope", self.name)
                rows.append(
                    {
                        "policy": name,
                        "simulator": asdict(bootstrap(np.array(returns), rng, statistic=mean)),
                        **{k: asdict(e) for k, e in estimates.items()},
                        "fqe": {
                            "value": model.value,
                            "moved": model.moved,
                            "residual": model.residual,
                            "settled": model.settled,
                        },
                    }
                )
                bar.update(note=name)
        told = product.manifest["about"]["fidelity"].get("held_out_makespan_error")
        document = {
            "suite": self.name,
            "trace": recording.id,
            "calibration": product.id,
            "calibration_error": told,
            "recorded": earned,
            "policies": rows,
            "agreement": {e: _agreement(rows, e) for e in ESTIMATORS},
        }
        return Report(document=document, text=_text(document))


def _value(row: Mapping[str, Any], estimator: str) -> float:
    found = row[estimator]["value"]
    return float(found if estimator == "fqe" else found["value"])


def _agreement(rows: Sequence[Mapping[str, Any]], estimator: str) -> dict[str, float]:
    """Return Spearman's correlation with the simulator over the policies that have an estimate."""
    pairs = np.array([(_value(r, estimator), r["simulator"]["value"]) for r in rows])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    told = len(pairs) >= FEWEST and bool((np.ptp(pairs, axis=0) > 0).all())
    rank = float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic) if told else np.nan
    return {"rank_correlation": rank, "n": len(pairs)}


def _shown(found: Mapping[str, float]) -> str:
    if not np.isfinite(found["value"]):
        return "–"
    return f"{found['value']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"


def _text(document: Mapping[str, Any]) -> str:
    error = document["calibration_error"]
    known = "unknown" if error is None else f"{error:.1%}"
    lines = [
        f"off-policy estimates of the mean return from {document['trace']}, "
        f"{document['policies'][0]['importance']['episodes']} episodes that earned "
        f"{document['recorded']:.4g} on average",
        f"  {'policy':<20}{'weighted IS (worth)':<34}{'per decision':<27}{'doubly robust':<27}"
        f"{'FQE':<14}simulator",
    ]
    for r in document["policies"]:
        worth = f"{_shown(r['importance']['value'])} ({r['importance']['effective']:.1f})"
        fqe = f"{r['fqe']['value']:.4g}{'' if r['fqe']['settled'] else ' moving'}"
        lines.append(
            f"  {r['policy']:<20}{worth:<34}{_shown(r['per_decision']['value']):<27}"
            f"{_shown(r['doubly_robust']['value']):<27}{fqe:<14}{_shown(r['simulator'])}"
        )
    ranks = ", ".join(
        f"{e.replace('_', ' ')} {a['rank_correlation']:.2f} (n = {a['n']})"
        for e, a in document["agreement"].items()
    )
    lines += [
        f"  rank correlation with the simulator: {ranks}",
        f"  simulated returns: calibration {document['calibration']}, held-out error {known}",
        "  in brackets: 95 %; (worth): episodes of equal weight; moving: FQE has not settled",
        "next: toolkit evaluate   # in the replay",
    ]
    return "\n".join(lines)
