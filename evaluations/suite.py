"""Suite: which policies meet which workloads, and what their scores are measured against."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from evaluations.as_recorded import as_recorded
from evaluations.cells import BOUND, REPLAY, cells, settings_of
from evaluations.contestant import contestant_in, contestant_of
from evaluations.judged import Judged, compare, judge, means, scored
from evaluations.metrics import UNITS
from evaluations.record import record
from evaluations.source import Source, error_of
from toolkit import reward
from toolkit import trace as traces
from toolkit.calibration.ensure import ensure as calibrated
from toolkit.errors import require
from toolkit.features.observe import FEATURISER
from toolkit.report import Report
from toolkit.seeding import GATE
from toolkit.simulator.recorded import replayable
from toolkit.simulator.simulator import SIMULATOR
from toolkit.store import Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SHOWN = ("return_mean", "latency_mean", "latency_p95", "throughput", "cost", "max_queue")


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What resources cost, US dollars.

    Args:
        cpu_hour: Of a cpu for an hour.
        gib_hour: Of a GiB of memory for an hour.
        gpu_hour: Of a GPU for an hour.
    """

    cpu_hour: float
    gib_hour: float
    gpu_hour: float

    def of(self, frame: pd.DataFrame) -> pd.Series:
        """Return dollars per pipeline of cells with seconds of cpus, GiB and GPUs."""
        hourly = [self.cpu_hour, self.gib_hour, self.gpu_hour]
        seconds = frame[["cpu_seconds", "gib_seconds", "gpu_seconds"]]
        return (seconds * hourly).sum(axis=1) / 3600


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Policies judged on the same unseen workloads.

    The normalised score of a cell is its return above that of ``floor`` on the same workload,
    in hundredths of the mean distance from ``floor`` to ``reference`` on that ground: the floor
    scores 0, the reference 100 in the mean. Both are part of every evaluation.

    Args:
        name: Name of the suite and of its MLflow experiment.
        engine: ``simulator``: unseen workloads of scenarios or of the calibrated replay;
            ``recorded``: the runs of a trace as they really happened.
        scenarios: Grounds, each the name of a scenario and overrides, separated by spaces; the
            replay calibrated on a trace when empty.
        policies: Names of the policies, or ``module:function``; on ``recorded`` those of the
            trace when empty.
        first_seed: Seed of the first workload; recordings and trainings use small seeds, so that
            these are unseen.
        seeds: Number of workloads of each ground.
        floor: Policy that scores 0.
        reference: Policy that scores 100 in the mean.
        chosen_on: Training workloads on which the best heuristic is chosen; 0: not chosen here.
        prices: Of resources, US dollars.
    """

    name: str
    engine: str
    policies: Sequence[str]
    first_seed: int
    seeds: int
    floor: str
    reference: str
    scenarios: Sequence[str] = ()
    chosen_on: int = 0
    prices: Mapping[str, float] = field(
        # List prices of AWS Fargate (us-east-1, Linux, x86) and of a T4 at Google, on demand.
        default_factory=lambda: {"cpu_hour": 0.04048, "gib_hour": 0.004445, "gpu_hour": 0.35}
    )

    def __post_init__(self) -> None:
        require(
            self.engine in ("simulator", "recorded"),
            f"suite.engine must be 'simulator' or 'recorded', got {self.engine!r}",
        )
        require(self.seeds >= 2, f"suite.seeds must be at least 2, got {self.seeds}")
        require(
            self.first_seed >= 1000,
            f"suite.first_seed must be 1000 or more, got {self.first_seed}: smaller seeds are "
            "those of recordings",
        )
        require(self.floor != self.reference, "suite.floor and suite.reference must differ")
        require(self.chosen_on >= 0, f"suite.chosen_on must be 0 or more, got {self.chosen_on}")
        require(
            self.chosen_on == 0 or not GATE <= self.first_seed < GATE + self.chosen_on,
            f"suite.first_seed must not lie among the training workloads from {GATE} on",
        )
        Prices(**self.prices)

    def run(self, cfg: DictConfig) -> Report:
        """Judge the policies, record one MLflow run for each, and report."""
        judged, source = self.judged(cfg)
        pairs = compare(judged)
        document = {
            "suite": self.name,
            "engine": self.engine,
            "calibration": source.calibration,
            "calibration_error": source.error,
            "policies": [
                {
                    "policy": j.policy,
                    "learned": j.by.learned,
                    "score": asdict(j.score),
                    "iqm": j.iqm,
                    "failures": list(j.failures),
                    **means(j.cells),
                }
                for j in judged
            ],
            "pairs": pairs,
            "units": dict(UNITS),
        }
        return Report(document=document, text=_text(self, judged, pairs, source))

    def judged(self, cfg: DictConfig) -> tuple[list[Judged], Source]:
        """Judge policies and record one MLflow run per policy.

        Args:
            cfg: Of the command: ``trace``, ``executor``, ``workers``, ``ray`` and ``force``.

        Returns:
            What was judged, best first and what failed last, and where it was played.
        """
        store = Store()
        if self.engine == "recorded":
            judged, source = self._recorded(str(cfg.trace), store)
        else:
            judged, source = self._simulated(cfg, store)
        for one in judged:
            record(self.name, one, source, settings=asdict(self), force=bool(cfg.force))
        return sorted(judged, key=lambda j: (bool(j.failures), -j.score.value, j.policy)), source

    def _simulated(self, cfg: DictConfig, store: Store) -> tuple[list[Judged], Source]:
        source = self._source(cfg, store)
        names = list(dict.fromkeys([*self.policies, self.floor, self.reference]))
        found = {n: contestant_of(n, store) for n in names}
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        played = self._played(names, source, seeds, cfg, bound=True)
        rules = [n for n in names if not found[n].learned]
        chosen = {}
        if self.chosen_on:
            training = range(GATE, GATE + self.chosen_on)
            met = scored(
                self._played(rules, source, training, cfg, bound=False), self.floor, self.reference
            )
            chosen = {n: float(frame["score"].mean()) for n, frame in met.items()}
        # A score depends on its ends too, so their keys are part of every key.
        ends = [found[self.floor].key, found[self.reference].key]
        told = asdict(self) | {"policies": None}
        rest = [told, SIMULATOR, FEATURISER, reward.VERSION, source.keys, ends]
        judged = [
            judge(
                found[n],
                fingerprint(rest, found[n].key),
                frame,
                chosen=chosen.get(n, float("nan")),
            )
            for n, frame in scored(played, self.floor, self.reference).items()
        ]
        return judged, source

    def _source(self, cfg: DictConfig, store: Store) -> Source:
        if self.scenarios:
            grounds = {words: tuple(shlex.split(words)) for words in self.scenarios}
            return Source(
                engine="simulator", grounds=grounds,
                keys=[settings_of(words, store) for words in grounds.values()],
            )  # fmt: skip
        recording = replayable(store, str(cfg.trace))
        product = calibrated(store, recording)
        return Source(
            engine="simulator",
            grounds={REPLAY: (REPLAY, product.id)},
            keys=[product.digest],
            trace=recording.id,
            calibration=product.id,
            error=error_of(product),
        )

    def _played(
        self,
        names: Sequence[str],
        source: Source,
        seeds: Sequence[int],
        cfg: DictConfig,
        *,
        bound: bool,
    ) -> dict[str, pd.DataFrame]:
        """Return the cells of some policies on all grounds."""
        arms = {n: [n] for n in names} | ({BOUND: [BOUND]} if bound else {})
        frames: dict[str, list[pd.DataFrame]] = {n: [] for n in names}
        for task, words in source.grounds.items():
            met = cells(arms, words, seeds, cfg)
            least = met.pop(BOUND).set_index("seed")["response_time"] if bound else None
            for n, frame in met.items():
                more: dict[str, Any] = {"task": task}
                if "return_mean" in frame:
                    more["money"] = Prices(**self.prices).of(frame)
                    if least is not None:
                        more["of_bound"] = frame["response_time"] / frame["seed"].map(least)
                frames[n].append(frame.drop(columns="training").assign(**more))
        return {n: pd.concat(parts, ignore_index=True) for n, parts in frames.items()}

    def _recorded(self, trace: str, store: Store) -> tuple[list[Judged], Source]:
        recording = replayable(store, trace)
        product = calibrated(store, recording)
        source = Source(
            engine=str(traces.read(recording.path).provenance["source"]), grounds={},
            keys=[recording.digest], trace=recording.id,
            calibration=product.id, error=error_of(product),
        )  # fmt: skip
        ends = [self.floor, self.reference]
        # The trace says which artefact ran; a newer one of the same name did not.
        artefacts = recording.manifest["about"].get("artefacts", {})
        judged = []
        for n, frame in scored(as_recorded(recording), self.floor, self.reference).items():
            artefact = store.get("policies", artefacts[n]) if n in artefacts else None
            key = fingerprint(recording.digest, n, ends)
            judged.append(judge(contestant_in(n, artefact), key, frame))
        return judged, source


def _text(
    suite: Suite, judged: Sequence[Judged], pairs: Sequence[Mapping[str, Any]], source: Source
) -> str:
    head = f"  {'policy':<24}{'score':>8} {'95 % CI':<18}" + "".join(f"{n:>14}" for n in _SHOWN)
    grounds = f" on each of {len(source.grounds)} grounds" if len(source.grounds) > 1 else ""
    played = judged[0].cells["seed"].nunique()
    lines = [f"suite {suite.name}, {suite.engine}, {played} workloads{grounds}", head]
    for j in judged:
        if j.failures:
            lines.append(
                f"  {j.policy:<24}  failed in {len(j.failures)} of {len(j.cells)} cells: "
                f"{j.failures[0]}"
            )
            continue
        interval = f"[{j.score.low:.1f}, {j.score.high:.1f}]"
        numbers = "".join(
            f"{j.cells[n].mean():>14.3f}" if n in j.cells else f"{'–':>14}" for n in _SHOWN
        )
        lines.append(f"  {j.policy:<24}{j.score.value:>8.1f} {interval:<18}{numbers}")
    differ = sum(bool(p["differ"]) for p in pairs)
    lines.append(
        f"  mean latency differs beyond noise in {differ} of {len(pairs)} pairs of policies"
    )
    if source.calibration and suite.engine == "simulator":
        lines.append(
            f"  simulated; calibration {source.calibration}: held-out makespan error "
            f"{source.error:.1%}"
        )
    elif suite.engine == "simulator":
        lines.append("  simulated; a scenario as it is declared, calibrated on no cluster")
    lines.append("next: toolkit leaderboard")
    return "\n".join(lines)
