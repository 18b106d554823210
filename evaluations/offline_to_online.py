"""Offline to online: dataset → offline policy → PPO → unseen workloads, as one pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.metrics import measure
from toolkit import tracking
from toolkit.catalogue import Catalogue
from toolkit.data.dataset import Dataset, load_dataset
from toolkit.envs.registration import scenario_of
from toolkit.errors import require
from toolkit.fanout import crew
from toolkit.learning.play import GATE
from toolkit.learning.train import several, with_words
from toolkit.live import chooser, rollout
from toolkit.policies.named import named, roots
from toolkit.progress import progress, say
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.seeding import generator
from toolkit.simulator.simulator import SIMULATOR, Simulator
from toolkit.statistics import Interval, bootstrap, mean
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CHUNK = 10
"""Workloads that a worker plays at a time."""


@dataclass(frozen=True, kw_only=True)
class OfflineToOnline:
    """Trains offline and from there online, and judges all of it beside known rules.

    Args:
        name: Of the experiment, and of its place in MLflow.
        dataset: What is learnt from; its environment is what is played.
        offline: Algorithms that learn from it.
        online: The algorithm that goes on from each.
        seeds: Of the trainings.
        settings: Settings of algorithms that differ from their YAML, by algorithm.
        baselines: Rules beside them.
        chosen_on: Training workloads that tell which baseline is the best.
        workloads: Unseen workloads that are judged on.
        first_seed: Seed of the first of them.
    """

    name: str
    dataset: str
    offline: Sequence[str]
    online: str
    seeds: Sequence[int]
    baselines: Sequence[str]
    chosen_on: int
    workloads: int
    first_seed: int
    settings: Mapping[str, Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        require(len(self.offline) > 0, "experiment.offline must name an algorithm")
        require(len(self.seeds) > 0, "experiment.seeds must name one or more")
        require(len(self.baselines) > 0, "experiment.baselines must name one or more")
        require(self.workloads >= 2, "experiment.workloads must be 2 or more")
        require(self.chosen_on >= 1, "experiment.chosen_on must be 1 or more")
        require(
            self.first_seed >= 10_000,
            "experiment.first_seed must be 10000 or more: smaller ones are for training",
        )

    def run(self, cfg: DictConfig) -> Report:
        """Train, judge and record; what is there already is not made again."""
        data = load_dataset(self.dataset)
        arms: dict[str, list[Product]] = {}
        words = [self._words(cfg, a, seed=s) for a in self.offline for s in self.seeds]
        offline = several(words, cfg)
        count = len(self.seeds)
        for i, algo in enumerate(self.offline):
            arms[algo] = offline[i * count : (i + 1) * count]
        words = [
            self._words(cfg, self.online, seed=int(p.manifest["about"]["seed"]), init=p.id)
            for p in offline
        ]
        online = several(words, cfg)
        for i, algo in enumerate(self.offline):
            arms[f"{algo} → {self.online}"] = online[i * count : (i + 1) * count]
        best = self._best(data, cfg)
        judged = self._judged(data, arms, cfg)
        rows = [self._row(name, cells, judged[best], data) for name, cells in judged.items()]
        rows.sort(key=lambda r: float(r["ratio"]["value"]))
        for row in rows:
            self._record(row, judged[row["policy"]], arms.get(row["policy"], []), data)
        stories = {
            name: [dict(p.manifest["about"]["story"]) for p in products]
            for name, products in arms.items()
        }
        document = {
            "experiment": self.name,
            "dataset": data.id,
            "best": best,
            "policies": rows,
            "stories": stories,
            "seconds": {n: [p.manifest["about"]["seconds"] for p in ps] for n, ps in arms.items()},
        }
        return Report(document=document, text=self._text(document))

    def _words(self, cfg: DictConfig, algo: str, **words: Any) -> DictConfig:
        told = merged(Catalogue(roots()).read(f"algo/{algo}"), (self.settings or {}).get(algo, {}))
        return with_words(cfg, algo=told, dataset=self.dataset, experiment=None, **words)

    def _best(self, data: Dataset, cfg: DictConfig) -> str:
        """Return the best baseline on training workloads; unseen ones would flatter it."""
        seeds = range(GATE, GATE + self.chosen_on)
        told = _played(data, {n: [n] for n in self.baselines}, seeds, cfg)
        return min(told, key=lambda n: (float(np.log(told[n]["latency_mean"]).mean()), n))

    def _judged(
        self, data: Dataset, arms: Mapping[str, Sequence[Product]], cfg: DictConfig
    ) -> dict[str, pd.DataFrame]:
        seeds = range(self.first_seed, self.first_seed + self.workloads)
        names = {n: [n] for n in self.baselines}
        names |= {arm: [p.id for p in products] for arm, products in arms.items()}
        return _played(data, names, seeds, cfg)

    def _row(
        self, name: str, cells: pd.DataFrame, best: pd.DataFrame, data: Dataset
    ) -> dict[str, Any]:
        ratio = ratio_of(cells, best, generator(0, "ratio", self.name))
        means = cells.groupby("seed")["return_mean"].mean().to_numpy(dtype=np.float64)
        scores = np.array([data.card.score(v) for v in means])
        score = bootstrap(scores, generator(0, "score", self.name), statistic=mean)
        return {
            "policy": name,
            "trainings": int(cells["training"].nunique()),
            "latency_mean": float(cells["latency_mean"].mean()),
            "makespan": float(cells["makespan"].mean()),
            "ratio": vars(ratio),
            "score": vars(score),
        }

    def _record(
        self,
        row: Mapping[str, Any],
        cells: pd.DataFrame,
        products: Sequence[Product],
        data: Dataset,
    ) -> None:
        frame = cells.groupby("seed", as_index=False).mean(numeric_only=True)
        frame["score"] = [data.card.score(v) for v in frame["return_mean"]]
        score = row["score"]
        tracking.log_evaluation(
            suite=self.name,
            policy=str(row["policy"]),
            metrics={
                "score": score["value"],
                "ci_low": score["low"],
                "ci_high": score["high"],
                "iqm": bootstrap(frame["score"].to_numpy(), generator(0, "iqm")).value,
                "latency_mean": float(row["latency_mean"]),
                "return_mean": float(frame["return_mean"].mean()),
            },
            params={"dataset": data.id, "trainings": row["trainings"]},
            tags={
                "engine": "simulator",
                "learned": str(bool(products)).lower(),
                "simulator": str(SIMULATOR),
                "dataset": data.id,
                "dataset_digest": data.digest[:36],
                "commit": revision(),
                "command": "toolkit train +experiment=offline_to_online",
                "cell_key": fingerprint(
                    self.name, row["policy"], data.digest, [p.digest for p in products],
                    self.workloads, self.first_seed, SIMULATOR,
                ),
            },
            cells=frame[["seed", "score", "return_mean", "latency_mean", "makespan"]],
        )  # fmt: skip

    def _text(self, document: Mapping[str, Any]) -> str:
        best = document["best"]
        lines = [
            f"experiment {self.name}: {document['dataset']}, {self.workloads} unseen workloads",
            f"  {'policy':<18}{'trainings':>10}{'completion, s':>15}"
            f"  of {best} [95 % CI]{'':<6}{'score':>7}",
        ]
        for r in document["policies"]:
            of = r["ratio"]
            told = f"{of['value']:.3f} [{of['low']:.3f}, {of['high']:.3f}]"
            lines.append(
                f"  {r['policy']:<18}{r['trainings']:>10}{r['latency_mean']:>15.1f}  {told:<24}"
                f"{r['score']['value']:>9.1f}"
            )
        lines.append(
            f"  of {best}: geometric mean over workloads of mean completion time, paired; it was"
            " chosen on training workloads"
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


def ratio_of(cells: pd.DataFrame, best: pd.DataFrame, rng: np.random.Generator) -> Interval:
    """Return the geometric mean of mean completion times over those of another policy.

    Args:
        cells: With ``seed``, ``training`` and ``latency_mean``, s.
        best: The same of the other.
        rng: Of the bootstrap over workloads; trainings are averaged within each.
    """
    logs = [np.log(frame["latency_mean"]).groupby(frame["seed"]).mean() for frame in (cells, best)]
    both = pd.concat(logs, axis=1, join="inner").to_numpy(dtype=np.float64)
    found = bootstrap(both[:, 0] - both[:, 1], rng, statistic=mean)
    return Interval(*(float(np.exp(v)) for v in (found.value, found.low, found.high)))


def _played(
    data: Dataset, names: Mapping[str, Sequence[str]], seeds: Sequence[int], cfg: DictConfig
) -> dict[str, pd.DataFrame]:
    """Return a row per workload and training of each arm."""
    name, overrides = data.card.played()
    items = [
        (arm, i, policy, name, tuple(overrides), list(seeds[k : k + _CHUNK]))
        for arm, policies in names.items()
        for i, policy in enumerate(policies)
        for k in range(0, len(seeds), _CHUNK)
    ]
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in names}
    say(f"{len(items)} times {min(_CHUNK, len(seeds))} episodes are to be played")
    with (
        progress("playing unseen workloads", len(items), "pieces") as bar,
        crew(str(cfg.executor), cfg.workers, cfg.ray.address) as hand_out,
    ):
        for arm, found in hand_out(_episodes, items):
            rows[arm].extend(found)
            bar.update(note=arm)
    return {
        arm: pd.DataFrame(found).sort_values(["training", "seed"]).reset_index(drop=True)
        for arm, found in rows.items()
    }


def _episodes(
    item: tuple[str, int, str, str, tuple[str, ...], list[int]],
) -> tuple[str, list[dict[str, Any]]]:
    """Play one policy on some workloads, in a process of its own."""
    arm, training, policy_name, scenario_name, overrides, seeds = item
    scenario = scenario_of(scenario_name, overrides)
    policy = named(policy_name, Store()).policy
    rows = []
    for seed in seeds:
        workload = scenario.plan(seed)
        policy.reset(workload)
        episode = rollout(
            Simulator(scenario, seed),
            workload,
            chooser(policy, seed),
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        rows.append({"seed": seed, "training": training, **measure(episode, workload)})
    return arm, rows
