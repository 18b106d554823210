"""The command ``toolkit dataset verify``: whether datasets are what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import trace as traces
from toolkit.benchmarks import publish
from toolkit.benchmarks.benchmark import benchmark_of
from toolkit.benchmarks.played import Replay, replay_of
from toolkit.data.audit import audit
from toolkit.data.card import DatasetCard, DatasetId
from toolkit.data.dataset import Dataset, load_dataset, opened, shipped
from toolkit.data.place import Place
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError
from toolkit.paths import cards_dir
from toolkit.report import Report
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
    if str(cfg.id) == "all":
        found = [opened(Place(p.path)) for p in Store().list("datasets")] + shipped()
    else:
        found = [load_dataset(str(cfg.id))]
    told, lines, wrong = [], [], []
    for data in found:
        result = audit(data)
        one: dict[str, Any] = {
            "dataset": data.id,
            "path": data.place.url,
            "rows": result.rows,
            "episodes": result.episodes,
            "problems": result.problems,
            "published": published(data),
        }
        if cfg.scores and not result.problems:
            one["scores"] = differing_scores(data)
            result.problems.extend(one["scores"])
        told.append(one)
        if result.problems:
            wrong.append((data.id, result.problems))
        lines.append(
            f"{data.id}: "
            + (f"{len(result.problems)} problems" if result.problems else "sound")
            + f"; {result.rows:,} rows in {result.episodes:,} episodes; {one['published']}"
        )
        lines += [f"  {p}" for p in result.problems]
    if wrong:
        name, problems = wrong[0]
        more = sum(len(p) for _, p in wrong) - 1
        raise CorruptError(
            f"{name}: {problems[0]}" + (f"; and {more} more" if more else ""),
            hint="\n  ".join([*[p for _, ps in wrong for p in ps][1:], _mend(name)]),
        )
    return Report(document={"datasets": told}, text="\n".join(lines or ["there is no dataset yet"]))


def _mend(name: str) -> str:
    if "-real-" in name:
        return "restore it from a copy: nothing makes recorded data again"
    return f"make it again: toolkit dataset build id={name} force=true"


def published(data: Dataset) -> str:
    """Return how a dataset compares with the card that the toolkit knows of it."""
    folder = cards_dir()
    file = None if folder is None else folder / f"{data.id}.yaml"
    if file is None or not file.is_file():
        return "no published card to compare with"
    card = DatasetCard.from_yaml(file.read_text("utf-8"), str(file))
    own = data.card
    if card.files == own.files:
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
