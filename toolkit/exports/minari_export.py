"""A dataset → Minari: what its loaders, viewers and libraries read, with its environment.

Minari's ids know no dots and end with the version: ``placement/x-mixed-v1-sample`` is
``toolkit/placement/x-mixed-sample-v1``. An episode has one observation more than actions: after a
terminated one the last is repeated, after a truncated one it is the closing row's.
``infos`` hold, for each observation, who was asked, when, how many seconds later the next one
was, and the probability of the action (NaN where unknown).

Of Minari's own three back ends HDF5 is the fastest to write (docs/datasets.md): the others look
at every file of the dataset again after each episode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from toolkit import __version__
from toolkit.catalogue import Catalogue
from toolkit.data.card import DatasetId
from toolkit.data.dataset import Dataset
from toolkit.data.padding import from_table
from toolkit.data.transitions import Description
from toolkit.errors import ConfigError, require, unknown
from toolkit.exports.aside import aside
from toolkit.exports.export import Exported
from toolkit.progress import progress

if TYPE_CHECKING:
    from minari.data_collector import EpisodeBuffer

_FORMATS = ("hdf5", "arrow", "parquet")
_ID = re.compile(r"[-\w][-\w/]*/[-\w]+-v\d+\Z|[-\w]+-v\d+\Z", re.ASCII)
_SOURCE = "https://pypi.org/project/offline-scheduling-toolkit/"
_AUTHOR = "offline-scheduling-toolkit"


def minari_id(dataset: Dataset, split: str | None = None) -> str:
    """Return the id of a dataset in Minari."""
    parts = DatasetId.parse(dataset.id)
    end = ("-sample" if parts.sample else "") + (f"-{split}" if split else "")
    name = re.sub(r"[^-\w]", "_", f"{parts.workload}-{parts.tier}{end}")
    return f"toolkit/{parts.family}/{name}-v{parts.version}"


def write(
    dataset: Dataset,
    name: str | None,
    split: str | None,
    out: str | Path | None,
    force: bool,
    data_format: str,
) -> Exported:
    """Write a dataset; see :func:`toolkit.exports.export.to_minari`.

    Raises:
        ConfigError: When Minari is not installed, the name is none, or there is such a dataset.
    """
    try:
        import minari
        from minari.dataset.minari_storage import MinariStorage
        from minari.storage.datasets_root_dir import get_dataset_path
    except ImportError as error:
        raise ConfigError(
            f"to write for Minari it must be installed: {error}",
            hint="pip install 'offline-scheduling-toolkit[minari]'",
        ) from error
    if data_format not in _FORMATS:
        raise unknown("format of Minari", data_format, _FORMATS)
    name = name or minari_id(dataset, split)
    require(
        _ID.match(name) is not None and ".." not in name,
        f"{name[:80]!r} is no id for Minari: (namespace/)name-v<N> of letters, digits, '-' and '_'",
    )
    index = dataset.episodes
    numbers = dataset.numbers(split)
    kept = index.filter(pc.is_in(index["episode"], value_set=pa.array(numbers, pa.int32())))
    held = set(_whole_ones(dataset, split))
    require(bool(held), f"no episode of {dataset.id} can be written for Minari")
    root = get_dataset_path() if out is None else Path(out).expanduser()
    path = root / name
    described = dataset.described
    with aside(path, force=force, ours=_is_minari) as beside:
        (beside / "data").mkdir(parents=True)
        storage = MinariStorage.new(
            beside / "data",
            observation_space=_observations(described.sizes),
            action_space=spaces.Discrete(described.slots),
            env_spec=env_spec(dataset),
            data_format=data_format,
            jpeg_encoding=False,
        )
        storage.update_metadata(_told(dataset, name, split, str(minari.__version__)))
        told = {int(e["episode"]): e for e in kept.select(["episode", "seed"]).to_pylist()}
        with progress(f"writing {name}", len(held), "episodes") as bar:
            seeds = {n: told[n]["seed"] for n in told}
            storage.update_episodes(
                _counted(_buffers(dataset, split, held, seeds, data_format == "hdf5"), bar)
            )
    where = "" if out is None else f"MINARI_DATASETS_PATH={root} "
    return Exported(
        path=path,
        episodes=len(held),
        transitions=_steps(path),
        left_out=len(numbers) - len(held),
        load=f"{where}python -c \"import minari; print(minari.load_dataset('{name}').spec)\"",
    )


def _steps(path: Path) -> int:
    """Return the number of steps of a dataset of Minari."""
    return int(json.loads((path / "data" / "metadata.json").read_text("utf-8"))["total_steps"])


def env_spec(dataset: Dataset) -> EnvSpec | None:
    """Return the environment of a dataset as Gymnasium makes it again, in a fresh process too.

    None where there is none: its scenario is not known, or asks decisions of other sizes than
    those that were recorded.
    """
    from toolkit.envs.registration import environment

    if dataset.scenario not in Catalogue().groups.get("scenario", []):
        return None
    scenario, overrides = dataset.card.played()
    kwargs: dict[str, Any] = {"scenario": scenario}
    if overrides:
        kwargs["overrides"] = list(overrides)
    env = environment(**kwargs)
    if env.observation_space != _observations(dataset.described.sizes):
        return None
    # The entry point names its module, so that it is found where nobody imported the toolkit.
    return EnvSpec(
        id=f"toolkit/{scenario}-v0",
        entry_point="toolkit.envs.registration:environment",
        vector_entry_point="toolkit.envs.registration:batched",
        kwargs=kwargs,
    )


def _observations(sizes: tuple[int, int, int]) -> spaces.Dict:
    from toolkit.envs.environment import observations

    return observations(sizes)


def _told(dataset: Dataset, name: str, split: str | None, version: str) -> dict[str, Any]:
    card = dataset.card
    behaviour = list(card.behaviour)
    more = f" and {len(behaviour) - 12} more" if len(behaviour) > 12 else ""
    about = (
        f"{card.about} Decisions of {card.family}: every action is one of {dataset.described.slots}"
        " slots, of which observations['mask'] allows some. Time between decisions is irregular: "
        f"discount a step by exp(-infos['elapsed'] / {card.discount_seconds:g}). "
        f"Licence: {card.licence}. Made from {dataset.id}"
        + (f", split {split}" if split else "")
        + f", SHA-256 {dataset.digest}, by: {card.command}"
    )
    told: dict[str, Any] = {
        "dataset_id": name,
        "minari_version": version,
        "code_permalink": _SOURCE,
        "author": {_AUTHOR},
        "algorithm_name": ", ".join(behaviour[:12]) + more,
        "description": about,
        "requirements": [f"offline-scheduling-toolkit=={__version__}"],
        "toolkit_dataset": dataset.id,
        "toolkit_digest": dataset.digest,
        "discount_seconds": card.discount_seconds,
        "agents": list(dataset.described.agents),
    }
    low, high = (card.reference.get(role, {}).get("value") for role in ("random", "best"))
    if low is not None and high is not None and high > low:
        told |= {
            "ref_min_score": float(low),
            "ref_max_score": float(high),
            "num_episodes_average_score": int(card.reference["random"].get("seeds", 0)),
        }
    return told


def _whole_ones(dataset: Dataset, split: str | None) -> list[int]:
    """Return the episodes all of whose decisions have an action that the mask allows."""
    rows = dataset.table(split, ["episode", "action", "invalid"])
    action, invalid = rows["action"], rows["invalid"]
    last: Any = np.append(np.diff(rows["episode"].to_numpy()) != 0, True) if len(rows) else []
    answered = np.asarray(pc.is_valid(action).to_numpy())
    wrong = np.asarray(invalid.to_numpy()) | (~answered & ~np.asarray(last, dtype=np.bool_))
    bad = set(rows["episode"].to_numpy()[wrong].tolist())
    steps = {
        e["episode"]: e["rows"] - (not e["terminated"])
        for e in dataset.episodes.select(["episode", "rows", "terminated"]).to_pylist()
    }
    return [n for n in dataset.numbers(split) if n not in bad and steps[n] > 0]


def episodes(dataset: Dataset, split: str | None) -> Iterator[pa.Table]:
    """Yield the rows of one episode after another; no more than a row group is in memory."""
    rest: list[pa.Table] = []
    for rows in dataset.batches(split):
        episode = rows["episode"].to_numpy()
        cuts = [0, *(np.flatnonzero(np.diff(episode)) + 1).tolist(), len(rows)]
        for a, b in pairwise(cuts):
            piece = rows.slice(a, b - a)
            if rest and rest[-1]["episode"][0].as_py() != int(episode[a]):
                yield pa.concat_tables(rest)
                rest = []
            rest.append(piece)
    if rest:
        yield pa.concat_tables(rest)


def _buffers(
    dataset: Dataset,
    split: str | None,
    held: set[int],
    seeds: Mapping[int, int | None],
    plain: bool,
) -> Iterator[EpisodeBuffer]:
    from minari.data_collector import EpisodeBuffer

    for rows in episodes(dataset, split):
        number = rows["episode"][0].as_py()
        if number in held:
            arrays = _arrays(rows, dataset.described)
            if not plain:
                # Minari 0.5.4 does not read infos that were arrays of numbers back from Arrow.
                arrays["infos"] = {name: v.tolist() for name, v in arrays["infos"].items()}
            yield EpisodeBuffer(seed=seeds[number], **arrays)


def _arrays(rows: pa.Table, described: Description) -> dict[str, Any]:
    """Return one episode as Minari wants it: N steps, N + 1 observations and infos."""
    data = from_table(rows, described)
    terminated = bool(rows["terminated"].to_numpy(zero_copy_only=False).any())
    # Where the last row has a successor that nobody saw, that row closes the episode.
    steps = len(rows) if terminated else len(rows) - 1
    shown = np.minimum(np.arange(steps + 1), len(rows) - 1)
    real = np.arange(steps + 1) < steps
    last = np.arange(steps) == steps - 1
    return {
        "observations": {
            "globals": data.globals[shown],
            "candidates": data.candidates[shown],
            "mask": data.mask[shown].astype(np.int8),
        },
        "actions": rows["action"].to_numpy()[:steps].astype(np.int64),
        "rewards": rows["reward"].to_numpy()[:steps],
        "terminations": last & terminated,
        "truncations": last & (not terminated),
        "infos": {
            "agent": data.agent[shown].astype(np.int64),
            "elapsed": np.where(real, data.elapsed[shown], 0.0),
            "propensity": np.where(real, data.propensity[shown], np.nan),
            "time": np.where(
                np.arange(steps + 1) < len(rows),
                rows["time"].to_numpy()[shown],
                rows["time"].to_numpy()[-1] + data.elapsed[-1],
            ),
        },
    }


def _counted(found: Iterator[EpisodeBuffer], bar: Any) -> Iterator[EpisodeBuffer]:
    for one in found:
        yield one
        bar.update()


def _is_minari(path: Path) -> bool:
    return (path / "data" / "metadata.json").is_file() and {p.name for p in path.iterdir()} <= {
        "data",
        "namespace_metadata.json",
    }
