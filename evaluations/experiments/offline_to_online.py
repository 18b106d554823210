"""Offline to online: dataset → offline policy → PPO → unseen workloads, as one pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from evaluations.yardstick import FLOOR, Yardstick
from toolkit import tracking
from toolkit.catalogue import Catalogue
from toolkit.data.dataset import Dataset, load_dataset
from toolkit.envs.registration import settings_of
from toolkit.errors import require
from toolkit.learning.ground import command
from toolkit.learning.train import several, with_words
from toolkit.policies.named import roots
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.seeding import generator
from toolkit.simulator.simulator import SIMULATOR
from toolkit.statistics import bootstrap
from toolkit.store import Product, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
        baselines: See :class:`~evaluations.yardstick.Yardstick`, as for what follows.
        also: See there.
        chosen_on: See there.
        workloads: See there; of each ground.
        first_seed: See there.
        metrics: See there.
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
        _ = self.yardstick  # which refuses what makes no sense
        grounds = {**(self.judged or {}), "plays": self.plays}
        for name, words in grounds.items():
            named_one = words is None or len(words) > 0
            require(named_one, f"experiment: {name!r} must name a scenario first")

    @property
    def yardstick(self) -> Yardstick:
        """What all policies are measured by."""
        return Yardstick(
            name=self.name, baselines=self.baselines, also=self.also, metrics=self.metrics,
            chosen_on=self.chosen_on, workloads=self.workloads, first_seed=self.first_seed,
        )  # fmt: skip

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
        told: dict[str, Any] = {"dataset": self.dataset}
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
        """Measure all policies on one ground, and record it."""
        names = {arm: [p.id for p in products] for arm, products in arms.items()}
        told, frames = self.yardstick.measure(words, names, cfg)
        for row in told["policies"]:
            policy = row["policy"]
            self._record(name, row, frames[policy], arms.get(policy, []), data)
        return told

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
            lines += [f"{name}: {' '.join(ground['scenario'])}", *self.yardstick.text(ground)]
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


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with some that differ."""
    found = dict(values)
    for key, value in changes.items():
        inner = found.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        found[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return found
