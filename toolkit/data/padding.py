"""Padding: ragged rows → arrays of equal rows, in memory or mapped from a file."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from toolkit.data.transitions import Description
from toolkit.errors import CorruptError, require
from toolkit.paths import data_root
from toolkit.store import fingerprint
from toolkit.workload import Floats, Ints, Mask, Vector

if TYPE_CHECKING:
    from toolkit.data.dataset import Dataset

COLUMNS = (
    "episode", "elapsed", "agent", "globals", "candidates", "mask", "action", "reward",
    "terminated", "propensity", "invalid",
)  # fmt: skip
_WIDE = ("globals", "candidates", "mask")


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """Decisions as padded arrays, ready to sample: N rows of W = G + K x F + K numbers.

    Args:
        observations: ``[globals | candidates | mask]`` of each row, and a last row of zeros that
            stands for "nothing follows"; shape [N + 1, W].
        sizes: G, K and F.
        action: Slot; -1 where a row is not for training: a closing row, a choice that the mask
            forbids, the end of an episode whose next observation is not known; shape [N].
        reward: Shape [N].
        elapsed: Shape [N], s.
        terminal: True where nothing follows, shape [N].
        following: Row of the next observation, N for none; shape [N].
        propensity: Shape [N], NaN where unknown.
        episode: Shape [N].
        agent: Index of who is asked among ``described.agents``, shape [N].
        described: What the columns mean.
    """

    observations: npt.NDArray[np.float32]
    sizes: tuple[int, int, int]
    action: Ints
    reward: Floats
    elapsed: Floats
    terminal: npt.NDArray[np.bool_]
    following: Ints
    propensity: Floats
    episode: Ints
    agent: npt.NDArray[np.int8]
    described: Description

    def __len__(self) -> int:
        """Return N."""
        return len(self.action)

    @property
    def globals(self) -> npt.NDArray[np.float32]:
        """Global features, a view of shape [N, G]."""
        return self.observations[:-1, : self.sizes[0]]

    @property
    def candidates(self) -> npt.NDArray[np.float32]:
        """Candidate features, a view of shape [N, K, F]."""
        G, K, F = self.sizes
        return self.observations[:-1, G : G + K * F].reshape(len(self), K, F)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which slots may be chosen, shape [N, K]."""
        return np.asarray(self.observations[:-1, -self.sizes[1] :] != 0)

    @property
    def rows(self) -> Ints:
        """Rows that are for training."""
        return np.flatnonzero(self.action >= 0)


def width(described: Description) -> int:
    """Return W, the numbers of a padded row."""
    G, K, F = described.sizes
    return G + K * F + K


def padded(dataset: Dataset, split: str | None = None, memory: float | None = None) -> Transitions:
    """Return a dataset's decisions as padded arrays.

    Args:
        dataset: What is read.
        split: Only its episodes of this one.
        memory: Bytes of observations that may lie in memory; more are mapped from a file, which
            is kept in the store's cache for the next time.
    """
    index = dataset.episodes
    if split is not None:
        numbers = pa.array(dataset.numbers(split), pa.int32())
        index = index.filter(pc.is_in(index["episode"], value_set=numbers))
    n = int(pc.sum(index["rows"]).as_py() or 0)
    most = dataset.rows()
    if not 0 <= n <= most or (split is None and n != most):
        raise CorruptError(f"the index tells of {n} rows, the parts of {most}")
    size = (n + 1) * width(dataset.described) * 4
    if memory is None or size <= memory:
        observations = np.zeros((n + 1, width(dataset.described)), dtype=np.float32)
        return fill(dataset.batches(split, COLUMNS), dataset.described, observations)
    return _mapped(dataset, split, n)


def _mapped(dataset: Dataset, split: str | None, n: int) -> Transitions:
    """Return observations that lie in a file; written once, aside, and renamed when whole."""
    folder = data_root() / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    file = (
        folder
        / f"{fingerprint(dataset.digest, dataset.place.url, split)}-{dataset.digest[:16]}.f32"
    )
    shape = (n + 1, width(dataset.described))
    described = dataset.described
    if file.is_file() and file.stat().st_size == shape[0] * shape[1] * 4:
        small = [c for c in COLUMNS if c not in ("globals", "candidates", "mask")]
        observations = np.memmap(file, np.float32, "r", shape=shape)
        return _assembled(dataset.batches(split, small), described, observations)
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        writing = np.memmap(aside, np.float32, "w+", shape=shape)
        found = fill(dataset.batches(split, COLUMNS), described, writing, let_go=True)
        writing.flush()
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
    return Transitions(
        **{**vars(found), "observations": np.memmap(file, np.float32, "r", shape=shape)}
    )


def forget(array: npt.NDArray[Any]) -> None:
    """Let go of the pages of a mapped array; they come back from the file when they are read."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def from_table(table: pa.Table, described: Description) -> Transitions:
    """Return the rows of a table, sorted by episode and step, as padded arrays."""
    observations = np.zeros((len(table) + 1, width(described)), dtype=np.float32)
    return fill(iter([table.select(list(COLUMNS))]), described, observations)


def fill(
    batches: Iterator[pa.Table],
    described: Description,
    observations: npt.NDArray[np.float32],
    *,
    let_go: bool = False,
) -> Transitions:
    """Write the features of all rows into ``observations``, which holds zeros.

    Args:
        batches: The rows in order.
        described: What the columns mean.
        observations: Shape [N + 1, W].
        let_go: Whether to let go of what has been written, for arrays that lie in a file.

    Raises:
        CorruptError: When rows are of other sizes than described, or not as many as expected.
    """
    return _assembled(_filled(batches, described, observations, let_go), described, observations)


def _filled(
    batches: Iterator[pa.Table],
    described: Description,
    observations: npt.NDArray[np.float32],
    let_go: bool,
) -> Iterator[pa.Table]:
    G, K, F = described.sizes
    begun = 0
    # One group is decoded by another thread while this one is filled in.
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(next, batches, None)
        while (rows := waiting.result()) is not None:
            waiting = reader.submit(next, batches, None)
            ended = begun + len(rows)
            if ended > len(observations) - 1:
                raise CorruptError("the dataset has more rows than its index says")
            into = observations[begun:ended]
            into[:, :G] = _flat(rows["globals"], len(rows) * G, "global").reshape(-1, G)
            slots = np.asarray(pc.list_value_length(rows["mask"]).to_numpy()).astype(np.int64)
            if len(slots) and (slots.max() > K or slots.min() < 0):
                raise CorruptError(f"a row has more than the {K} slots that the columns have")
            total = int(slots.sum())
            lengths = pc.list_value_length(rows["candidates"]).to_numpy()
            if not np.array_equal(lengths, slots * F):
                raise CorruptError("the candidates of a row do not match its mask")
            flat = _flat(rows["candidates"], total * F, "candidate")
            _spread(flat, _flat(rows["mask"], total, "mask"), slots, G, K, F, into)
            if let_go:
                forget(observations)
            begun = ended
            yield rows.drop_columns(["globals", "candidates", "mask"])


@njit(cache=True, error_model="numpy")
def _spread(flat: Vector, flags: Mask, slots: Ints, G: int, K: int, F: int, into: Vector) -> None:
    """Write the slots of each row behind its global features, and the flags behind those."""
    slot = 0
    for i in range(len(slots)):
        begin, count = slot * F, slots[i] * F
        for j in range(count):
            into[i, G + j] = flat[begin + j]
        for j in range(slots[i]):
            into[i, G + K * F + j] = flags[slot + j]
        slot += slots[i]


def _flat(column: pa.ChunkedArray, expected: int, what: str) -> npt.NDArray[Any]:
    parts = [np.asarray(c.flatten().to_numpy(zero_copy_only=False)) for c in column.chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)
    if len(flat) != expected:
        raise CorruptError(f"rows have {len(flat)} {what} values where {expected} were expected")
    # Compiled code takes what may be written, as a fresh array may, for another type.
    flat.flags.writeable = False
    return flat


def _assembled(
    batches: Iterator[pa.Table], described: Description, observations: npt.NDArray[np.float32]
) -> Transitions:
    found = list(batches)
    n = len(observations) - 1
    if sum(len(b) for b in found) != n:
        raise CorruptError("the dataset has fewer rows than its index says")
    empty = described.schema.empty_table().select([c for c in COLUMNS if c not in _WIDE])
    rows = pa.concat_tables([b.select(empty.column_names) for b in found] or [empty])
    episode = rows["episode"].to_numpy().astype(np.int64)
    action = rows["action"].fill_null(-1).to_numpy().astype(np.int64)
    invalid = rows["invalid"].to_numpy(zero_copy_only=False)
    terminal = rows["terminated"].to_numpy(zero_copy_only=False)
    if len(action) and (action.max() >= described.slots):
        raise CorruptError(f"an action is beyond the {described.slots} slots of the columns")
    following = np.arange(1, n + 1)
    last = np.append(episode[1:] != episode[:-1], True) if n else np.zeros(0, dtype=np.bool_)
    following[last] = n
    # A truncated episode without its closing observation cannot be bootstrapped: leave it out.
    keep = (action >= 0) & ~invalid & (terminal | ~last)
    names = pa.array(described.agents)
    agent = pc.index_in(rows["agent"], value_set=names)
    require(agent.null_count == 0, f"rows name agents that are not among {described.agents}")
    return Transitions(
        observations=observations,
        sizes=described.sizes,
        action=np.where(keep, action, -1),
        reward=rows["reward"].to_numpy(),
        elapsed=rows["elapsed"].to_numpy(),
        terminal=terminal,
        following=following.astype(np.int64),
        propensity=rows["propensity"].fill_null(np.nan).to_numpy(),
        episode=episode,
        agent=agent.to_numpy().astype(np.int8),
        described=described,
    )
