"""The command ``toolkit dataset build``: a trace, or a scenario and policies → a dataset."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import reward
from toolkit import trace as traces
from toolkit.benchmarks.benchmark import FIRST_SEED, SEARCH, benchmark_of
from toolkit.benchmarks.generate import Learner, Workers, generate
from toolkit.benchmarks.grow import grow
from toolkit.benchmarks.played import Replay, replay_of
from toolkit.benchmarks.publish import Story, check_invalid, publish
from toolkit.data.card import DatasetId
from toolkit.data.dataset import Dataset, opened
from toolkit.data.episodes import FILE, About, decisions_in
from toolkit.data.place import Place
from toolkit.data.rows import rows_of, workload_digest
from toolkit.data.transitions import SCHEMA, Description
from toolkit.data.writer import Writer, write_index
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, require, unknown
from toolkit.features.observe import FEATURISER
from toolkit.policies.named import named
from toolkit.policies.policy import Policy
from toolkit.policies.search import Search
from toolkit.progress import progress, say
from toolkit.replays.reconstruct import Replayed, replays
from toolkit.report import Report
from toolkit.scenarios.described import described as plain
from toolkit.settings import flag, number
from toolkit.simulator.simulator import SIMULATOR
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

REFERENCES = 10
"""Workloads that reference policies meet where the dataset is that of a trace."""


def build(cfg: DictConfig) -> Report:
    """Build a dataset of decisions with its card: a benchmark by its id, or a trace.

    ``id=<family>/<workload>-<tier>-v<N>`` generates a benchmark dataset in the simulator, the same
    on every machine; with ``-sample`` at its end a small one of the same first episodes.
    ``trace=<id>`` replays what was recorded, decision by decision. Without either the newest trace
    with decisions is taken.
    """
    store = Store()
    force, append = flag(cfg, "force"), flag(cfg, "append")
    seconds = number(cfg, "discount_seconds")
    count = number(cfg, "workers")
    require(
        count is None or (count >= 1 and count == int(count)),
        f"workers must be a positive whole number or null, got {cfg.workers!r}",
    )
    workers = Workers(
        executor=str(cfg.executor),
        count=None if count is None else int(count),
        address=cfg.ray.address,
    )
    if cfg.id is not None and cfg.trace is None:
        require(not append, "append=true needs the trace of what is to be added: trace=<id>")
        product = by_id(store, str(cfg.id), workers=workers, force=force)
    else:
        product = ensure(
            store,
            with_decisions(store, "latest" if cfg.trace is None else str(cfg.trace)),
            discount_seconds=seconds,
            name=None if cfg.id is None else str(cfg.id),
            force=force,
            append=append,
            about=None if cfg.about is None else str(cfg.about),
        )
    data = opened(Place(product.path))
    return Report(
        document={
            "dataset": product.id,
            "path": str(product.path),
            "bytes": product.manifest["bytes"],
            "card": dataclasses.asdict(data.card),
        },
        text=summary(data, product),
    )


def with_decisions(store: Store, name: str) -> Product:
    """Return a trace by id, or the newest that holds decisions."""
    return store.get(
        "traces", name, lambda p: int(p.manifest["about"].get("rows", {}).get("decisions", 1)) > 0
    )


def by_id(store: Store, text: str, *, workers: Workers, force: bool = False) -> Product:
    """Return a benchmark dataset, generating it when there is none yet.

    Args:
        store: Where products lie.
        text: Its id.
        workers: Who simulates.
        force: Generate it again even when it is there.

    Raises:
        ConfigError: When the id names recorded data, which nothing makes again.
        NotFoundError: When there is no such benchmark, tier or version.
    """
    name = DatasetId.parse(text)
    if name.tier == "real":
        raise ConfigError(
            f"{name} was recorded on a real engine; nothing makes it again",
            hint="its files are shipped with the toolkit: toolkit dataset list; to record your "
            "own: toolkit collect, then toolkit dataset build trace=<id>",
        )
    recipe = benchmark_of(name.workload)
    scenario = scenario_of(recipe.scenario, list(recipe.overrides))
    workload = scenario.plan(FIRST_SEED)
    described = Description.of(workload, scenario.weights)
    whole = dataclasses.replace(name, sample=False)
    if str(whole) not in [str(i) for i in recipe.ids(described.family, name.workload)]:
        ids = [str(i) for i in recipe.ids(described.family, name.workload)]
        raise unknown("dataset", text, ids, hint="toolkit dataset list")
    policies = [(p, None if p == SEARCH else named(p, store)) for p in recipe.policies(name.tier)]
    keys = [p if found is None else found.key for p, found in policies]
    identity = fingerprint(
        dataclasses.asdict(recipe) | {"tiers": None, "about": None}, str(name), keys,
        _versions(), described.to_dict(), plain(scenario),
    )  # fmt: skip
    with store.alone("datasets", str(name)):
        if store.exists("datasets", str(name)) and not force:
            return _there(store.get("datasets", str(name)), identity)
        chunks = store.partial("datasets", f"{name}.{identity}")
        folder = _empty(store, str(name))
        writer = Writer(folder, described, discount_seconds=recipe.discount_seconds)
        behaviour: Sequence[Policy] | Learner
        if keys == [SEARCH]:
            behaviour = Search(features=described.sizes[2], seed=name.version)
        else:
            behaviour = [found.policy for _, found in policies if found is not None]
        generate(
            chunks,
            writer,
            scenario,
            behaviour,
            described,
            first_seed=FIRST_SEED,
            transitions=recipe.sample if name.sample else recipe.transitions,
            discount_seconds=recipe.discount_seconds,
            workers=workers,
        )
        index = write_index(folder, FILE, writer.close())
        story = Story(
            about=recipe.about,
            scenario=recipe.scenario,
            overrides=recipe.overrides,
            discount_seconds=recipe.discount_seconds,
            licence=recipe.licence,
            command=f"toolkit dataset build id={name}",
            generated=_versions(),
        ).scored(
            name,
            Replay(scenario=scenario, name=recipe.scenario),
            described.family,
            recipe.reference_seeds,
        )
        product = publish(store, name, described, index, story, identity)
        for left in chunks.parent.glob(f".{whole_name(name)}.*.partial"):
            shutil.rmtree(left)
        return product


def whole_name(name: DatasetId) -> str:
    """Return the last word of an id."""
    return str(name).rpartition("/")[2]


def ensure(
    store: Store,
    trace: Product,
    *,
    discount_seconds: float | None = None,
    name: str | None = None,
    force: bool = False,
    append: bool = False,
    about: str | None = None,
) -> Product:
    """Return the dataset of a trace, building it when there is none yet.

    Args:
        store: Where products lie.
        trace: What to build from.
        discount_seconds: τ; where absent a fifth of the first episode.
        name: Id of the dataset; derived from the trace when absent.
        force: Build again even when there is one.
        append: Let the dataset ``name``, which is there, grow by the runs of the trace.
        about: One sentence for its card.
    """
    require(
        discount_seconds is None or discount_seconds > 0,
        f"discount_seconds must be positive, got {discount_seconds}",
    )
    require(not append or name is not None, "append=true needs the id of what is to grow: id=<id>")
    origin = fingerprint(trace.digest, _versions())
    if name is None and not force:
        for known in reversed(store.list("datasets")):
            if _made_from(known, origin, discount_seconds):
                return known
    recorded = traces.read(trace.path)
    runs = _replayed(recorded)
    first = next(runs)
    described = Description.of(first.workload, first.weights)
    tau = discount_seconds or max(1e-3, round(first.episode.steps[-1].decision.time / 5, 3))
    identity = fingerprint(origin, tau)
    if append:
        return grow(
            store,
            str(name),
            described,
            lambda writer: _write(writer, described, first, runs, len(recorded.runs())),
            _origin(recorded, trace),
            identity=origin,
        )
    source = str(recorded.provenance["source"])
    tier = "mixed" if source in ("simulated", "synthetic") else "real"
    again = None
    if force and name is None:
        again = next((k for k in store.list("datasets") if _made_from(k, origin, tau)), None)
    chosen = _name(store, again.id if again else name, described.family, trace.id, tier)
    with store.alone("datasets", str(chosen)):
        if store.exists("datasets", str(chosen)) and not force:
            return _there(store.get("datasets", str(chosen)), identity)
        folder = _empty(store, str(chosen))
        writer = Writer(folder, described, discount_seconds=tau)
        same = _write(writer, described, first, runs, len(recorded.runs()))
        index = write_index(folder, FILE, writer.close())
        check_invalid(index)
        inferred = " The decisions are inferred from the log." if first.inferred else ""
        story = Story(
            about=(about or f"Recorded by the collector {source}, {len(index)} runs.") + inferred,
            scenario=None,
            discount_seconds=tau,
            licence="CC0-1.0" if not first.inferred else "that of the log",
            command=f"toolkit dataset build trace={trace.id} id={chosen} discount_seconds={tau!r}",
            generated=_versions(),
            traces=[_origin(recorded, trace) | {"same_as_recorded": same / decisions_in(index)}],
        ).scored(chosen, replay_of(recorded, trace, store), described.family, REFERENCES)
        return publish(store, chosen, described, index, story, identity)


def _made_from(known: Product, origin: str, discount_seconds: float | None) -> bool:
    """Return whether a dataset is that of a trace, with this discount or, for None, any."""
    about = known.manifest["about"]
    tau = float(about.get("discount_seconds", 0.0))
    wanted = discount_seconds in (None, tau)
    return bool(wanted and about.get("identity") == fingerprint(origin, tau))


def _origin(recorded: traces.Trace, trace: Product) -> dict[str, Any]:
    where = recorded.provenance
    return {
        "id": trace.id,
        "digest": trace.digest,
        "source": str(where["source"]),
        "engine": _brief(where["engine"]),
        "host": _brief(where["host"]),
        "runs": len(recorded.runs("policy")) or len(recorded.runs()),
    }


def _replayed(trace: traces.Trace) -> Iterator[Replayed]:
    found = False
    for run in replays(trace):
        if run.episode.steps:
            found = True
            yield run
    if not found:
        raise ConfigError("no run of the trace has a decision to learn from")


def _write(
    writer: Writer, described: Description, first: Replayed, others: Iterator[Replayed], runs: int
) -> int:
    """Write all runs; returns how many decisions look as they did when they were recorded."""
    same, met = 0, set[str]()
    with progress("replaying the record", runs, "runs") as bar:
        run: Replayed | None = first
        while run is not None:
            rows = rows_of(
                run.episode,
                run.workload,
                described,
                closing=run.closing,
                run=run.run,
                inferred=run.inferred,
                invalid=run.invalid,
            )
            about = About(
                policy=run.policy,
                workload=workload_digest(run.workload),
                seed=run.seed,
                run=run.run,
                began=run.began,
            )
            if rows.digest() in met:
                # A rule without chance did the same on the same workload once more.
                say(f"run {run.run} repeats an episode and is left out")
            else:
                met.add(rows.digest())
                writer.add(rows, about)
                same += run.same
            bar.update()
            run = next(others, None)
    return same


def _there(product: Product, identity: str) -> Product:
    if product.manifest["about"].get("identity") != identity:
        raise ConfigError(
            f"dataset {product.id} is there, made by another version or with other settings",
            hint="make it again: force=true; or choose another id",
        )
    say(f"dataset {product.id} is there already; force=true makes it again")
    return product


def _name(store: Store, name: str | None, family: str, trace: str, tier: str) -> DatasetId:
    """Return the id of a trace's dataset, of the first version that is free."""
    if name is not None:
        found = DatasetId.parse(name)
        require(found.family == family, f"the decisions are of the family {family}, not {name}")
        return found
    version = 1
    while True:
        found = DatasetId(family=family, workload=trace, tier=tier, version=version)
        if not store.exists("datasets", str(found)):
            return found
        version += 1


def _empty(store: Store, name: str) -> Path:
    folder = store.partial("datasets", name)
    shutil.rmtree(folder)
    return store.partial("datasets", name)


def _versions() -> dict[str, int]:
    return {
        "simulator": SIMULATOR,
        "featuriser": FEATURISER,
        "reward": reward.VERSION,
        "schema": SCHEMA,
    }


def _brief(told: Any) -> dict[str, Any]:
    """Return the plain facts of an engine or a host."""
    if not isinstance(told, Mapping):
        return {}
    return {str(k): v for k, v in told.items() if isinstance(v, str | int | float | bool)}


def summary(data: Dataset, product: Product | None = None) -> str:
    """Return what a dataset is, as lines for people."""
    card = data.card
    told = [f"{role} {t['value']:.4g} ({t['policy']})" for role, t in card.reference.items()]
    held = ", ".join(f"{k} {v['episodes']}" for k, v in card.splits.items())
    many = len(card.behaviour) > 6
    shown = list(card.behaviour.items())[:6]
    behaviour = ", ".join(f"{k} {v['return_mean']:.4g}" for k, v in shown)
    lines = [
        f"dataset {card.id}",
        f"  {card.about}",
        f"  {card.transitions:,} transitions in {card.episodes:,} episodes, "
        f"{data.manifest['bytes'] / 1e6:.2f} MB; splits: {held}",
        f"  mean returns: {behaviour}" + (f", … ({len(card.behaviour)} policies)" if many else ""),
        f"  references: {'; '.join(told) if told else card.reference_command}",
    ]
    for t in card.traces:
        if "same_as_recorded" in t:
            share = float(t["same_as_recorded"])
            lines.append(f"  features equal to those shown when recorded: {share:.1%} of rows")
    lines.append(f"  {data.place.url}")
    if product is not None:
        lines.append(f"next: toolkit train +algo=cql dataset={card.id}")
    return "\n".join(lines)
