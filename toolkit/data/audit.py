"""Audit: whether a dataset is what its manifest, its index and its columns say, row by row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.data import splits
from toolkit.data.dataset import Dataset
from toolkit.data.episodes import decisions_in
from toolkit.data.rows import Rows, octets
from toolkit.data.transitions import AGAIN, Description
from toolkit.errors import CorruptError, ToolkitError

MOST = 20
"""Problems that are told of; more would be read by nobody."""

SLACK = 1e-6
"""Seconds by which two times of one moment may differ."""


@dataclass
class Audit:
    """What was found.

    Args:
        problems: A sentence each; none where the dataset is sound.
        episodes: How many were read.
        rows: How many were read.
        actions: SHA-256 over all actions, equal for the same data made on another machine.
    """

    problems: list[str] = field(default_factory=list)
    episodes: int = 0
    rows: int = 0
    actions: str = ""

    def tell(self, problem: str) -> None:
        """Note a problem, unless there are enough."""
        if len(self.problems) < MOST:
            self.problems.append(problem)


def audit(dataset: Dataset) -> Audit:
    """Read every byte of a dataset and check it.

    Finds a changed byte, a missing file, foreign columns, rows that contradict each other or the
    index, an episode that is there twice, and what leaks from one split into another.
    """
    found = Audit()
    _files(dataset, found)
    try:
        described, index = dataset.described, dataset.episodes
        _index(index, found)
        _rows(dataset, described, index, found)
        if not found.problems:
            _card(dataset, index, found)
    except ToolkitError as error:
        found.tell(error.message)
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        found.tell(f"the rows cannot be read: {str(error).splitlines()[0][:200]}")
    return found


def check_files(dataset: Dataset) -> None:
    """Compare the SHA-256 of every file with the manifest's.

    Raises:
        CorruptError: On a missing or changed file.
    """
    found = Audit()
    _files(dataset, found)
    if found.problems:
        raise CorruptError(f"{dataset.id}: {found.problems[0]}", hint=AGAIN)


def _files(dataset: Dataset, found: Audit) -> None:
    for name, told in dataset.manifest["files"].items():
        try:
            if dataset.place.sha256(name) != told["sha256"]:
                found.tell(f"file {name} is not what was written: its SHA-256 differs")
        except ToolkitError as error:
            found.tell(error.message)


def _card(dataset: Dataset, index: pa.Table, found: Audit) -> None:
    """Compare what the card tells with what was read."""
    card, manifest = dataset.card, dataset.manifest
    held = {n: f["sha256"] for n, f in manifest["files"].items() if n != manifest["about"]["card"]}
    for what, told, true in (
        ("id", card.id, manifest["id"]),
        ("actions", card.actions, found.actions),
        ("files", dict(card.files), held),
        ("episodes", card.episodes, len(index)),
        ("transitions", card.transitions, decisions_in(index)),
        ("splits", {k: dict(v) for k, v in card.splits.items()}, splits.counted(index)),
    ):
        if told != true:
            found.tell(f"the {what} are not those that the card tells of")


def _index(index: pa.Table, found: Audit) -> None:
    numbers = index["episode"].to_numpy()
    if not np.array_equal(numbers, np.arange(len(numbers))):
        found.tell("the episodes of the index are not numbered 0, 1, 2, …")
    strange = sorted(set(index["split"].to_pylist()) - set(splits.SPLITS))
    if strange:
        found.tell(f"the index names a split {strange[0]!r}; there are {', '.join(splits.SPLITS)}")
    digests = index["digest"].to_pylist()
    first: dict[str, int] = {}
    for i, digest in enumerate(digests):
        if first.setdefault(digest, i) != i:
            found.tell(f"episode {i} is episode {first[digest]} once more")
    try:
        splits.check(index["workload"].to_pylist(), index["split"].to_pylist(), digests)
    except CorruptError as error:
        found.tell(error.message)


def _whole(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables that end where an episode does."""
    rest: pa.Table | None = None
    for rows in batches:
        rows = rows if rest is None else pa.concat_tables([rest, rows])
        episode = rows["episode"].to_numpy()
        others = np.flatnonzero(episode != episode[-1])
        cut = int(others[-1]) + 1 if len(others) else 0
        if cut:
            yield rows.slice(0, cut)
        rest = rows.slice(cut)
    if rest is not None and len(rest):
        yield rest


def _rows(dataset: Dataset, described: Description, index: pa.Table, found: Audit) -> None:
    told = index.to_pydict()
    actions = hashlib.sha256()
    place = _Where(dataset)
    for rows in _whole(dataset.batches()):
        columns, slots = unpacked(rows, described)
        actions.update(octets(columns["action"]))
        _values(columns, slots, described, found, found.rows)
        episode = columns["episode"]
        starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
        slot_ends = np.concatenate([[0], np.cumsum(slots)])
        for a, b in zip(starts, [*starts[1:], len(episode)], strict=True):
            number = int(episode[a])
            if number != found.episodes:
                found.tell(f"row {found.rows + a} begins episode {number} after {found.episodes}")
            found.episodes += 1
            if number >= len(index) or number < 0:
                found.tell(f"episode {number} is not in the index")
                continue
            part = {
                name: values[slot_ends[a] : slot_ends[b]]
                if name in ("candidates", "mask")
                else values[a:b]
                for name, values in columns.items()
            }
            _episode(number, part, slots[a:b], {k: v[number] for k, v in told.items()}, found)
            place.check(number, int(b - a), told, found)
        found.rows += len(episode)
    if found.episodes != len(index):
        found.tell(f"the parts hold {found.episodes} episodes, the index {len(index)}")
    found.actions = actions.hexdigest()


class _Where:
    """Follows in which part, and from which row on, each episode lies."""

    def __init__(self, dataset: Dataset) -> None:
        self._left: list[tuple[int, int]] = []
        for name in dataset.parts:
            with dataset.place.parquet(name) as file:
                self._left.append((int(name[5:10]), file.metadata.num_rows))
        self._row = 0

    def check(self, number: int, rows: int, told: Mapping[str, list[Any]], found: Audit) -> None:
        while self._left and self._row >= self._left[0][1]:
            self._left.pop(0)
            self._row = 0
        part = self._left[0][0] if self._left else -1
        if (told["part"][number], told["first"][number]) != (part, self._row):
            found.tell(f"the index does not say where the rows of episode {number} lie")
        self._row += rows


def unpacked(
    rows: pa.Table, described: Description
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]:
    """Return rows as :func:`toolkit.data.transitions.table` took them, and slots of each.

    Raises:
        CorruptError: When the lengths of the lists contradict each other or the columns.
    """
    G, K, F = described.sizes
    rows = rows.combine_chunks()
    columns: dict[str, npt.NDArray[Any]] = {}
    slots = pc.list_value_length(rows["mask"]).to_numpy().astype(np.int64)
    if len(slots) and (slots.min() < 1 or slots.max() > K):
        raise CorruptError(f"rows have {slots.min()} to {slots.max()} slots, not 1 to {K}")
    for name, wanted in (("globals", np.full(len(rows), G)), ("candidates", slots * F)):
        lengths = pc.list_value_length(rows[name]).to_numpy()
        if not np.array_equal(lengths, wanted):
            i = int(np.argmax(lengths != wanted))
            raise CorruptError(f"a row has {lengths[i]} values in {name}, not {wanted[i]}")
    for name in rows.column_names:
        column = rows[name]
        if name in ("globals", "candidates", "mask"):
            flat = np.concatenate(
                [np.asarray(c.flatten().to_numpy(zero_copy_only=False)) for c in column.chunks]
            )
            wide = {"globals": G, "candidates": F}.get(name)
            columns[name] = flat if wide is None else flat.reshape(-1, wide)
        elif name == "agent":
            found = pc.index_in(column, value_set=pa.array(described.agents))
            columns[name] = found.fill_null(-1).to_numpy().astype(np.int32)
        elif pa.types.is_floating(column.type):
            columns[name] = column.fill_null(np.nan).to_numpy()
        elif pa.types.is_boolean(column.type):
            columns[name] = column.to_numpy(zero_copy_only=False)
        else:
            columns[name] = column.fill_null(-1).to_numpy()
    return columns, slots


def _values(
    c: Mapping[str, npt.NDArray[Any]],
    slots: npt.NDArray[np.int64],
    described: Description,
    found: Audit,
    before: int,
) -> None:
    """Check what needs no knowledge of the episode."""
    n = len(slots)
    starts = np.cumsum(slots) - slots
    action = c["action"]
    answered = action >= 0
    inside = answered & (action < slots)
    allowed = np.zeros(n, dtype=np.bool_)
    allowed[inside] = c["mask"][starts[inside] + action[inside]]
    follows = np.append(c["episode"][1:] == c["episode"][:-1], False)
    gap = np.append(c["time"][1:] - c["time"][:-1], 0.0) - c["elapsed"]
    paid = sum(
        sign * weight * c[f"r_{name}"].astype(np.float64)
        for name, _, sign, weight in described.terms
    )
    p = c["propensity"]
    ended = c["terminated"] | c["truncated"]
    closing = ~answered & ~c["invalid"]
    finite = np.isfinite(c["globals"]).all(axis=1) & np.isfinite(c["time"])
    finite &= np.isfinite(c["elapsed"]) & np.isfinite(c["reward"])
    shown = np.isfinite(c["candidates"]).all(axis=1)
    if not shown.all():
        finite[np.searchsorted(np.cumsum(slots), np.flatnonzero(~shown), side="right")] = False
    checks = {
        "has a value that is no finite number": ~finite,
        "names an agent that the columns do not know": c["agent"] < 0,
        "took a slot that it does not show": answered & ~inside,
        "took a slot that its mask forbids and is not marked invalid": inside
        & ~allowed
        & ~c["invalid"],
        "is marked invalid though its mask allows the choice": inside & allowed & c["invalid"],
        "has a propensity that is not in (0, 1]": ~np.isnan(p) & ~((p > 0) & (p <= 1)),
        "has a propensity for a decision that nobody recorded": ~np.isnan(p) & c["inferred"],
        "has a negative elapsed time": c["elapsed"] < 0,
        "is not followed by the next one after its elapsed time": follows
        & (np.abs(gap) > SLACK * np.maximum(1.0, np.abs(c["time"]))),
        "is not paid the weighted sum of its terms": np.abs(c["reward"] - paid)
        > 1e-4 * (1.0 + np.abs(c["reward"])),
        "ends its episode twice": c["terminated"] & c["truncated"],
        "ends its episode, but other decisions follow": ended
        & follows
        & np.append(answered[1:], False),
        "has no action though it is no closing row": closing & follows,
    }
    for what, wrong in checks.items():
        if wrong.any():
            i = int(np.argmax(wrong))
            where = f"row {before + i} (episode {int(c['episode'][i])}, step {int(c['step'][i])})"
            more = int(wrong.sum()) - 1
            found.tell(f"{where} {what}" + (f"; so it is with {more} others" if more else ""))


def _episode(
    number: int,
    c: Mapping[str, npt.NDArray[Any]],
    slots: npt.NDArray[np.int64],
    told: Mapping[str, Any],
    found: Audit,
) -> None:
    """Compare an episode with its entry in the index."""
    n = len(slots)
    if not np.array_equal(c["step"], np.arange(n)):
        found.tell(f"the steps of episode {number} are not numbered 0, 1, 2, …")
    decisions = n - int(c["action"][-1] < 0 and not c["invalid"][-1])
    if int((c["terminated"] | c["truncated"]).sum()) != 1:
        found.tell(f"episode {number} does not end once, terminated or truncated")
    facts = {
        "rows": n,
        "decisions": decisions,
        "terminated": bool(c["terminated"].any()),
        "truncated": bool(c["truncated"].any()),
        "inferred": bool(c["inferred"].any()),
        "invalid": int(c["invalid"].sum()),
    }
    for name, value in facts.items():
        if told[name] != value:
            found.tell(f"episode {number}: {name} is {value}, the index says {told[name]}")
    total = float(c["reward"].sum())
    if not np.isclose(total, told["return"], rtol=1e-9, atol=1e-9):
        found.tell(f"episode {number}: the return is {total}, the index says {told['return']}")
    digest = Rows(columns=dict(c), slots=slots, decisions=decisions).digest()
    if digest != told["digest"]:
        found.tell(f"episode {number} is not the one that was indexed: its fingerprint differs")
