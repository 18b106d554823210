"""Offline to online: dataset → offline policy → PPO → unseen workloads, as one pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from evaluations.metrics import measure
from toolkit import tracking
from toolkit.catalogue import Catalogue
from toolkit.data.dataset import Dataset, load_dataset
from toolkit.envs.registration import scenario_of, settings_of
from toolkit.errors import require
from toolkit.fanout import crew
from toolkit.learning.ground import command
from toolkit.learning.play import GATE, played
from toolkit.learning.train import several, with_words
from toolkit.live import chooser, rollout
from toolkit.policies.learned import Learned
from toolkit.policies.named import named, roots
from toolkit.policies.policy import Policy
from toolkit.progress import progress, say
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.simulator.simulator import SIMULATOR, Simulator
from toolkit.statistics import Interval, bootstrap, mean
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

FLOOR = "random"
"""The baseline that scores 0."""
_CHUNK = 20
"""Workloads that a worker plays at a time."""


@dataclass(frozen=True, kw_only=True)
class OfflineToOnline:
    """Trains offline and from there online, and judges all of it beside known rules.

    Args:
        name: Of the experiment, and of its place in MLflow.
        dataset: What is learnt from.
        offline: Algorithms that learn from it.
        online: The algorithm that goes on from each.
        seeds: Of the trainings.
        baselines: Rules beside them; the best of them on training workloads is the reference.
        tuned: Rules that were tuned for what is judged, and are no reference.
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
    tuned: Sequence[str]
    chosen_on: int
    workloads: int
    first_seed: int
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
        online = several(words, cfg)
        count = len(self.seeds)
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
        ground = (words[0], tuple(words[1:]))
        # Unseen workloads would flatter the rule that is best on them.
        before = _played(
            ground,
            {n: [n] for n in self.baselines if n != FLOOR},
            range(GATE, GATE + self.chosen_on),
            cfg,
        )
        best = min(before, key=lambda n: (float(np.log(before[n]["latency_mean"]).mean()), n))
        names = {n: [n] for n in (*self.baselines, *self.tuned)}
        names |= {arm: [p.id for p in products] for arm, products in arms.items()}
        seeds = range(self.first_seed, self.first_seed + self.workloads)
        cells = _played(ground, names, seeds, cfg)
        floor, top = (float(cells[n]["return_mean"].mean()) for n in (FLOOR, best))
        rows = []
        for policy, found in cells.items():
            frame = found.groupby("seed", as_index=False).mean(numeric_only=True)
            frame["score"] = 100 * (frame["return_mean"] - floor) / (top - floor)
            score = bootstrap(
                frame["score"].to_numpy(), generator(0, "score", self.name), statistic=mean
            )
            rows.append(
                {
                    "policy": policy,
                    "trainings": int(found["training"].nunique()),
                    "latency_mean": float(frame["latency_mean"].mean()),
                    "makespan": float(frame["makespan"].mean()),
                    "score": vars(score),
                    "ratios": {
                        rule: vars(ratio_of(found, cells[rule], generator(0, "ratio", self.name)))
                        for rule in (best, *self.tuned)
                    },
                }
            )
            self._record(name, rows[-1], frame, arms.get(policy, []), data)
        rows.sort(key=lambda r: float(r["ratios"][best]["value"]))
        return {"scenario": list(words), "best": best, "policies": rows}

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
                "command": command(),
                "cell_key": fingerprint(
                    self.name, ground, row["policy"], data.digest, [p.digest for p in products],
                    self.workloads, self.first_seed, SIMULATOR,
                ),
            },
            cells=frame[["seed", "score", "return_mean", "latency_mean", "makespan"]],
        )  # fmt: skip

    def _text(self, document: Mapping[str, Any]) -> str:
        lines = [
            f"experiment {self.name}: learnt from {document['dataset']}, "
            f"{self.workloads} unseen workloads each"
        ]
        for name, ground in document["grounds"].items():
            rules = list(ground["policies"][0]["ratios"])
            heads = "".join(f"  {f'of {rule} [95 % CI]':<26}" for rule in rules)
            lines.append(f"{name}: {' '.join(ground['scenario'])}")
            lines.append(f"  {'policy':<18}{'trainings':>10}{'completion, s':>15}{heads}  score")
            for r in ground["policies"]:
                told = [r["ratios"][rule] for rule in rules]
                each = [f"{t['value']:.3f} [{t['low']:.3f}, {t['high']:.3f}]" for t in told]
                lines.append(
                    f"  {r['policy']:<18}{r['trainings']:>10}{r['latency_mean']:>15.1f}"
                    f"{''.join(f'  {e:<26}' for e in each)}{r['score']['value']:>7.1f}"
                )
        lines.append(
            "  of a rule: geometric mean over workloads of mean completion time, paired; the first"
            " is the best untuned one on training workloads. Score: 0 is random, 100 that rule"
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
    ground: tuple[str, tuple[str, ...]],
    names: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    cfg: DictConfig,
) -> dict[str, pd.DataFrame]:
    """Return a row per workload and training of each arm."""
    items = [
        (arm, i, policy, *ground, list(seeds[k : k + _CHUNK]))
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
    told = _side_by_side if isinstance(policy, Learned) else _one_by_one
    rows = told(policy, scenario, seeds)
    return arm, [{"seed": s, "training": training, **r} for s, r in zip(seeds, rows, strict=True)]


def _side_by_side(
    policy: Learned, scenario: Scenario, seeds: Sequence[int]
) -> list[dict[str, float]]:
    """Play a network, which decides for many workloads at once."""
    torch.set_num_threads(1)
    policy.reset(scenario.plan(seeds[0]))
    batch = played(policy.scorer, scenario, seeds, sampled=False)
    told = [batch.metrics(i) for i in range(len(seeds))]
    return [
        {"return_mean": t["return"], "latency_mean": t["latency_mean"], "makespan": t["makespan"]}
        for t in told
    ]


def _one_by_one(policy: Policy, scenario: Scenario, seeds: Sequence[int]) -> list[dict[str, float]]:
    """Play a rule."""
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
        told = measure(episode, workload)
        rows.append({k: told[k] for k in ("return_mean", "latency_mean", "makespan")})
    return rows
