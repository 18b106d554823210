"""The command ``toolkit dataset verify``: whether datasets are what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import trace as traces
from toolkit.benchmarks import publish
from toolkit.benchmarks.benchmark import benchmark_of
from toolkit.benchmarks.played import Replay, replay_of
from toolkit.data.audit import audit
from toolkit.data.card import DatasetCard, DatasetId
from toolkit.data.dataset import Dataset, load_dataset
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError, ToolkitError
from toolkit.paths import cards_dir, samples_dir
from toolkit.report import Report
from toolkit.settings import flag
from toolkit.store import Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

TOLERANCE = 1e-6
"""Relative difference of floats that two machines may show."""


def verify(cfg: DictConfig) -> Report:
    """Read a dataset whole and check bytes, rows, index and splits; fails where anything is wrong.

    Where the toolkit knows the card of this dataset as it was published, it says whether these are
    the same bytes, or the same actions and counts with floats that differ as machines do.
    """
    told, wrong = [], 0
    lines, hints = [], []
    scores = flag(cfg, "scores")
    for where in _wanted(str(cfg.id)):
        one = _one(where, scores)
        told.append(one)
        problems = one["problems"]
        wrong += len(problems)
        state = f"{len(problems)} problems" if problems else "sound"
        lines.append(f"{one['dataset']}: {state}; {one['said']}")
        lines += [f"  {p}" for p in problems]
        if problems:
            hints.append(f"{one['dataset']}: {one['mend']}")
    if wrong:
        first = next(o for o in told if o["problems"])
        more = f"; {wrong - 1} more" if wrong > 1 else ""
        raise CorruptError(
            f"{first['dataset']}: {first['problems'][0]}{more}",
            hint="\n  ".join([*(lines if wrong > 1 else ()), *hints]),
        )
    return Report(document={"datasets": told}, text="\n".join(lines or ["there is no dataset yet"]))


def _wanted(name: str) -> list[str]:
    """Return the places of the datasets asked for."""
    if name != "all":
        return [name]
    folders = (Store().root / "datasets", samples_dir())
    return [str(m.parent) for f in folders if f for m in sorted(f.glob("*/*/manifest.json"))]


def _one(where: str, scores: bool) -> dict[str, Any]:
    """Return what is to be said of one dataset; also when it cannot even be opened."""
    try:
        data = load_dataset(where)
    except NotFoundError:
        raise
    except (CorruptError, SchemaError) as error:
        mend = "restore it from a copy, or remove it and make it again: toolkit dataset build"
        return {"dataset": where, "problems": [error.message], "mend": mend, "said": ""}
    result = audit(data)
    problems, said = result.problems, ""
    differing: list[str] | None = None
    if not problems:
        said = published(data)
        if scores:
            try:
                differing = differing_scores(data)
                problems.extend(differing)
            except ConfigError as error:
                said += f"; {error.message}"
    return {
        "dataset": data.id,
        "path": data.place.url,
        "rows": result.rows,
        "episodes": result.episodes,
        "problems": problems,
        "published": said,
        "scores": differing,
        "said": f"{result.rows:,} rows in {result.episodes:,} episodes; {said}".rstrip("; "),
        "mend": _mend(data),
    }


def _mend(data: Dataset) -> str:
    if "-real-" in data.id:
        return "restore it from a copy: nothing makes recorded data again"
    try:
        return f"make it again: {data.card.command} force=true"
    except ToolkitError:
        return "restore it from a copy, or make it again: toolkit dataset build force=true"


def published(data: Dataset) -> str:
    """Return how a dataset compares with the card that the toolkit knows of it."""
    cards, samples = cards_dir(), samples_dir()
    known = [] if cards is None else [cards / f"{data.id}.yaml"]
    if samples is not None and data.place.local != samples / data.id:
        known.append(samples / data.id / "card.yaml")
    file = next((f for f in known if f.is_file()), None)
    if file is None:
        return "no published card to compare with"
    card = DatasetCard.from_yaml(file.read_text("utf-8"), str(file))
    own = data.card
    files = data.manifest["files"]
    if card.files == {n: files[n]["sha256"] for n in card.files if n in files}:
        return "the same bytes as published"
    same = card.actions == own.actions and card.transitions == own.transitions
    close = all(
        name in own.behaviour
        and abs(told["return_mean"] - own.behaviour[name]["return_mean"])
        <= TOLERANCE * max(1.0, abs(told["return_mean"]))
        for name, told in card.behaviour.items()
    )
    if same and close:
        return "the same actions and counts as published, floats as near as machines are"
    return "not the data that were published under this id"


def differing_scores(data: Dataset) -> list[str]:
    """Measure the reference scores of a card again; returns what differs.

    Raises:
        ConfigError: When what they were measured on is not here.
    """
    card = data.card
    if not card.reference:
        raise ConfigError(f"{data.id} has no reference scores: {card.reference_command}")
    seeds = int(card.reference["random"]["seeds"])
    found = publish.scores(_replay(data), card.family, seeds)
    wrong = []
    for role, told in card.reference.items():
        value = found.get(role, {}).get("value")
        if value is None or abs(value - told["value"]) > 1e-5 * max(1.0, abs(told["value"])):
            wrong.append(f"the reference score {role} is {value}, the card says {told['value']}")
    return wrong


def _replay(data: Dataset) -> Replay:
    if data.card.traces:
        store = Store()
        product = store.get("traces", str(data.card.traces[0]["id"]))
        replay = replay_of(traces.read(product.path), product, store)
        if replay is None:
            raise ConfigError(f"the scenario of {data.id} is not known")
        return replay
    recipe = benchmark_of(DatasetId.parse(data.id).workload)
    scenario = scenario_of(recipe.scenario, list(recipe.overrides))
    return Replay(scenario=scenario, name=recipe.scenario)
