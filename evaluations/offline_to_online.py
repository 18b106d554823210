"""Offline to online: dataset → offline policy → PPO → unseen workloads, as one pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.cells import BOUND, cells
from evaluations.metrics import UNITS
from toolkit import tracking
from toolkit.catalogue import Catalogue
from toolkit.data.dataset import Dataset, load_dataset
from toolkit.envs.registration import settings_of
from toolkit.errors import require
from toolkit.learning.ground import command
from toolkit.learning.play import GATE
from toolkit.learning.train import several, with_words
from toolkit.policies.named import roots
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.seeding import generator
from toolkit.simulator.simulator import SIMULATOR
from toolkit.statistics import Interval, bootstrap, mean
from toolkit.store import Product, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

FLOOR = "random"
"""The baseline that scores 0."""
MORE_IS_BETTER = ("throughput", "return_mean")
"""Metrics of which more is better."""


@dataclass(frozen=True, kw_only=True)
class OfflineToOnline:
    """Trains offline and from there online, and judges all of it beside known rules.

    Args:
        name: Of the experiment, and of its place in MLflow.
        dataset: What is learnt from.
        offline: Algorithms that learn from it.
        online: The algorithm that goes on from each.
        seeds: Of the trainings.
        scratch: Whether the online algorithm also begins with nothing.
        baselines: Rules beside them; the best of them on training workloads is the reference.
        also: Rules to compare with that are no reference: tuned for what is judged, or told more.
        metrics: What is compared, see ``evaluations.metrics.UNITS``; the first ranks.
        chosen_on: Training workloads that tell which baseline is the best.
        workloads: Unseen workloads that are judged on, of each ground.
        first_seed: Seed of the first of them.
        settings: Settings of algorithms that differ from their YAML, by algorithm.
        plays: Name of the scenario that the online algorithm plays, and overrides; the dataset's
            own when absent.
        judged: Grounds by name, each the name of a scenario and overrides, or None to leave it
            out; the dataset's own when absent.
    """

    name: str
    dataset: str
    offline: Sequence[str]
    online: str
    seeds: Sequence[int]
    baselines: Sequence[str]
    also: Sequence[str]
    chosen_on: int
    workloads: int
    first_seed: int
    metrics: Sequence[str] = ("latency_mean",)
    scratch: bool = False
    settings: Mapping[str, Mapping[str, Any]] | None = None
    plays: Sequence[str] | None = None
    judged: Mapping[str, Sequence[str] | None] | None = None

    def __post_init__(self) -> None:
        require(len(self.offline) > 0, "experiment.offline must name an algorithm")
        require(len(self.seeds) > 0, "experiment.seeds must name one or more")
        require(
            FLOOR in self.baselines and len(self.baselines) > 1,
            f"experiment.baselines must name {FLOOR!r}, which scores 0, and another rule",
        )
        strange = sorted(set(self.metrics) - set(UNITS))
        require(
            len(self.metrics) > 0 and not strange,
            f"experiment.metrics must name one or more of {', '.join(UNITS)}, got {strange}",
        )
        grounds = {**(self.judged or {}), "plays": self.plays}
        for name, words in grounds.items():
            named_one = words is None or len(words) > 0
            require(named_one, f"experiment: {name!r} must name a scenario first")
        require(self.workloads >= 2, "experiment.workloads must be 2 or more")
        require(self.chosen_on >= 1, "experiment.chosen_on must be 1 or more")
        require(
            self.first_seed >= 10_000,
            "experiment.first_seed must be 10000 or more: smaller ones are for training",
        )

    def run(self, cfg: DictConfig) -> Report:
        """Train, judge and record; what was trained already is not trained again."""
        data = load_dataset(self.dataset)
        arms = self._trained(cfg)
        own_name, own_words = data.card.played()
        judged: Mapping[str, Sequence[str] | None]
        judged = self.judged or {data.id: [own_name, *own_words]}
        document: dict[str, Any] = {
            "experiment": self.name,
            "dataset": data.id,
            "workloads": self.workloads,
            "grounds": {
                n: self._ground(n, w, arms, data, cfg) for n, w in judged.items() if w is not None
            },
            "stories": {
                name: [dict(p.manifest["about"]["story"]) for p in products]
                for name, products in arms.items()
            },
            "trained": {name: [p.id for p in products] for name, products in arms.items()},
            "seconds": {n: [p.manifest["about"]["seconds"] for p in ps] for n, ps in arms.items()},
        }
        return Report(document=document, text=self._text(document))

    def _trained(self, cfg: DictConfig) -> dict[str, list[Product]]:
        """Return policies by arm, one for each seed."""
        arms: dict[str, list[Product]] = {}
        told = {"dataset": self.dataset}
        words = [self._words(cfg, a, seed=s, **told) for a in self.offline for s in self.seeds]
        offline = several(words, cfg)
        if self.plays is not None:
            name, *overrides = self.plays
            scenario = settings_of(name, overrides)
            told = {"scenario": scenario, "words": [f"scenario={name}", *overrides]}
        words = [
            self._words(cfg, self.online, seed=int(p.manifest["about"]["seed"]), init=p.id, **told)
            for p in offline
        ]
        if self.scratch:
            words += [self._words(cfg, self.online, seed=s, **told) for s in self.seeds]
        online = several(words, cfg)
        count = len(self.seeds)
        if self.scratch:
            arms[self.online] = online[len(offline) :]
        for i, algo in enumerate(self.offline):
            part = slice(i * count, (i + 1) * count)
            arms[algo], arms[f"{algo} → {self.online}"] = offline[part], online[part]
        return arms

    def _words(self, cfg: DictConfig, algo: str, **words: Any) -> DictConfig:
        told = merged(Catalogue(roots()).read(f"algo/{algo}"), (self.settings or {}).get(algo, {}))
        return with_words(cfg, algo=told, experiment=None, **words)

    def _ground(
        self,
        name: str,
        words: Sequence[str],
        arms: Mapping[str, Sequence[Product]],
        data: Dataset,
        cfg: DictConfig,
    ) -> dict[str, Any]:
        """Return what all policies are worth on one ground, best first."""
        main = self.metrics[0]
        # Unseen workloads would flatter the rule that is best on them.
        before = cells(
            {n: [n] for n in self.baselines if n != FLOOR},
            words,
            range(GATE, GATE + self.chosen_on),
            cfg,
        )
        sign = -1.0 if main in MORE_IS_BETTER else 1.0
        best = min(before, key=lambda n: (sign * float(np.log(before[n][main]).mean()), n))
        names = {n: [n] for n in (*self.baselines, *self.also)}
        names |= {arm: [p.id for p in products] for arm, products in arms.items()}
        seeds = range(self.first_seed, self.first_seed + self.workloads)
        found = cells({**names, BOUND: [BOUND]}, words, seeds, cfg)
        least = found.pop(BOUND)
        rules = (best, *self.also)
        floor, top = (float(found[n]["return_mean"].mean()) for n in (FLOOR, best))
        rows = []
        for policy, played in found.items():
            frame = played.groupby("seed", as_index=False).mean(numeric_only=True)
            frame["score"] = 100 * (frame["return_mean"] - floor) / (top - floor)
            score = bootstrap(
                frame["score"].to_numpy(), generator(0, "score", self.name), statistic=mean
            )
            row = {
                "policy": policy,
                "trainings": int(played["training"].nunique()),
                "means": {m: float(frame[m].mean()) for m in UNITS if m in frame},
                "score": vars(score),
                "ratios": {
                    rule: {m: self._ratio(played, found[rule], m) for m in self.metrics}
                    for rule in rules
                },
            }
            row["by_waiting"] = by_waiting(played, found[FLOOR])
            rows.append(row)
            self._record(name, rows[-1], frame, arms.get(policy, []), data)
        rows.sort(key=lambda r: sign * float(r["ratios"][best][main]["value"]))
        return {
            "scenario": list(words),
            "best": best,
            "policies": rows,
            "bound": {
                m: {"mean": float(least[m].mean()), "ratio": self._ratio(least, found[best], m)}
                for m in self.metrics
                if m in least
            },
        }

    def _ratio(self, some: pd.DataFrame, others: pd.DataFrame, metric: str) -> dict[str, float]:
        return vars(ratio_of(some, others, metric, generator(0, "ratio", self.name)))

    def _record(
        self,
        ground: str,
        row: Mapping[str, Any],
        frame: pd.DataFrame,
        products: Sequence[Product],
        data: Dataset,
    ) -> None:
        score, alone = row["score"], self.judged is None
        tracking.log_evaluation(
            suite=self.name if alone else f"{self.name}, {ground}",
            policy=str(row["policy"]),
            metrics={
                "score": score["value"],
                "ci_low": score["low"],
                "ci_high": score["high"],
                "iqm": bootstrap(frame["score"].to_numpy(), generator(0, "iqm")).value,
                **row["means"],
            },
            params={"dataset": data.id, "trainings": row["trainings"]},
            tags={
                "engine": "simulator",
                "learned": str(bool(products)).lower(),
                "simulator": str(SIMULATOR),
                "dataset": data.id,
                "dataset_digest": data.digest[:36],
                "commit": revision(),
                "command": command(),
                "cell_key": fingerprint(
                    self.name, ground, row["policy"], data.digest, [p.digest for p in products],
                    self.workloads, self.first_seed, SIMULATOR,
                ),
            },
            cells=frame[["seed", "score", *row["means"]]],
        )  # fmt: skip

    def _text(self, document: Mapping[str, Any]) -> str:
        lines = [
            f"experiment {self.name}: learnt from {document['dataset']}, "
            f"{self.workloads} unseen workloads each"
        ]
        for name, ground in document["grounds"].items():
            lines += [f"{name}: {' '.join(ground['scenario'])}"]
            for metric in self.metrics:
                lines += self._table(ground, metric)
            lines += [
                f"  {r['policy']} waits less than {FLOOR}: {r['by_waiting']:.0%} of what it saves"
                for r in ground["policies"]
                if "wait_mean" in self.metrics and r["by_waiting"] is not None
            ]
        lines.append(
            "  of a rule: geometric mean over workloads, paired; the first is the best baseline"
            f" on training workloads. Score of returns: 0 is {FLOOR}, 100 that rule"
        )
        for name, stories in document["stories"].items():
            if any("start" in s for s in stories):
                told = "; ".join(
                    f"{s['start']:.0f} → worst {s['worst']:.0f} → {s['end']:.0f}, "
                    f"regret {s['regret']:.1%}"
                    for s in stories
                )
                lines.append(f"  {name}: return {told}")
        lines.append("next: toolkit leaderboard all=true evaluate=false")
        return "\n".join(lines)

    def _table(self, ground: Mapping[str, Any], metric: str) -> list[str]:
        """Return one metric of all policies and of the bound, as lines."""
        rules = list(ground["policies"][0]["ratios"])
        heads = "".join(f"  {f'of {rule} [95 % CI]':<28}" for rule in rules)
        lines = [f"  {metric:<20}{'trainings':>10}{'mean':>12}{heads}  score"]
        for r in ground["policies"]:
            told = "".join(f"  {_shown(r['ratios'][rule][metric]):<28}" for rule in rules)
            lines.append(
                f"  {r['policy']:<20}{r['trainings']:>10}{r['means'][metric]:>12.4g}{told}"
                f"{r['score']['value']:>7.1f}"
            )
        if metric in ground["bound"]:
            bound = ground["bound"][metric]
            lines.append(
                f"  {'(no policy beyond)':<20}{'':>10}{bound['mean']:>12.4g}"
                f"  {_shown(bound['ratio'])}"
            )
        return lines


def _shown(ratio: Mapping[str, float]) -> str:
    if not np.isfinite(ratio["value"]):
        return "–"
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with some that differ."""
    found = dict(values)
    for key, value in changes.items():
        inner = found.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return found


def ratio_of(
    some: pd.DataFrame, others: pd.DataFrame, metric: str, rng: np.random.Generator
) -> Interval:
    """Return the geometric mean over workloads of the ratio of a metric to that of another policy.

    Args:
        some: With ``seed`` and the metric, a row per workload and training.
        others: The same of the other policy.
        metric: Of which; NaN comes of one that is 0 somewhere.
        rng: Of the bootstrap over workloads; trainings are averaged within each.
    """
    with np.errstate(divide="ignore"):
        logs = [np.log(frame[metric]).groupby(frame["seed"]).mean() for frame in (some, others)]
    both = pd.concat(logs, axis=1, join="inner").to_numpy(dtype=np.float64)
    if not np.isfinite(both).all():
        return Interval(np.nan, np.nan, np.nan)
    found = bootstrap(both[:, 0] - both[:, 1], rng, statistic=mean)
    return Interval(*(float(np.exp(v)) for v in (found.value, found.low, found.high)))


def by_waiting(some: pd.DataFrame, others: pd.DataFrame) -> float | None:
    """Return which share of the mean latency that is saved is time before the first task.

    Of batches that is the starting of executors, which who does not switch is spared.

    Args:
        some: With ``wait_mean`` and ``latency_mean``.
        others: Of the policy that takes longer; None is returned where it does not.
    """
    waited, took = (float(others[m].mean() - some[m].mean()) for m in ("wait_mean", "latency_mean"))
    return waited / took if took > 0 else None
