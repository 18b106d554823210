"""Learners: algorithms trained side by side on the same grounds, and what that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.experiments.arms import Arm, Followed, followed, trained
from evaluations.experiments.curves import against, disagreements, learning_curves
from evaluations.experiments.offline_to_online import merged
from evaluations.experiments.stability import disagreement, drawdown
from evaluations.experiments.statements import Ground, Question
from evaluations.metrics import MORE_IS_BETTER, UNITS
from evaluations.verdicts.comparison import Compared, compared
from evaluations.verdicts.part import percent
from evaluations.verdicts.report import Picture, Produced, Table, interval, publish
from evaluations.verdicts.sizes import require_size
from toolkit import tracking
from toolkit.envs.registration import scenario_of
from toolkit.errors import require, unknown
from toolkit.policies.learned import found as learnt
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.seeding import GATE, generator
from toolkit.simulator.simulator import SIMULATOR
from toolkit.statistics import Interval, bootstrap, mean
from toolkit.store import fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where arms play, and what all policies are judged on.

    Args:
        plays: Name of the scenario, and overrides.
        drift: What is played before, see ``curriculum`` of ``toolkit train``.
        discount_seconds: τ; None leaves it to the scenario.
    """

    plays: Sequence[str]
    drift: Sequence[Mapping[str, Any]] = ()
    discount_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Something of the scenario that is varied, without training anew.

    Args:
        ground: On which.
        what: In words.
        setting: Word of the scenario, e.g. ``scenario.cv``.
        values: Ascending.
    """

    ground: str
    what: str
    setting: str
    values: Sequence[float]

    def __post_init__(self) -> None:
        told = list(self.values)
        require(
            len(told) >= 2 and told == sorted(set(told)),
            f"experiment.levels.values must ascend, two or more, got {told}",
        )
        require(
            self.setting.startswith("scenario."),
            f"experiment.levels.setting must begin with scenario., got {self.setting!r}",
        )


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained and played.

    Args:
        seeds: Trainings of each arm.
        watch: Training workloads that are played at every point of a learning curve.
        chosen_on: Training workloads that tell which rule is the best.
        workloads: Unseen workloads.
        settings: Settings that differ from ``conf/algo``, by algorithm.
        dataset: What arms learn from that learn from a dataset; "" for none.
        overrides: Of the scenarios of all grounds.
        credit: Training workloads on which choices of single process types are replaced, see
            :mod:`evaluations.experiments.credit`; 0 leaves that out.
    """

    seeds: int
    watch: int
    chosen_on: int
    workloads: int
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dataset: str = ""
    overrides: Sequence[str] = ()
    credit: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("seeds", 1), ("watch", 1), ("chosen_on", 1), ("workloads", 2), ("credit", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= least, f"experiment.sizes: {name} must be {least} or more")


@dataclass(frozen=True, kw_only=True)
class Learners:
    """Algorithms trained side by side on the same grounds, and what that answers.

    Args:
        name: Of the experiment.
        title: Of its report.
        about: What it is about, a paragraph each.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        grounds: By name.
        arms: By name: ``algo`` and what differs from its YAML in ``settings``; ``init`` to go on
            from another arm; ``offline: true`` to learn from the dataset of the size.
        rivals: Rules of which the best on training workloads is what all are compared with.
        rules: Others.
        also: Of these and the arms, those that ratios are told to beside the best rule.
        metrics: What is compared; the first ranks.
        questions: What is to be answered.
        first_seed: Seed of the first unseen workload.
        levels: What is varied on one of the grounds; None for nothing.
    """

    name: str
    title: str
    about: Sequence[str]
    size: str
    sizes: Mapping[str, Size]
    grounds: Mapping[str, Place]
    arms: Mapping[str, Mapping[str, Any]]
    rivals: Sequence[str]
    metrics: Sequence[str]
    questions: Sequence[Question]
    first_seed: int
    rules: Sequence[str] = ()
    also: Sequence[str] = ()
    levels: Levels | None = None

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed, "experiment")
        strange = [m for m in self.metrics if m not in UNITS]
        require(
            len(self.metrics) > 0 and not strange,
            f"experiment.metrics must name one or more of {', '.join(UNITS)}, got {strange}",
        )
        require(len(self.rivals) > 0, "experiment.rivals must name a rule")
        require(len(self.arms) > 0, "experiment.arms must name an arm")
        for other in self.also:
            known = [*self.rivals, *self.rules, *self.arms]
            if other not in known:
                raise unknown("arm or rule", other, known)
        if self.levels is not None and self.levels.ground not in self.grounds:
            raise unknown("ground", self.levels.ground, self.grounds)
        for name, place in self.grounds.items():
            _ = self._arms(name, place)  # which refuses what makes no sense

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return f"toolkit train +experiment={self.name}" + (
            "" if self.size == "full" else f" experiment.size={self.size}"
        )

    def run(self, cfg: DictConfig) -> Report:
        """Train, judge and report; what was trained or played already is not again."""
        size = self.sizes[self.size]
        every = {
            (ground, name): arm
            for ground, place in self.grounds.items()
            for name, arm in self._arms(ground, place).items()
        }
        made = trained(
            {_joined(*key): arm for key, arm in every.items()},
            {_joined(*key): range(size.seeds) for key in every},
            size.watch,
            cfg,
        )
        found = {}
        for ground, place in self.grounds.items():
            told = {a: [followed(p) for p in made[_joined(ground, a)]] for a in self.arms}
            played = self._played(self._plays(place), told, cfg)
            found[ground] = Ground(followed=told, played=played)
            self._record(ground, found[ground])
        parts = [self._of(ground, one) for ground, one in found.items()]
        if size.credit > 0:
            parts += [([self._credit(ground, one)], []) for ground, one in found.items()]
        if self.levels is not None:
            parts.append(self._varied(self.levels, found[self.levels.ground], cfg))
        stated = [q.stated for q in self.questions]
        produced = Produced(
            suite=self.name,
            title=self.title,
            size=self.size,
            command=self.command,
            about=[*self.about, *self._about(size, found)],
            tables=[t for tables, _ in parts for t in tables],
            pictures=[p for _, pictures in parts for p in pictures],
            findings=[q.answer(found, self.command) for q in self.questions],
        )
        return publish(produced, stated)

    def _arms(self, ground: str, place: Place) -> dict[str, Arm]:
        size = self.sizes[self.size]
        arms = {}
        for name, told in self.arms.items():
            words = dict(told)
            offline = bool(words.pop("offline", False))
            require(
                not offline or bool(size.dataset),
                f"{name} learns from a dataset, and the size {self.size} names none",
            )
            words["settings"] = merged(
                size.settings.get(words["algo"], {}), words.get("settings", {})
            )
            if words.get("init") in self.arms:
                words["init"] = _joined(ground, words["init"])
            where: dict[str, Any] = {"dataset": size.dataset} if offline else {
                "plays": self._plays(place), "drift": place.drift,
                "discount_seconds": place.discount_seconds,
            }  # fmt: skip
            arms[name] = Arm(**words, **where)
        return arms

    def _plays(self, place: Place) -> list[str]:
        return [*place.plays, *self.sizes[self.size].overrides]

    def _played(
        self, words: Sequence[str], told: Mapping[str, Sequence[Followed]], cfg: DictConfig
    ) -> Compared:
        size = self.sizes[self.size]
        arms = {n: [n] for n in (*self.rivals, *self.rules)}
        arms |= {a: [f.policy for f in each] for a, each in told.items()}
        seeds = range(self.first_seed, self.first_seed + size.workloads)
        return compared(words, arms, self.rivals, size.chosen_on, seeds, cfg)

    def _varied(
        self, levels: Levels, ground: Ground, cfg: DictConfig
    ) -> tuple[list[Table], list[Picture]]:
        """Return what arms gain over the best rule at every level."""
        metric, words = self.metrics[0], self._plays(self.grounds[levels.ground])
        gains: dict[str, list[Interval]] = {arm: [] for arm in self.arms}
        rows = []
        for value in levels.values:
            played = self._played([*words, f"{levels.setting}={value}"], ground.followed, cfg)
            best = played.best(metric)
            row: dict[str, Any] = {levels.what: value, "best rule": best}
            for arm, found in gains.items():
                found.append(played.gain(arm, best, metric))
                row[f"{arm} saves"] = percent(found[-1])
            rows.append(
                {**row, "no policy saves more than": percent(played.possible(best, metric))}
            )
        table = Table(
            caption=f"{levels.ground}: {metric} saved against the best rule as {levels.what} "
            "varies, policies as they are.",
            frame=pd.DataFrame(rows),
        )
        picture = Picture(
            name="levels",
            caption=f"{metric} saved as {levels.what} grows, with 95 % intervals.",
            draw=partial(against, levels.what, levels.values, gains, metric),
        )
        return [table], [picture]

    def _credit(self, name: str, ground: Ground) -> Table:
        """Return what the choices of single process types do to the return that all share."""
        from evaluations.experiments.credit import choosing_of, credit

        workloads = self.sizes[self.size].credit
        place, rows = self.grounds[name], []
        words = self._plays(place)
        scenario = scenario_of(words[0], words[1:])
        require(
            place.discount_seconds is not None,
            f"experiment.grounds.{name}: credit needs discount_seconds",
        )
        for arm, each in ground.followed.items():
            choosing = choosing_of(learnt(each[0].policy).network)
            told = credit(
                choosing, scenario, range(GATE, GATE + workloads),
                discount_seconds=float(place.discount_seconds or 0),
            )  # fmt: skip
            rows.append(
                {"arm": arm} | {c.agent: f"{c.difference:.3g} ({c.share:.2%})" for c in told}
            )
        return Table(
            caption=f"{name}: by how much the discounted return differs on average where one "
            "choice of one process type is replaced, those of the others and all luck being the "
            "same, and in brackets the share of the variance of returns that this is; first "
            f"training of each arm, {workloads} training workloads, 4 instants each.",
            frame=pd.DataFrame(rows),
        )

    def _of(self, name: str, ground: Ground) -> tuple[list[Table], list[Picture]]:
        """Return tables and pictures of a ground."""
        where = f"`{' '.join(ground.played.ground)}`"
        tables = [
            Table(
                caption=f"{name}: {metric} ({UNITS[metric]}) on unseen workloads of {where}; the "
                "best rule is chosen on training workloads; geometric means of ratios, paired by "
                "workload, trainings averaged within each, 95 % intervals over workloads.",
                frame=ground.played.ranking(metric, metric, self.also),
            )
            for metric in self.metrics
        ]
        tables.append(
            Table(
                caption=f"{name}: trainings. The return is that of the policy's best slots on the "
                "same training workloads, with its 95 % interval (t) over trainings; the mean fall "
                "from the best so far is over the points of the curve; the variance of values is "
                f"over trainings, averaged over {_probes(ground)} states that draws pass through.",
                frame=pd.DataFrame([_row(a, each) for a, each in ground.followed.items()]),
            )
        )
        panels = self._panels(ground)
        rules = {
            r: float(ground.played.before[r]["return_mean"].mean()) for r in ground.played.before
        }
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

    def _panels(self, ground: Ground) -> dict[str, dict[str, Sequence[Followed]]]:
        panels: dict[str, dict[str, Sequence[Followed]]] = {}
        for arm, each in ground.followed.items():
            label = "gradient steps" if self.arms[arm].get("offline") else "decisions taken"
            panels.setdefault(label, {})[arm] = each
        return panels

    def _about(self, size: Size, found: Mapping[str, Ground]) -> list[str]:
        seconds = {
            f.policy: f.seconds
            for ground in found.values()
            for each in ground.followed.values()
            for f in each
        }
        lines = [
            f"{size.seeds} trainings of each arm, {size.workloads} unseen workloads of each ground "
            f"from seed {self.first_seed} on, the best rule chosen on {size.chosen_on} training "
            f"workloads. All trainings took {sum(seconds.values()) / 60:.0f} minutes of wall "
            "clock, added up."
        ]
        for name, place in self.grounds.items():
            before = "".join(
                f" until {d['until']:g} of it `{' '.join(d['overrides']) or 'as it is'}`,"
                for d in place.drift
            )
            told = f"trained there,{before} then on what is judged" if before else "trained there"
            lines.append(f"{name}: `{' '.join(self._plays(place))}`; {told}.")
        return lines

    def _record(self, name: str, ground: Ground) -> None:
        """Log a run for each arm of a ground."""
        played, main = ground.played, self.metrics[0]
        best = played.best(main)
        for arm, each in ground.followed.items():
            frame = played.cells[arm].groupby("seed", as_index=False).mean(numeric_only=True)
            # 100 where it is as good as the best rule, more where it is better.
            frame["score"] = 100 * np.exp(-played.logs(arm, best, main).mean(axis=0))
            if main in MORE_IS_BETTER:
                frame["score"] = 1e4 / frame["score"]
            score = bootstrap(frame["score"].to_numpy(), generator(0, "score"), statistic=mean)
            means = {m: float(frame[m].mean()) for m in UNITS if m in frame}
            tracking.log_evaluation(
                suite=f"{self.name}, {name}",
                policy=arm,
                metrics={
                    "score": score.value, "ci_low": score.low, "ci_high": score.high,
                    "iqm": bootstrap(frame["score"].to_numpy(), generator(0, "iqm")).value, **means,
                },
                params={"trainings": len(each), "of": best, "size": self.size},
                tags={
                    "engine": "simulator",
                    "learned": "true",
                    "simulator": str(SIMULATOR),
                    "dataset": self.sizes[self.size].dataset,
                    "commit": revision(),
                    "command": self.command,
                    "cell_key": fingerprint(
                        self.name, name, arm, [f.policy for f in each], SIMULATOR, self.size
                    ),
                },
                cells=frame[["seed", "score", *means]],
            )  # fmt: skip


def _joined(ground: str, arm: str) -> str:
    return f"{ground}: {arm}"


def _has_values(each: Sequence[Followed]) -> bool:
    return all(f.worth is not None for f in each)


def _probes(ground: Ground) -> int:
    return max(len(f.probes) for each in ground.followed.values() for f in each)


def _row(arm: str, each: Sequence[Followed]) -> dict[str, Any]:
    from scipy.stats import t

    ends = np.array([f.returns[-1] for f in each])
    half = float("nan")
    if len(each) > 1:
        half = float(t.ppf(0.975, len(each) - 1)) * ends.std(ddof=1) / np.sqrt(len(each))
    values = np.stack([f.values for f in each])
    varied = disagreement(values) if len(each) > 1 else float("nan")
    return {
        "arm": arm,
        "trainings": len(each),
        "decisions or steps": int(each[0].decisions[-1]),
        "seconds each": float(np.mean([f.seconds for f in each])),
        "return in the end": interval(ends.mean(), ends.mean() - half, ends.mean() + half, 2),
        "mean of the curve": float(np.mean([f.returns.mean() for f in each])),
        "mean fall from the best so far": float(np.mean([drawdown(f.returns) for f in each])),
        "variance of values": varied,
        "by variance of returns": varied / float(each[0].probes.var(ddof=1)),
    }
