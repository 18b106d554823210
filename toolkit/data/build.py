"""The command ``toolkit build``: trace → transition dataset with its card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolkit import reward
from toolkit import trace as traces
from toolkit.data.card import DatasetCard
from toolkit.data.reconstruct import Reconstructed, reconstruct
from toolkit.data.transitions import SCHEMA
from toolkit.errors import ConfigError, require
from toolkit.features.observe import FEATURISER
from toolkit.live import chooser, rollout
from toolkit.policies.mheft import MoldableHeft
from toolkit.policies.policy import Policy
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.progress import progress
from toolkit.report import Report
from toolkit.simulator import calibrate
from toolkit.simulator.calibration import Calibration
from toolkit.simulator.recorded import replayable
from toolkit.simulator.simulator import Simulator
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

_REFERENCE_SEEDS = 10
_MOST_INVALID = 0.05


def build(cfg: DictConfig) -> Report:
    """Turn a trace into transitions by factual replay, as Parquet with a card."""
    store = Store()
    product = ensure(
        store,
        replayable(store, cfg.trace),
        discount_seconds=float(cfg.discount_seconds),
        force=bool(cfg.force),
    )
    card = DatasetCard.load(product.path)
    return Report(
        document={
            "dataset": product.id,
            "path": str(product.path),
            "bytes": product.manifest["bytes"],
            "card": product.manifest["about"],
        },
        text=_text(card, product),
    )


def ensure(
    store: Store, trace: Product, *, discount_seconds: float, force: bool = False
) -> Product:
    """Return the dataset of a trace, building it when there is none yet.

    Args:
        store: Where products lie.
        trace: What to build from.
        discount_seconds: τ of the discount; it stands on the card.
        force: Build again even when there is one.
    """
    require(discount_seconds > 0, f"discount_seconds must be positive, got {discount_seconds}")
    fitted = calibrate.ensure(store, trace)
    version = fingerprint(
        trace.digest, fitted.digest, SCHEMA, FEATURISER, reward.VERSION, discount_seconds
    )
    name = f"{trace.id}-{version}"
    if store.exists("datasets", name) and not force:
        return store.get("datasets", name)
    store.discard("datasets", name)
    folder = store.partial("datasets", name)
    recorded = traces.read(trace.path)
    about = recorded.runs("policy")
    require(len(about) > 0, f"trace {trace.id} has no run with decisions to learn from")
    parts: list[Reconstructed] = []
    with progress("replaying the record", len(about), "runs") as bar:
        for part in reconstruct(recorded):
            parts.append(part)
            bar.update()
    table = pa.concat_tables([p.table for p in parts])
    invalid = float(np.mean(table["invalid"].to_numpy(zero_copy_only=False)))
    if invalid > _MOST_INVALID:
        raise ConfigError(
            f"{invalid:.1%} of the recorded choices are forbidden by the mask; at most "
            f"{_MOST_INVALID:.0%} can be left out",
            hint="check that the scenario's cluster is the one that was recorded",
        )
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd", row_group_size=32768)
    card = _card(name, trace, fitted, parts, table, discount_seconds, invalid)
    card.save(folder)
    return store.commit(
        "datasets",
        name,
        inputs={"trace": trace.id, "calibration": fitted.id},
        about={
            "family": card.family,
            "scenario": card.scenario,
            "episodes": card.episodes,
            "transitions": card.transitions,
            "behaviour": dict(card.behaviour),
            "coverage": dict(card.coverage),
            "reference": dict(card.reference),
            "discount_seconds": discount_seconds,
        },
    )


def _card(
    name: str,
    trace: Product,
    fitted: Product,
    parts: list[Reconstructed],
    table: pa.Table,
    discount_seconds: float,
    invalid: float,
) -> DatasetCard:
    calibration = Calibration.load(fitted.path)
    scenario = calibration.scenario
    runs = [p.run for p in parts]
    held = max(1, len(runs) // 5) if len(runs) > 1 else 0
    behaviour: dict[str, int] = {}
    returns: dict[str, list[float]] = {}
    for p in parts:
        behaviour[p.policy] = behaviour.get(p.policy, 0) + len(p.table)
        returns.setdefault(p.policy, []).append(p.total)
    weights = scenario.weights
    return DatasetCard(
        id=name,
        family="allocation",
        scenario=scenario.name,
        trace={"id": trace.id, "digest": trace.digest},
        calibration={"id": fitted.id, **fitted.manifest["about"]["fidelity"]},
        behaviour=behaviour,
        episodes=len(parts),
        transitions=len(table),
        splits={"train": runs[: len(runs) - held], "held_out": runs[len(runs) - held :]},
        reward={
            "throughput": weights.throughput,
            "latency": weights.latency,
            "cost": weights.cost,
            "bottleneck": weights.bottleneck,
        },
        discount_seconds=discount_seconds,
        coverage={**_coverage(table), "same_as_live": sum(p.same for p in parts) / len(table)},
        invalid=invalid,
        returns={k: float(np.mean(v)) for k, v in returns.items()},
        reference={
            p.name: reference_return(p, calibration) for p in (Random(), Static(), MoldableHeft())
        },
        licence="CC0-1.0 (generated data; a user's own reads are not in it)",
        command=f"toolkit build trace={trace.id} discount_seconds={discount_seconds:g}",
    )


def reference_return(policy: Policy, calibration: Calibration) -> float:
    """Return the mean return of a policy over a few episodes of the calibrated replay."""
    scenario = calibration.scenario
    totals = []
    for seed in range(_REFERENCE_SEEDS):
        workload = calibration.plan(seed)
        policy.reset(workload)
        episode = rollout(
            Simulator(calibration, seed),
            workload,
            chooser(policy, seed),
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        totals.append(sum(s.reward for s in episode.steps))
    return float(np.mean(totals))


def _coverage(table: pa.Table) -> dict[str, float]:
    """Return how well the allowed slots of each agent are covered by what was done."""
    taken = table.filter(pc.is_valid(table["action"])).to_pandas()
    shares: list[float] = []
    for _, rows in taken.groupby("agent", sort=True):
        allowed = np.flatnonzero(np.stack(rows["mask"].to_numpy()).any(axis=0))
        counts = rows["action"].value_counts()
        shares += [float(counts.get(int(a), 0)) / len(rows) for a in allowed]
    return {
        "agent_slots_taken": float(np.mean([s > 0 for s in shares])),
        "least_slot_share": float(min(shares)),
    }


def _text(card: DatasetCard, product: Product) -> str:
    def pairs(values: Any, pattern: str) -> str:
        return ", ".join(f"{k} {format(v, pattern)}" for k, v in values.items())

    return "\n".join(
        [
            f"dataset {card.id}",
            f"  {card.transitions} transitions in {card.episodes} episodes, "
            f"{product.manifest['bytes'] / 1e6:.2f} MB",
            f"  behaviour: {pairs(card.behaviour, 'd')}",
            f"  returns recorded: {pairs(card.returns, '.1f')}",
            f"  returns in the replay: {pairs(card.reference, '.1f')}",
            f"  features equal to those shown live: {card.coverage['same_as_live']:.1%} of rows",
            "next: toolkit train +algo=cql",
        ]
    )
