"""Columns: many events as arrays, with names and other repeated values kept once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from collectors.gpu.events import number

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]

WIDE = 4096
"""Characters by which long names are told apart."""

LARGE = 2000
"""Bytes of the sizes and types of an op's inputs, beyond which they are left out."""


class Codes(dict[Any, int]):
    """Gives every new key the next index."""

    def __missing__(self, key: Any) -> int:
        if isinstance(key, str) and len(key) > WIDE:
            return self[key[:WIDE]]
        code = self[key] = len(self)
        return code


class Shapes(Codes):
    """Gives an index to the sizes and types of the inputs of an op; 0 to what is too long."""

    def __missing__(self, key: tuple[bytes, bytes]) -> int:
        if len(key[0]) + len(key[1]) > LARGE:
            return 0
        return super().__missing__(key)


@dataclass(kw_only=True)
class Columns:
    """Rows of one kind, as arrays of one block after another.

    Args:
        parts: The arrays of each column.
    """

    parts: dict[str, list[npt.NDArray[Any]]] = field(default_factory=dict)

    def take(self, **columns: npt.NDArray[Any]) -> None:
        """Append a block."""
        for name, values in columns.items():
            self.parts.setdefault(name, []).append(values)

    def joined(self) -> dict[str, npt.NDArray[Any]]:
        """Return each column as one array; the blocks are let go."""
        found = {}
        for name in list(self.parts):
            found[name] = np.concatenate(self.parts.pop(name))
        return found


class Rows:
    """The joined columns of one kind of row, and what became of them.

    Args:
        columns: What was gathered.
        count: Rows, where nothing was gathered.
    """

    def __init__(self, columns: Columns, count: int | None = None) -> None:
        self._columns = columns.joined()
        first = next(iter(self._columns.values()), np.empty(0))
        self._count = len(first) if count is None else count
        self.seen = self._count
        self.complete = self.repaired = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name] if name in self._columns else _nothing(name)

    def __setitem__(self, name: str, values: npt.NDArray[Any]) -> None:
        self._columns[name] = values

    def drop(self, *names: str) -> None:
        """Let go of columns that are needed no more."""
        for name in names:
            self._columns.pop(name, None)

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Leave out the other rows."""
        self._columns = {n: v[mask] for n, v in self._columns.items()}
        self._count = int(mask.sum())


_INDICES = ("kind", "name", "thread", "detail", "queue", "parent", "job", "task", "launch")


def _nothing(name: str) -> npt.NDArray[Any]:
    return np.empty(0, dtype=np.int64 if name in _INDICES else np.float64)


def coded(codes: Codes, keys: Iterable[Any]) -> npt.NDArray[np.int32]:
    """Return the index of each key."""
    return np.fromiter(map(codes.__getitem__, keys), dtype=np.int32)


def floats(values: list[float | None]) -> Floats:
    """Return numbers, NaN where there is none."""
    return np.array(values, dtype=np.float64)


def numbers_of(values: list[Any]) -> tuple[Floats, int]:
    """Return numbers, NaN where there is none, and how many were infinite or NaN."""
    try:
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return floats([number(v) for v in values]), 0
    endless = np.isinf(found)
    found[endless] = np.nan
    return found, int(endless.sum())


def products(sizes: list[list[float] | None]) -> Floats:
    """Return the product of three sizes, NaN where there are not three."""
    found = floats([None if s is None or len(s) != 3 else s[0] * s[1] * s[2] for s in sizes])
    found[np.isinf(found)] = np.nan
    return found


def nullable(indices: npt.NDArray[Any]) -> list[int | None]:
    """Return indices with None for those below zero."""
    return [None if i < 0 else i for i in indices.tolist()]


def dense(values: npt.NDArray[Any]) -> tuple[list[int], npt.NDArray[Any]]:
    """Return the distinct values in order of appearance, and the index of each value in them."""
    codes = Codes()
    found = coded(codes, values.tolist())
    return list(codes), found
