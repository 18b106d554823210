"""Real: a replay's predictions of a real engine, sealed before the engine has run.

Training runs are recorded first. Then each policy is predicted on workloads that nobody has run,
by a calibration that was fitted on the runs of the *other* policies, and the predictions are
committed with their digests. Only then do the policies meet these workloads on the engine,
several times each and in turns, so that what drifts on the machine meets all alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluations import fidelity as report
from evaluations import gains
from evaluations.recording import recorded
from toolkit import trace as traces
from toolkit.calibration import fidelity
from toolkit.calibration.agreement import Check, policies_agree, summarise
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.predict import METRICS, Naive, predict, real
from toolkit.calibration.runs import Runs
from toolkit.calibration.search import Effort, search
from toolkit.catalogue import Catalogue
from toolkit.errors import ConfigError, require
from toolkit.policies.learned import Taught
from toolkit.policies.named import Named, named, roots
from toolkit.progress import progress, say
from toolkit.report import Report
from toolkit.seeding import generator
from toolkit.store import Product, Store, fingerprint, write_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

SEALED = "sealed.json"
REPORT = "report.json"
_NEED = 0.5
"""Share of the way from the naive error to the noise floor that must be gone."""


@dataclass(frozen=True, kw_only=True)
class RealSuite:
    """Policies on a real engine, beside what a replay said of them before.

    Args:
        name: Name of the suite.
        collector: Which of ``conf/collector`` records.
        scenario: Which of ``conf/scenario`` is recorded.
        policies: Who is judged.
        within: Greatest relative error of the makespan, unless the engine itself varies more.
        collect: Settings of the collector that differ from its YAML.
        settings: Settings of the scenario that differ from its YAML.
        training: Runs of each policy that are learnt from.
        training_seed: Of their workloads.
        recorded: Id of a recording that is learnt from instead.
        workloads: How many workloads every policy meets.
        repeats: How often it meets each.
        seed: Of these workloads.
        draws: Simulations of each policy on each workload.
        rivals: Those of the policies that learned ones are to beat.
    """

    name: str
    collector: str
    scenario: str
    policies: Sequence[str]
    within: float
    collect: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: int = 2
    training_seed: int = 0
    recorded: str | None = None
    workloads: int = 1
    repeats: int = 5
    seed: int = 1000
    draws: int = 20
    rivals: Sequence[str] = ()

    def __post_init__(self) -> None:
        require(len(self.policies) >= 2, "suite.policies must name two or more")
        require(self.repeats >= 3, f"suite.repeats must be 3 or more, got {self.repeats}")
        require(min(self.training, self.workloads, self.draws) >= 1, "a suite needs runs")
        require(
            self.seed > self.training_seed + self.training * len(self.policies),
            "suite.seed must lie beyond the workloads that are learnt from",
        )

    def run(self, cfg: DictConfig) -> Report:
        """Do what :func:`evaluate` does; ``force`` makes all of it again."""
        return evaluate(self, force=bool(cfg.force))


def evaluate(suite: RealSuite, *, force: bool = False) -> Report:
    """Record, predict, record again and compare; what is there already is not made again.

    Args:
        suite: What is judged.
        force: Make all of it again.
    """
    store = Store()
    found = {n: named(n, store) for n in suite.policies}
    told = fingerprint(asdict(suite), [f.key for f in found.values()])
    learnt = (
        store.get("traces", suite.recorded)
        if suite.recorded
        else _record(suite, store, found, f"{suite.name}-training-{told}")
    )
    sealed = _seal(suite, store, found, learnt, f"{suite.name}-{told}", force=force)
    judged = _record(suite, store, found, f"{suite.name}-{told}", learnt, force=force)
    if judged.manifest["created"] <= sealed.manifest["created"]:
        raise ConfigError(
            f"the runs of {judged.id} are older than what was predicted of them",
            hint="predict and record again: force=true",
        )
    document = _compare(suite, store, found, learnt, sealed, judged)
    folder = store.root / "predictions" / sealed.id
    write_text(folder / REPORT, json.dumps(document, indent=1))
    (folder / "fidelity.png").write_bytes(report.picture(document))
    return Report(document=document, text=_text(suite, document, sealed))


def _record(
    suite: RealSuite,
    store: Store,
    found: Mapping[str, Named],
    name: str,
    learnt: Product | None = None,
    *,
    force: bool = False,
) -> Product:
    """Record what is learnt from, or, where that is there, what is judged."""
    if store.exists("traces", name) and not force:
        return store.get("traces", name)
    catalogue = Catalogue(roots())
    yaml = catalogue.read(f"collector/{suite.collector}")
    told = {**yaml, **suite.collect, "behaviours": list(suite.policies)}
    each, seed = suite.training, suite.training_seed
    if learnt is not None:
        each, seed = suite.repeats * suite.workloads, suite.seed
        told |= {"paired": True, "times": suite.repeats}
        # Policies are told what they were told in the predictions.
        told |= {"estimates": learnt.id} if "estimates" in yaml else {}
    told["runs"] = len(suite.policies) * each
    scenario = {**catalogue.read(f"scenario/{suite.scenario}"), **suite.settings}
    return recorded(store, name, told, scenario, [found[n] for n in suite.policies], seed)


def _seal(
    suite: RealSuite,
    store: Store,
    found: Mapping[str, Named],
    learnt: Product,
    name: str,
    *,
    force: bool,
) -> Product:
    """Commit what is predicted of every policy, each by a calibration that never met it."""
    if store.exists("predictions", name) and not force:
        return store.get("predictions", name)
    recorded = Runs(traces.read(learnt.path))
    policies = {n: found[n].policy for n in suite.policies}
    folder = store.partial("predictions", name)
    rows = []
    with progress("predicting before anything runs", len(suite.policies), "policies") as bar:
        for n in suite.policies:
            others = [r for r in recorded.runs if recorded.about(r)["policy"] != policies[n].name]
            held = search(recorded, others, policies, Effort())
            (folder / n).mkdir(parents=True, exist_ok=True)
            held.save(folder / n)
            control = Naive.of(recorded, others, held)
            for seed in _seeds(suite):
                workload = held.plan(seed)
                luck = [seed + 7_919 * k for k in range(1, suite.draws + 1)]
                row: dict[str, Any] = {"policy": policies[n].name, "seed": seed}
                for way, model in (("held_out", held), ("naive", control)):
                    said = predict(model, held, workload, policies[n], luck)
                    row[way] = {m: said.metrics[m].tolist() for m in METRICS}
                rows.append(row)
            bar.update(note=n)
    write_text(folder / SEALED, json.dumps(rows))
    say(f"sealed: {len(rows)} predictions, before any of these runs")
    return store.commit(
        "predictions", name, inputs={"trace": learnt.id}, about={"suite": suite.name}
    )


def _seeds(suite: RealSuite) -> list[int]:
    """Return the seeds that workloads may have: recorders count from 0, or from 1 after a sweep."""
    return list(range(suite.seed, suite.seed + suite.workloads + 1))


def _compare(
    suite: RealSuite,
    store: Store,
    found: Mapping[str, Named],
    learnt: Product,
    sealed: Product,
    judged: Product,
) -> dict[str, Any]:
    store.verify(sealed)
    said = {
        (r["policy"], int(r["seed"])): r
        for r in json.loads((sealed.path / SEALED).read_text("utf-8"))
    }
    past, recorded = Runs(traces.read(learnt.path)), Runs(traces.read(judged.path))
    checks: list[Check] = []
    repeats: dict[tuple[str, int], list[dict[str, float]]] = {}
    for n in suite.policies:
        policy = found[n].policy
        held = Calibration.load(sealed.path / n)
        others = [r for r in past.runs if past.about(r)["policy"] != policy.name]
        naive = Naive.of(past, others, held)
        for run in recorded.runs:
            about = recorded.about(run)
            cell = str(about["policy"]), int(about["seed"])
            if cell[0] != policy.name or cell not in said:
                continue
            made = fidelity.check(recorded, run, "policy", policy, held, held, naive)
            told = {
                way: {m: np.array(said[cell][way][m]) for m in METRICS}
                for way in ("held_out", "naive")
            }
            predicted = {**made.predicted, **told}
            checks.append(type(made)(**vars(made) | {"predicted": predicted}))
            repeats.setdefault(cell, []).append(real(recorded, run))
    splits = summarise(checks, repeats)
    gained = gains.gains(
        [f.policy.name for f in found.values() if isinstance(f.policy, Taught)],
        suite.rivals,
        {cell: [v[gains.METRIC] for v in values] for cell, values in repeats.items()},
        {cell: said[cell]["held_out"][gains.METRIC] for cell in repeats},
    )
    agreement = {}
    for metric in METRICS:
        simulated: dict[str, dict[int, Any]] = {}
        truly: dict[str, dict[int, Any]] = {}
        for (policy_name, seed), values in repeats.items():
            told = said[policy_name, seed]["held_out"][metric]
            simulated.setdefault(policy_name, {})[seed] = np.array(told)
            truly.setdefault(policy_name, {})[seed] = np.array([v[metric] for v in values])
        agreement[metric] = asdict(
            policies_agree(simulated, truly, generator(0, "agreement", metric))
        )
    document = {
        "suite": suite.name,
        "sealed": sealed.digest,
        "sealed_at": sealed.manifest["created"],
        "recorded_at": judged.manifest["created"],
        "traces": {"learnt": learnt.id, "judged": judged.id},
        "splits": splits,
        "agreement": agreement["latency"],
        "agreements": agreement,
        "gains": gained,
        "rows": [fidelity.row(c) for c in checks],
    }
    return document | {"bars": [*bars(document, suite.within), *gains.bars(gained)]}


def bars(document: Mapping[str, Any], within: float) -> list[dict[str, Any]]:
    """Return what was asked of the predictions and whether it was reached.

    Args:
        document: With ``splits`` and ``agreements``.
        within: Greatest relative error of the makespan.
    """
    split = document["splits"]["policy"]
    span, covered = split["metrics"]["makespan"], split["coverage"]["90"]
    agreed = document["agreements"]["makespan"]
    floor = span["floor"] or 0.0
    most = max(within, 1.25 * floor)
    rows: list[tuple[str, float | None, str, bool]] = [
        (
            "relative error of the makespan",
            span["held_out"],
            f"<= {most:.3f}",
            span["held_out"] <= most,
        ),
        (
            "error above the floor, of the naive one's",
            span["explained"],
            f"<= {_NEED}",
            span["explained"] is not None and span["explained"] <= _NEED,
        ),
        (
            f"task times within their 90 % interval (n = {covered['n']})",
            covered["share"],
            "0.85 to 0.95",
            covered["n"] >= 200 and 0.85 <= covered["share"] <= 0.95,
        ),
        (
            f"right sign where policies differ ({agreed['differ']} of {agreed['pairs']} pairs)",
            agreed["same_sign"],
            ">= 0.95",
            agreed["same_sign"] is not None and agreed["same_sign"] >= 0.95,
        ),
        (
            "slope of real on simulated differences",
            agreed["slope"],
            "0.8 to 1.25",
            agreed["slope"] is not None and 0.8 <= agreed["slope"] <= 1.25,
        ),
    ]
    return [
        {"bar": what, "found": value, "asked": asked, "met": bool(met)}
        for what, value, asked, met in rows
    ]


def _text(suite: RealSuite, document: Mapping[str, Any], sealed: Product) -> str:
    lines = [
        f"suite {suite.name}: predicted {document['sealed_at']}, "
        f"run until {document['recorded_at']}",
        f"  {'policy':<18}{'seed':>6}{'predicted':>11}{'real':>9}{'from':>9}{'to':>9}{'error':>8}"
        f"{'naive':>8}   makespan, s",
    ]
    cells: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in document["rows"]:
        cells.setdefault((row["policy"], row["seed"]), []).append(row)
    for (policy, seed), rows in cells.items():
        real_ = np.array([r["real"]["makespan"] for r in rows])
        told = rows[0]["predicted"]["held_out"]["makespan"]
        naive = rows[0]["predicted"]["naive"]["makespan"]
        middle = float(np.median(real_))
        lines.append(
            f"  {policy:<18}{seed:>6}{told:>11.2f}{middle:>9.2f}{real_.min():>9.2f}"
            f"{real_.max():>9.2f}{told / middle - 1:>8.1%}{naive / middle - 1:>8.1%}"
        )
    lines += [report.text({k: document[k] for k in ("splits", "agreement")})]
    lines += gains.text(document["gains"])
    for bar in document["bars"]:
        found = "-" if bar["found"] is None else f"{bar['found']:.3f}"
        lines.append(
            f"  {'met' if bar['met'] else 'MISSED':<8}{bar['bar']:<62}{found:>8}  {bar['asked']}"
        )
    lines.append(f"  {sealed.path}, sealed {document['sealed'][:16]}")
    return "\n".join(lines)
