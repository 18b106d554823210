"""A dataset → one ``.npz`` of padded arrays, as D4RL and OGBench name them; without pickle.

=====================  ==========================================================================
``observations``       ``[globals | candidates | mask]`` of each decision, float32 [N, W]
``next_observations``  the same of what followed; zeros after the end of an episode
``actions``            the slot taken, int64 [N]
``rewards``            float64 [N]
``terminals``          True where every job had finished, bool [N]
``timeouts``           True at the last decision of an episode that was cut, bool [N]
``masks``              1 − terminals, the factor of a bootstrapped value, float32 [N]
``action_masks``       which slots could be chosen, bool [N, K]
``next_action_masks``  the same of what followed
``propensities``       probability of the action, NaN where unknown, float64 [N]
``elapsed``            s until the next decision, float64 [N]
``discounts``          exp(−elapsed / τ), float64 [N]
``episodes``           number of the episode, int64 [N]
``agents``             who was asked, an index into ``agent_names``, int8 [N]
``agent_names``        text [A]
``sizes``              G, K and F: W = G + K·F + K
=====================  ==========================================================================

Only decisions to learn from are in it: those whose action is known and allowed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.data.dataset import Dataset
from toolkit.data.padding import Transitions
from toolkit.data.splits import SPLITS
from toolkit.errors import require
from toolkit.exports.aside import aside
from toolkit.exports.export import Exported

_BYTES = 256 << 20
"""Of observations that may lie in memory while they are written."""
_CHUNK = 8192
_LEVEL = 1
"""Of deflate: padded slots are zeros, which any level makes small."""


def write(dataset: Dataset, out: Path, split: str | None, force: bool) -> Exported:
    """Write a dataset; see :func:`toolkit.exports.export.to_npz`."""
    if out.suffix != ".npz":
        out = out / (Path(dataset.id).name + (f"-{split}" if split else "") + ".npz")
    data = dataset.transitions(split, memory=_BYTES)
    rows = data.rows
    require(len(rows) > 0, f"{dataset.id} has no decision to learn from in {split or 'any split'}")
    with (
        aside(out, force=force, ours=_is_export) as beside,
        zipfile.ZipFile(beside, "w") as archive,
    ):
        for name, (kind, shape, values) in _arrays(dataset, data, rows).items():
            _add(archive, name, np.dtype(kind), (len(rows), *shape), values, rows)
        _whole(archive, "sizes", np.array(data.sizes, dtype=np.int64))
        _whole(archive, "agent_names", np.array(data.described.agents))
        _whole(archive, "split_names", np.array(SPLITS))
    return Exported(
        path=out,
        episodes=len(np.unique(data.episode[rows])),
        transitions=len(rows),
        left_out=0,
        load=f"python -c \"import numpy; print(dict(numpy.load('{out}')).keys())\"",
    )


def _is_export(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return {"agent_names.npy", "action_masks.npy"} <= set(archive.namelist())


_Values = Callable[[npt.NDArray[np.int64]], npt.NDArray[Any]]


def _arrays(
    dataset: Dataset, data: Transitions, rows: npt.NDArray[np.int64]
) -> dict[str, tuple[type | str, tuple[int, ...], _Values]]:
    """Return kind, shape of a row, and what gives the values of some rows, by name."""
    seen, K = data.observations, data.sizes[1]
    W = seen.shape[1]
    # The last row of an episode that is kept ends it for a reader, whatever was left out after.
    cut = np.zeros(len(data), dtype=np.bool_)
    cut[rows[np.append(np.diff(data.episode[rows]) != 0, True)]] = True
    tau = dataset.card.discount_seconds
    split_of = np.array([SPLITS.index(s) for s in dataset.episodes["split"].to_pylist()])
    return {
        "observations": ("float32", (W,), lambda i: seen[i]),
        "next_observations": ("float32", (W,), lambda i: seen[_next(data, i)]),
        "actions": ("int64", (), lambda i: data.action[i]),
        "rewards": ("float64", (), lambda i: data.reward[i]),
        "terminals": ("bool", (), lambda i: data.terminal[i]),
        "timeouts": ("bool", (), lambda i: cut[i] & ~data.terminal[i]),
        "masks": ("float32", (), lambda i: 1.0 - data.terminal[i]),
        "action_masks": ("bool", (K,), lambda i: seen[i, -K:] != 0),
        "next_action_masks": ("bool", (K,), lambda i: seen[_next(data, i), -K:] != 0),
        "propensities": ("float64", (), lambda i: data.propensity[i]),
        "elapsed": ("float64", (), lambda i: data.elapsed[i]),
        "discounts": ("float64", (), lambda i: np.exp(-data.elapsed[i] / tau)),
        "episodes": ("int64", (), lambda i: data.episode[i]),
        "splits": ("int8", (), lambda i: split_of[data.episode[i]]),
        "agents": ("int8", (), lambda i: data.agent[i]),
    }


def _next(data: Transitions, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return data.following[rows]


def _add(
    archive: zipfile.ZipFile,
    name: str,
    kind: np.dtype[Any],
    shape: tuple[int, ...],
    values: _Values,
    rows: npt.NDArray[np.int64],
) -> None:
    """Add an array some rows at a time."""
    with archive.open(_entry(name), "w", force_zip64=True) as stream:
        header = {"descr": kind.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for chunk in _chunks(rows):
            stream.write(np.ascontiguousarray(values(chunk), dtype=kind).tobytes())


def _whole(archive: zipfile.ZipFile, name: str, values: npt.NDArray[Any]) -> None:
    with archive.open(_entry(name), "w") as stream:
        np.lib.format.write_array(stream, values, allow_pickle=False)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry._compresslevel = _LEVEL  # type: ignore[attr-defined]
    return entry


def _chunks(rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for i in range(0, len(rows), _CHUNK):
        yield rows[i : i + _CHUNK]
