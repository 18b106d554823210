"""A dataset → PyTorch: one that is indexed, and one that streams from the files.

::

    data = toolkit.load_dataset("placement/workflows-8-stream-mixed-v1")
    for batch in DataLoader(data.torch("train"), batch_size=256, shuffle=True, collate_fn=whole):
        batch["observation"]           # [256, W]
    for batch in DataLoader(data.stream("train", batch_size=256), batch_size=None, num_workers=2):
        ...

A transition is a dictionary of tensors: ``observation`` [W], ``action``, ``reward``, ``discount``
(exp(−elapsed/τ)), ``next_observation`` [W], ``mask`` and ``next_mask`` [K], ``terminal`` and
``propensity`` (NaN where unknown). Only decisions to learn from are in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import IterableDataset, get_worker_info

from toolkit.data.padding import COLUMNS, Transitions, from_table
from toolkit.errors import require
from toolkit.seeding import generator

if TYPE_CHECKING:
    from toolkit.data.dataset import Dataset

Tensors = dict[str, torch.Tensor]
_Arrays = dict[str, npt.NDArray[Any]]


class Batch(Sequence[Tensors]):
    """Some transitions: a sequence of single ones for any ``collate_fn``, already stacked.

    Args:
        tensors: Each with the transitions along its first axis.
    """

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.tensors["action"])

    def __getitem__(self, index: Any) -> Any:
        """Return one of them, or some as a batch."""
        found = {name: values[index] for name, values in self.tensors.items()}
        return Batch(found) if isinstance(index, slice) else found


def whole(batch: Batch) -> Tensors:
    """Return the tensors of a batch; the ``collate_fn`` that copies nothing."""
    return batch.tensors


class TransitionData(torch.utils.data.Dataset[Tensors]):
    """Transitions by number, in memory or mapped from a file.

    ``DataLoader`` fetches whole batches at once, which ``collate_fn=torch_data.whole`` takes as
    they are; the default of PyTorch works too, and cuts and stacks them once more.

    Args:
        data: The padded rows.
        discount_seconds: τ.
    """

    def __init__(self, data: Transitions, *, discount_seconds: float) -> None:
        require(discount_seconds > 0, "discount_seconds must be positive")
        self._data, self._tau = data, discount_seconds
        self._rows = data.rows

    def __len__(self) -> int:
        """Return the number of decisions to learn from."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensors:
        """Return one transition."""
        found: Tensors = self.__getitems__([index])[0]
        return found

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return some transitions."""
        return Batch(_tensors(_fields(self._data, self._rows[np.asarray(indices)], self._tau)))


@dataclass(frozen=True)
class _Piece:
    """Consecutive rows of one row group."""

    part: str
    group: int
    begin: int
    end: int


class TransitionStream(IterableDataset[Tensors]):
    """Transitions in an order drawn by the seed, read row group by row group in bounded memory.

    In memory lie one row group as it is stored and ``shuffle`` padded transitions. Row groups are
    drawn in random order and dealt to the workers of a ``DataLoader`` and to ``world_size``
    processes; where they are fewer, they are divided. Every transition is met once per epoch by
    one of them. The same seed, epoch and number of readers give the same order. Processes may get
    different numbers of batches: those that train in step stop with the first that has no more.

    Args:
        dataset: What is read.
        split: Only its episodes of this one; None for all.
        batch_size: Transitions of a batch, for ``DataLoader(..., batch_size=None)``; single ones
            when absent, which are slower.
        shuffle: Transitions that are mixed at a time; 0 for the order of the files.
        seed: Of the order.
        rank: Number of this process.
        world_size: How many processes share the dataset.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str | None = "train",
        *,
        batch_size: int | None = None,
        shuffle: int = 16_384,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        require(batch_size is None or batch_size >= 1, f"batch_size is {batch_size}, not 1 or more")
        require(shuffle >= 0, f"shuffle is {shuffle}, not 0 or more")
        require(0 <= rank < world_size, f"rank {rank} is not one of {world_size} processes")
        self._dataset, self._split = dataset, split
        self._batch_size, self._shuffle, self._seed = batch_size, shuffle, seed
        self._rank, self._world_size = rank, world_size
        self._kept = None if split is None else pa.array(dataset.numbers(split), pa.int32())
        # Shared, so that workers that outlive an epoch see it.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Draw another order from now on."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[Tensors]:
        """Yield the transitions of this worker."""
        worker = get_worker_info()
        workers, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        shard = self._rank * workers + number
        epoch = int(self._epoch)
        pieces = self._pieces(self._world_size * workers)
        if self._shuffle:
            order = generator(self._seed, "stream", epoch).permutation(len(pieces))
            pieces = [pieces[i] for i in order]
        mine = pieces[shard :: self._world_size * workers]
        size = self._batch_size or min(1024, max(1, self._shuffle))
        blocks = _cut((b for p in mine for b in self._blocks(p)), size)
        if self._shuffle:
            rng = generator(self._seed, "stream", epoch, shard)
            blocks = _mixed(blocks, max(self._shuffle, size), size, rng)
        for block in blocks:
            tensors = _tensors(block)
            if self._batch_size is not None:
                yield tensors
            else:
                yield from Batch(tensors)

    def _pieces(self, readers: int) -> list[_Piece]:
        """Return what is dealt to the readers; all of them find the same."""
        found = []
        for name in self._dataset.parts:
            with self._dataset.place.parquet(name) as file:
                for group in range(file.num_row_groups):
                    n = file.metadata.row_group(group).num_rows
                    found.append(_Piece(name, group, 0, n))
        if len(found) >= readers:
            return found
        cuts = -(-readers // len(found))
        return [
            _Piece(p.part, p.group, p.end * j // cuts, p.end * (j + 1) // cuts)
            for p in found
            for j in range(cuts)
        ]

    def _blocks(self, piece: _Piece) -> Iterator[_Arrays]:
        """Yield the transitions of a piece, padded some at a time."""
        place, described = self._dataset.place, self._dataset.described
        tau = self._dataset.card.discount_seconds
        with place.parquet(piece.part) as file:
            rows = file.read_row_group(piece.group, columns=list(COLUMNS))
            # The last row needs the observation of the next one, which may lie in the next group.
            more = piece.end == len(rows) and piece.group + 1 < file.num_row_groups
            if more and not rows["terminated"][-1].as_py():
                batch = next(
                    file.iter_batches(1, row_groups=[piece.group + 1], columns=list(COLUMNS))
                )
                if batch["episode"][0] == rows["episode"][-1]:
                    rows = pa.concat_tables([rows, pa.Table.from_batches([batch])])
        begin, end = piece.begin, piece.end
        while begin < end:
            stop = min(begin + 1024, end)
            block = rows.slice(begin, stop + 1 - begin)
            wanted = np.arange(len(block)) < stop - begin
            if self._kept is not None:
                wanted &= pc.is_in(block["episode"], value_set=self._kept).to_numpy()
            if wanted.any():
                data = from_table(block, described)
                chosen = np.flatnonzero(wanted & (data.action >= 0))
                if len(chosen):
                    yield _fields(data, chosen, tau)
            begin = stop


def _fields(data: Transitions, rows: npt.NDArray[np.int64], tau: float) -> _Arrays:
    """Return transitions as arrays of their own."""
    K = data.sizes[1]
    seen = np.take(data.observations, rows, axis=0, mode="clip")
    following = np.take(data.observations, data.following[rows], axis=0, mode="clip")
    return {
        "observation": seen,
        "action": data.action[rows],
        "reward": data.reward[rows].astype(np.float32),
        "discount": np.exp(-data.elapsed[rows] / tau).astype(np.float32),
        "next_observation": following,
        "mask": seen[:, -K:] != 0,
        "next_mask": following[:, -K:] != 0,
        "terminal": data.terminal[rows],
        "propensity": data.propensity[rows].astype(np.float32),
    }


def _tensors(found: _Arrays) -> Tensors:
    return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in found.items()}


def _cut(blocks: Iterator[_Arrays], size: int) -> Iterator[_Arrays]:
    """Yield blocks of exactly ``size`` transitions; the last may be shorter."""
    waiting: list[_Arrays] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block["action"])
        if count >= size:
            joined = _joined(waiting)
            whole_blocks = count // size * size
            for i in range(0, whole_blocks, size):
                yield {name: v[i : i + size] for name, v in joined.items()}
            waiting = [{name: v[whole_blocks:].copy() for name, v in joined.items()}]
            count -= whole_blocks
    if count:
        yield _joined(waiting)


def _joined(blocks: list[_Arrays]) -> _Arrays:
    if len(blocks) == 1:
        return blocks[0]
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


def _mixed(
    blocks: Iterator[_Arrays], most: int, size: int, rng: np.random.Generator
) -> Iterator[_Arrays]:
    """Yield blocks of a pool of ``most`` transitions, each replaced by those that come next."""
    pool: list[_Arrays] = []
    count = 0
    for block in blocks:
        n = len(block["action"])
        if count + n <= most or n < size:
            pool.append(block)
            count += n
            continue
        if len(pool) != 1:
            pool = [_joined(pool)]
        slots = rng.choice(count, size, replace=False)
        yield {name: v[slots] for name, v in pool[0].items()}
        for name, values in pool[0].items():
            values[slots] = block[name]
    if pool:
        rest = _joined(pool)
        order = rng.permutation(len(rest["action"]))
        for i in range(0, len(order), size):
            yield {name: v[order[i : i + size]] for name, v in rest.items()}
