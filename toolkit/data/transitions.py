"""Transitions: one decision per row, as an Arrow schema that describes itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolkit import reward
from toolkit.errors import CorruptError, SchemaError
from toolkit.features.observe import FEATURISER, features_of, slots_of
from toolkit.reward import Reward
from toolkit.workload import FAMILIES, Workload

SCHEMA = 2
"""Version of the columns."""

AGAIN = "make it again: toolkit dataset build force=true"

Column = npt.NDArray[Any]


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


def _every(kind: pa.DataType) -> pa.DataType:
    """Return a list whose elements are never null, which is read in two thirds of the time."""
    return pa.list_(pa.field("element", kind, nullable=False))


BEFORE = (
    _field("episode", pa.int32(), "index"),
    _field("step", pa.int32(), "index within the episode"),
    _field("time", pa.float64(), "s since the start of the episode"),
    _field("elapsed", pa.float64(), "s until the next decision"),
    _field("agent", pa.string(), "name"),
    _field("globals", _every(pa.float32()), "G features"),
    _field("candidates", _every(pa.float32()), "slots x F features, slot by slot"),
    _field("mask", _every(pa.bool_()), "flag of each slot: may be chosen"),
    _field("action", pa.int32(), "slot; null in a closing row, and where no slot shows it", True),
    _field("key", pa.int32(), "what that slot stands for", True),
    _field("reward", pa.float64(), "weighted sum of the terms"),
)
AFTER = (
    _field("terminated", pa.bool_(), "flag: every job has finished"),
    _field("truncated", pa.bool_(), "flag: cut at the horizon; a closing row follows"),
    _field("propensity", pa.float64(), "probability of the action; null where unknown", True),
    _field("inferred", pa.bool_(), "flag: read from what ran, nobody recorded the decision"),
    _field("invalid", pa.bool_(), "flag: the mask forbids what was recorded"),
    _field("overflow", pa.int32(), "candidates that found no slot"),
    _field("run", pa.int32(), "run of the trace"),
    _field("decision", pa.int32(), "decision of the trace, else its number in the episode"),
    _field("job", pa.int32(), "job that it is about", True),
    _field("task", pa.int32(), "task that it is about", True),
    _field("node", pa.int32(), "node that it chose", True),
)
"""The columns around those of the reward's terms, ``r_<term>``.

A row holds what was asked, what was answered, and what came of it until the next row of its
episode, which holds the next observation. A truncated episode ends with a *closing row*: its last
observation, without an action. Slots at the end of a row that show nothing are left out.
"""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the rows of a dataset mean; it is stored with the columns.

    Args:
        family: Decision family.
        featuriser: Version of the features.
        types: Names of the process types.
        slots: K, the number of slots of every decision.
        globals: Name and unit of each of the G global features.
        candidates: Name and unit of each of the F candidate features.
        terms: Name, unit, sign and weight of each term of the reward.
        reward: Version of the terms.
    """

    family: str
    featuriser: int
    types: tuple[str, ...]
    slots: int
    globals: tuple[tuple[str, str], ...]
    candidates: tuple[tuple[str, str], ...]
    terms: tuple[tuple[str, str, float, float], ...]
    reward: int

    @staticmethod
    def of(workload: Workload, weights: Reward) -> Description:
        """Return the description of decisions about a workload under a reward."""
        globals_, candidates = features_of(workload)
        return Description(
            family=FAMILIES[workload.family],
            featuriser=FEATURISER,
            types=tuple(workload.types),
            slots=slots_of(workload),
            globals=tuple(globals_),
            candidates=tuple(candidates),
            terms=tuple(
                (name, t.unit, float(t.sign), float(getattr(weights, name)))
                for name, t in weights.TERMS.items()
            ),
            reward=reward.VERSION,
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """G, K and F."""
        return len(self.globals), self.slots, len(self.candidates)

    @property
    def agents(self) -> tuple[str, ...]:
        """Who may be asked."""
        if self.family == "placement":
            return ("task", "node")
        return self.types if self.family == "allocation" else ("fleet",)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, with the version of the columns."""
        return {"schema": SCHEMA, **json.loads(json.dumps(dataclasses.asdict(self)))}

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns; those of features carry their names, and the file a hash."""
        shown = {"family": self.family, "featuriser": str(self.featuriser)}
        fields = []
        for f in BEFORE:
            named = {"globals": self.globals, "candidates": self.candidates}.get(f.name)
            if named is not None:
                told = {
                    **shown,
                    "names": json.dumps([n for n, _ in named]),
                    "units": json.dumps([u for _, u in named]),
                }
                f = f.with_metadata({**f.metadata, **told})
            elif f.name in ("mask", "action", "key"):
                f = f.with_metadata({**f.metadata, "family": self.family})
            fields.append(f)
        fields += [_field(f"r_{name}", pa.float32(), unit) for name, unit, _, _ in self.terms]
        plain = pa.schema([*fields, *AFTER])
        described = json.dumps(self.to_dict(), sort_keys=True)
        return plain.with_metadata(
            {"toolkit": described, "schema_hash": schema_hash(plain, described)}
        )


def schema_hash(columns: pa.Schema, described: str) -> str:
    """Return the SHA-256 of names, types, nullability, metadata and description, in hex."""
    lines = [
        f"{f.name} {f.type} {f.nullable} {sorted((f.metadata or {}).items())}" for f in columns
    ]
    return hashlib.sha256("\n".join([*lines, described]).encode()).hexdigest()


def describe(columns: pa.Schema, name: str) -> Description:
    """Return the description stored with the columns of a file.

    Raises:
        SchemaError: When it is no transition dataset, of another version, or the columns are not
            those that its hash was made of.
    """
    stored = columns.metadata or {}
    try:
        text = stored[b"toolkit"].decode()
        told = json.loads(text)
        version = told.pop("schema")
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise SchemaError(f"{name} is not a transition dataset of this toolkit") from None
    if version != SCHEMA or told.get("featuriser") != FEATURISER:
        raise SchemaError(
            f"{name} has schema version {version!r} and featuriser {told.get('featuriser')!r}; "
            f"this release reads {SCHEMA} and {FEATURISER}",
            hint=AGAIN,
        )
    plain = pa.schema([columns.field(i) for i in range(len(columns))])
    if stored.get(b"schema_hash", b"").decode("ascii", "replace") != schema_hash(plain, text):
        raise SchemaError(f"the columns of {name} are not those that it was written with")
    try:
        found = Description(
            family=str(told["family"]),
            featuriser=int(told["featuriser"]),
            types=tuple(str(t) for t in told["types"]),
            slots=int(told["slots"]),
            globals=_pairs(told["globals"]),
            candidates=_pairs(told["candidates"]),
            terms=tuple((str(n), str(u), float(s), float(w)) for n, u, s, w in told["terms"]),
            reward=int(told["reward"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise SchemaError(f"the description of the columns of {name} is damaged") from error
    if found.schema != columns or not 0 < found.slots <= 1 << 20:
        raise SchemaError(f"the columns of {name} are not those of a {found.family} dataset")
    return found


def _pairs(told: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(unit)) for name, unit in told)


def table(
    described: Description,
    columns: Mapping[str, Column],
    slots: npt.NDArray[np.integer[Any]],
) -> pa.Table:
    """Return rows of plain arrays as a table, without copying features.

    Args:
        described: Of the dataset.
        columns: By name, shape [n]; but ``agent``, the index of its name among the description's;
            ``globals``, shape [n, G]; ``candidates``, shape [S, F] with S the sum of ``slots``;
            ``mask``, shape [S]. In a nullable column of integers -1 is null, in ``propensity``
            NaN; ``key`` is null where ``action`` is.
        slots: How many slots each row shows, shape [n].

    Raises:
        CorruptError: When the lengths contradict each other.
    """
    n, (G, _, F) = len(slots), described.sizes
    total = int(np.sum(slots))
    if columns["globals"].shape != (n, G) or columns["candidates"].shape != (total, F):
        raise CorruptError(
            f"globals of shape {columns['globals'].shape} and candidates of shape "
            f"{columns['candidates'].shape} do not fit {n} rows of {total} slots"
        )
    ends = np.concatenate([[0], np.cumsum(slots)])
    unanswered = columns["action"] < 0
    arrays = []
    schema = described.schema
    for f in schema:
        values = columns[f.name]
        if f.name == "agent":
            names = pa.DictionaryArray.from_arrays(
                pa.array(values.astype(np.int32)), pa.array(described.agents)
            )
            array = names.cast(pa.string())
        elif f.name == "globals":
            flat = values.reshape(-1).astype(np.float32, copy=False)
            array = _lists(f.type, np.arange(n + 1) * G, flat)
        elif f.name == "candidates":
            flat = values.reshape(-1).astype(np.float32, copy=False)
            array = _lists(f.type, ends * F, flat)
        elif f.name == "mask":
            array = _lists(f.type, ends, values.astype(np.bool_, copy=False))
        else:
            null = None
            if f.name == "propensity":
                null = np.isnan(values)
            elif f.nullable:
                null = unanswered if f.name in ("action", "key") else values < 0
            array = pa.array(values, type=f.type, mask=null)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _lists(kind: pa.DataType, offsets: Column, values: Column) -> pa.ListArray:
    if offsets[-1] > np.iinfo(np.int32).max:
        raise CorruptError("more than 2^31 values in one table; write it in several")
    starts = pa.array(offsets.astype(np.int32))
    return pa.ListArray.from_arrays(starts, pa.array(values), type=kind)
