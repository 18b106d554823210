"""Transitions: one decision per row, as an Arrow schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolkit.decision import Decision
from toolkit.errors import CorruptError, SchemaError
from toolkit.features.observe import FEATURISER, features_of
from toolkit.live import Episode
from toolkit.reward import Weights
from toolkit.workload import FAMILIES, Floats, Ints, Workload

SCHEMA = 1
"""Version of the columns."""

_AGAIN = "make it again: toolkit build force=true"


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


COLUMNS = pa.schema(
    [
        _field("episode", pa.int32(), "index"),
        _field("step", pa.int32(), "index within the episode"),
        _field("time", pa.float64(), "s since the start of the episode"),
        _field("elapsed", pa.float64(), "s until the next decision"),
        _field("agent", pa.string(), "name"),
        _field("globals", pa.list_(pa.float32()), "G features"),
        _field("candidates", pa.list_(pa.float32()), "K x F features, row by row"),
        _field("mask", pa.list_(pa.bool_()), "K flags"),
        _field("action", pa.int32(), "slot; null in the closing row", nullable=True),
        _field("key", pa.int32(), "what the slot stands for", nullable=True),
        _field("reward", pa.float64(), "weighted sum"),
        *[_field(f"r_{name}", pa.float32(), t.unit) for name, t in Weights.TERMS.items()],
        _field("terminated", pa.bool_(), "flag"),
        _field("truncated", pa.bool_(), "flag"),
        _field("propensity", pa.float64(), "probability", nullable=True),
        _field("inferred", pa.bool_(), "flag"),
        _field("invalid", pa.bool_(), "flag: the mask forbids what was recorded"),
        _field("overflow", pa.int32(), "candidates that did not fit the slots"),
        _field("run", pa.int32(), "run of the trace"),
        _field("decision", pa.int32(), "decision of the trace, else its number"),
    ]
)
"""A row per decision; the next observation is the next row of the episode.

A truncated episode ends with a closing row that holds its last observation and no action.
"""


def schema(workload: Workload) -> pa.Schema:
    """Return the columns with the metadata that names every feature and its unit."""
    globals_, candidates = features_of(workload)
    described = {
        "schema": SCHEMA,
        "family": FAMILIES[workload.family],
        "featuriser": FEATURISER,
        "types": list(workload.types),
        "globals": [list(f) for f in globals_],
        "candidates": [list(f) for f in candidates],
    }
    return COLUMNS.with_metadata({"toolkit": json.dumps(described)})


def rows(
    episode: Episode, workload: Workload, number: int, run: int, closing: Decision | None
) -> pa.Table:
    """Return the transitions of one episode.

    Args:
        episode: What the rollout loop returned.
        workload: Its workload.
        number: Its index in the dataset.
        run: Its run in the trace.
        closing: What would have been asked next, when the episode was truncated.
    """
    steps = episode.steps
    decisions = [s.decision for s in steps] + ([closing] if closing is not None else [])
    extra = len(decisions) - len(steps)
    last = np.arange(len(decisions)) == len(steps) - 1
    nothing = np.zeros(len(Weights.TERMS))
    components = np.array([s.components for s in steps] + [nothing] * extra)
    columns: dict[str, Any] = {
        "episode": [number] * len(decisions),
        "step": list(range(len(decisions))),
        "time": [d.time for d in decisions],
        "elapsed": [s.elapsed for s in steps] + [0.0] * extra,
        "agent": [d.agent for d in decisions],
        "globals": [d.globals for d in decisions],
        "candidates": [d.candidates.reshape(-1) for d in decisions],
        "mask": [d.mask for d in decisions],
        "action": [s.action for s in steps] + [None] * extra,
        "key": [int(s.decision.keys[s.action]) for s in steps] + [None] * extra,
        "reward": [s.reward for s in steps] + [0.0] * extra,
        **{f"r_{n}": components[:, i].astype(np.float32) for i, n in enumerate(Weights.TERMS)},
        "terminated": last & episode.terminated,
        "truncated": last & (not episode.terminated),
        "propensity": [s.propensity for s in steps] + [None] * extra,
        "inferred": [False] * len(decisions),
        "invalid": [not bool(s.decision.mask[s.action]) for s in steps] + [False] * extra,
        "overflow": [0] * len(decisions),
        "run": [run] * len(decisions),
        "decision": list(range(len(decisions))),
    }
    return pa.Table.from_pydict(columns, schema=schema(workload))


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """A dataset's decisions as padded arrays, ready to sample; N transitions of K slots.

    Args:
        globals: Shape [N, G].
        candidates: Shape [N, K, F].
        mask: Shape [N, K].
        action: Shape [N].
        reward: Shape [N].
        elapsed: Shape [N], s.
        terminal: True where nothing follows, shape [N].
        following: Row of the next observation (N for none) in the observation arrays below.
        propensity: Shape [N], NaN where unknown.
        episode: Shape [N].
        described: The schema's own description of features, family and versions.
    """

    globals: np.ndarray[Any, np.dtype[np.float32]]
    candidates: np.ndarray[Any, np.dtype[np.float32]]
    mask: np.ndarray[Any, np.dtype[np.bool_]]
    action: Ints
    reward: Floats
    elapsed: Floats
    terminal: np.ndarray[Any, np.dtype[np.bool_]]
    following: Ints
    propensity: Floats
    episode: Ints
    described: dict[str, Any]

    def __len__(self) -> int:
        return len(self.action)


def read(files: Sequence[Path]) -> pa.Table:
    """Read the Parquet parts of a dataset.

    Raises:
        CorruptError: When a part is truncated or no Parquet file.
        SchemaError: When its columns are those of another version.
    """
    tables = []
    for file in files:
        try:
            part = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise CorruptError(
                f"{file} is missing, truncated or no Parquet file", hint=_AGAIN
            ) from error
        described = describe(part.schema, str(file))
        if described["schema"] != SCHEMA or described["featuriser"] != FEATURISER:
            raise SchemaError(
                f"{file} has schema version {described['schema']} and featuriser "
                f"{described['featuriser']}; this release reads {SCHEMA} and {FEATURISER}",
                hint=_AGAIN,
            )
        for field in COLUMNS:
            if (
                field.name not in part.column_names
                or part.schema.field(field.name).type != field.type
            ):
                raise CorruptError(
                    f"{file} has no column {field.name} of {field.type}", hint=_AGAIN
                )
        tables.append(part)
    return pa.concat_tables(tables)


def describe(columns: pa.Schema, name: str) -> dict[str, Any]:
    """Return the description stored with the columns.

    Raises:
        SchemaError: When there is none: the file is not a transition dataset.
    """
    try:
        described = json.loads((columns.metadata or {})[b"toolkit"])
        if {"schema", "featuriser", "types", "globals", "candidates"} <= set(described):
            return dict(described)
    except (KeyError, ValueError, TypeError):
        pass
    raise SchemaError(f"{name} is not a transition dataset of this toolkit", hint=_AGAIN)


def pad(table: pa.Table) -> Transitions:
    """Return the decisions of a table as padded arrays; invalid rows are left out.

    Rows must be sorted by episode and step.
    """
    described = describe(table.schema, "the table")
    n, wide = len(table), len(described["candidates"])
    slots = pc.list_value_length(table["mask"]).to_numpy()
    k = int(slots.max()) if n else 0
    globals_ = _stack(table["globals"], len(described["globals"]))
    candidates = np.zeros((n, k, wide), dtype=np.float32)
    mask = np.zeros((n, k), dtype=np.bool_)
    flat = _flat(table["candidates"]).reshape(-1, wide)
    flags = _flat(table["mask"])
    if len(flat) != int(slots.sum()):
        raise CorruptError("the candidates of a row do not match its mask", hint=_AGAIN)
    row = np.repeat(np.arange(n), slots)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(slots) - slots, slots)
    candidates[row, slot] = flat
    mask[row, slot] = flags
    episode = table["episode"].to_numpy().astype(np.int64)
    action = table["action"].to_pandas().fillna(-1).to_numpy().astype(np.int64)
    invalid = table["invalid"].to_numpy(zero_copy_only=False)
    terminal = table["terminated"].to_numpy(zero_copy_only=False)
    following = np.arange(1, n + 1)
    last = np.append(episode[1:] != episode[:-1], True)
    following[last] = n
    # A truncated episode without its closing observation cannot be bootstrapped: leave it out.
    keep = (action >= 0) & ~invalid & (terminal | ~last)
    return Transitions(
        globals=globals_,
        candidates=candidates,
        mask=mask,
        action=np.where(keep, action, -1),
        reward=table["reward"].to_numpy(),
        elapsed=table["elapsed"].to_numpy(),
        terminal=terminal,
        following=following.astype(np.int64),
        propensity=table["propensity"].to_pandas().to_numpy(dtype=np.float64),
        episode=episode,
        described=described,
    )


def _flat(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[Any]]:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    return np.asarray(values.flatten().to_numpy(zero_copy_only=False))


def _stack(column: pa.ChunkedArray, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    flat = _flat(column)
    if len(flat) != len(column) * width:
        raise CorruptError(f"a row does not have {width} global features", hint=_AGAIN)
    return flat.reshape(-1, width).astype(np.float32)
