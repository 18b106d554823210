"""Publish: what was written becomes a dataset, with its card, its page and its manifest.

No file that a manifest names is ever changed. A dataset that grows gets new parts, a new index and
a new card beside the old ones, and then another manifest: who still reads by the former one finds
everything that it names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.benchmarks import page, reference
from toolkit.benchmarks.benchmark import REFERENCE_SEED
from toolkit.benchmarks.played import Replay
from toolkit.catalogue import Catalogue
from toolkit.data import coverage as coverages
from toolkit.data.card import DatasetCard, DatasetId
from toolkit.data.coverage import Coverage
from toolkit.data.episodes import FILE, decisions_in
from toolkit.data.place import Place
from toolkit.data.splits import counted
from toolkit.data.transitions import Description
from toolkit.errors import ConfigError
from toolkit.policies.named import named
from toolkit.progress import progress
from toolkit.store import Product, Store, write_text

CARD = "card.yaml"
MOST_INVALID = 0.05
NO_SCORES = "no reference scores: the scenario of a stranger's log is not known"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the card of a dataset says beyond its rows.

    Args:
        about: One sentence.
        scenario: Name of the scenario; None where nobody knows it.
        overrides: Words that change it.
        discount_seconds: τ.
        licence: Of the data.
        command: What makes the dataset again.
        generated: Versions, see the card.
        traces: What it was made of, see the card.
        fidelity: Of the calibration behind the scores.
        reference: Scores by role.
        reference_command: What measures them again.
        calibration: Id of the calibration; empty where there is none.
    """

    about: str
    scenario: str | None
    discount_seconds: float
    licence: str
    command: str
    generated: Mapping[str, int]
    overrides: Sequence[str] = ()
    traces: Sequence[Mapping[str, Any]] = ()
    fidelity: Mapping[str, Any] | None = None
    reference: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference_command: str = NO_SCORES
    calibration: str = ""

    def scored(self, name: DatasetId, replay: Replay | None, family: str, seeds: int) -> Story:
        """Return the story with the scores of reference policies.

        Args:
            name: Of the dataset.
            replay: Where they play; without it there are no scores.
            family: Of the decisions.
            seeds: How many workloads they meet.
        """
        if replay is None:
            return self
        fidelity = None
        if replay.fidelity is not None:
            plain = str | int | float | bool
            fidelity = {k: v for k, v in replay.fidelity.items() if isinstance(v, plain)}
        return dataclasses.replace(
            self,
            scenario=replay.name,
            fidelity=fidelity,
            reference=scores(replay, family, seeds),
            reference_command=f"toolkit dataset verify id={name} scores=true",
            calibration=replay.calibration,
        )

    @staticmethod
    def of(card: DatasetCard, calibration: str = "") -> Story:
        """Return the story that a card tells."""
        return Story(
            about=card.about,
            scenario=card.scenario.get("name"),
            overrides=card.scenario.get("overrides") or (),
            discount_seconds=card.discount_seconds,
            licence=card.licence,
            command=card.command,
            generated=card.generated,
            traces=card.traces,
            fidelity=card.fidelity,
            reference=card.reference,
            reference_command=card.reference_command,
            calibration=calibration,
        )


def publish(
    store: Store,
    name: DatasetId,
    described: Description,
    index: pa.Table,
    story: Story,
    identity: str,
) -> Product:
    """Turn the partial folder of a dataset, with its parts and its index, into a product.

    Args:
        store: Where it lies.
        name: Its id.
        described: What the columns mean.
        index: Its episodes.
        story: What the rows do not say.
        identity: Fingerprint of the settings that it was made with.
    """
    folder = store.partial("datasets", str(name))
    parts = sorted(f.name for f in folder.glob("part-*.parquet"))
    card, covered = card_of(name, folder, [*parts, FILE], described, index, story)
    write_text(folder / CARD, card.to_yaml())
    view(folder, card, index, covered)
    inputs = {"trace": str(story.traces[0]["id"])} if story.traces else {}
    if story.calibration:
        inputs["calibration"] = story.calibration
    return store.commit(
        "datasets",
        str(name),
        inputs=inputs,
        about=told(card, CARD, FILE, identity, name.tier),
        views=(page.PAGE, page.PICTURE),
        digests=card.files,
    )


def check_invalid(index: pa.Table) -> None:
    """Refuse episodes of which too many choices are forbidden by their masks.

    Raises:
        ConfigError: With the share.
    """
    invalid = float(pc.sum(index["invalid"]).as_py() / decisions_in(index))
    if invalid > MOST_INVALID:
        raise ConfigError(
            f"{invalid:.1%} of the recorded choices are forbidden by the mask; at most "
            f"{MOST_INVALID:.0%} can be left out",
            hint="check that the scenario's cluster is the one that was recorded",
        )


def told(card: DatasetCard, file: str, index: str, identity: str, tier: str) -> dict[str, Any]:
    """Return what a manifest says of a dataset."""
    return {
        "card": file,
        "episodes": index,
        "identity": identity,
        "family": card.family,
        "scenario": card.scenario["name"],
        "tier": tier,
        "transitions": card.transitions,
        "episode_count": card.episodes,
        "discount_seconds": card.discount_seconds,
    }


def view(folder: Path, card: DatasetCard, index: pa.Table, covered: Coverage) -> None:
    """Write the page and its picture."""
    values = {role: float(t["value"]) for role, t in card.reference.items()}
    write_text(folder / page.PAGE, page.markdown(card))
    aside = folder / f".{page.PICTURE}.tmp"
    aside.write_bytes(page.picture(card, index, covered, values))
    aside.replace(folder / page.PICTURE)


def card_of(
    name: DatasetId,
    folder: Path,
    files: Sequence[str],
    described: Description,
    index: pa.Table,
    story: Story,
) -> tuple[DatasetCard, Coverage]:
    """Measure what was written and return the card.

    Args:
        name: Id of the dataset.
        folder: Where its files lie.
        files: The parts in order, and the index.
        described: What the columns mean.
        index: Its episodes.
        story: What the rows do not say.
    """
    place = Place(folder)
    parts = [f for f in files if f.startswith("part-")]
    covered = coverages.measure(_batches(place, parts), described)
    low, high = (story.reference.get(role, {}).get("value") for role in ("random", "best"))
    quality = None
    if low is not None and high is not None and high > low:
        quality = round((float(pc.mean(index["return"]).as_py()) - low) / (high - low), 6)
    n = decisions_in(index)
    card = DatasetCard(
        id=str(name),
        about=story.about,
        family=described.family,
        scenario={"name": story.scenario, "overrides": list(story.overrides)},
        traces=[dict(t) for t in story.traces],
        generated=dict(story.generated),
        behaviour=_behaviour(place, parts, index),
        episodes=len(index),
        transitions=n,
        splits=counted(index),
        reward={term: weight for term, _, _, weight in described.terms},
        discount_seconds=float(story.discount_seconds),
        coverage={**covered.to_dict(), "trajectory_quality": quality},
        inferred=round(decisions_in(index.filter(index["inferred"])) / n, 6),
        invalid=round(float(pc.sum(index["invalid"]).as_py()) / n, 6),
        fidelity=None if story.fidelity is None else dict(story.fidelity),
        reference={role: dict(t) for role, t in story.reference.items()},
        reference_command=story.reference_command,
        licence=story.licence,
        files={f: place.sha256(f) for f in files},
        actions=covered.actions,
        command=story.command,
    )
    return card, covered


def scores(replay: Replay, family: str, seeds: int) -> dict[str, dict[str, Any]]:
    """Return the reference scores of a card, by role.

    Args:
        replay: Where the policies meet the same workloads.
        family: Of the decisions.
        seeds: How many workloads.
    """
    roles = {k: list(v) for k, v in Catalogue().read(f"reference/{family}").items()}
    store = Store()
    names = list(dict.fromkeys(n for role in roles.values() for n in role))
    policies = {n: named(n, store).policy for n in names}
    which = range(REFERENCE_SEED, REFERENCE_SEED + seeds)
    with progress("playing reference policies", len(names) * seeds, "episodes") as bar:
        found = reference.references(
            replay.scenario, policies, which, on_episode=lambda name: bar.update(note=name)
        )
    chosen = reference.choose(
        found, {k: v for k, v in roles.items() if k != "heuristic"} | {"best": names}
    )
    by_role = {role: _plain(found[name]) for role, name in chosen.items()}
    limit = reference.bound(replay.scenario, which)
    if limit is not None:
        by_role["bound"] = _plain(limit)
    return by_role


def _plain(found: reference.Reference) -> dict[str, Any]:
    return {
        k: round(v, 6) if isinstance(v, float) else v
        for k, v in vars(found).items()
        if not (isinstance(v, float) and not np.isfinite(v))
    }


def _batches(place: Place, parts: Sequence[str]) -> Iterator[pa.Table]:
    for part in parts:
        with place.parquet(part) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=list(coverages.COLUMNS))


def _behaviour(place: Place, parts: Sequence[str], index: pa.Table) -> dict[str, dict[str, Any]]:
    """Return episodes, decisions, mean return and mean propensity of each policy."""
    known, chance = np.zeros(len(index)), np.zeros(len(index))
    for part in parts:
        with place.parquet(part) as file:
            rows = file.read(columns=["episode", "propensity"])
        rows = rows.filter(rows["propensity"].is_valid())
        episode = rows["episode"].to_numpy()
        np.add.at(known, episode, 1)
        np.add.at(chance, episode, rows["propensity"].to_numpy())
    policies = np.array(index["policy"].to_pylist(), dtype=object)
    returns, decisions = index["return"].to_numpy(), index["decisions"].to_numpy()
    found = {}
    for name in dict.fromkeys(policies.tolist()):
        own = policies == name
        count = float(known[own].sum())
        found[str(name)] = {
            "episodes": int(own.sum()),
            "decisions": int(decisions[own].sum()),
            "return_mean": round(float(returns[own].mean()), 6),
            "propensity": round(float(chance[own].sum()) / count, 6) if count else None,
        }
    return found
