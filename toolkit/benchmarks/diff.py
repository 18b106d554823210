"""The command ``toolkit dataset diff``: in what two datasets differ."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.data.dataset import Dataset, load_dataset
from toolkit.report import Report

if TYPE_CHECKING:
    from omegaconf import DictConfig


def diff(cfg: DictConfig) -> Report:
    """Say in what two datasets differ: columns, card, episodes.

    Episodes are told apart by the fingerprint of their rows, so that the same ones are found
    wherever they lie.
    """
    a, b = load_dataset(str(cfg.a)), load_dataset(str(cfg.b))
    found = differences(a, b)
    same = not any(found[k] for k in ("columns", "card", "only_a", "only_b", "moved"))
    lines = [f"a: {a.id} in {a.place.url}", f"b: {b.id} in {b.place.url}"]
    if same:
        lines.append("the same episodes and the same card")
    for key, (left, right) in {**found["columns"], **found["card"]}.items():
        lines.append(f"  {key}: {left} | {right}")
    lines.append(
        f"  episodes: {found['both']:,} in both, {found['only_a']:,} only in a, "
        f"{found['only_b']:,} only in b, {found['moved']:,} in another split"
    )
    return Report(document={"a": a.id, "b": b.id, "same": same, **found}, text="\n".join(lines))


def differences(a: Dataset, b: Dataset) -> dict[str, Any]:
    """Return the differences of two datasets: columns, card, and counts of episodes."""
    columns = _unequal(a.described.to_dict(), b.described.to_dict())
    skipped = ("files", "command", "reference_command")
    left, right = (
        {k: v for k, v in dataclasses.asdict(d.card).items() if k not in skipped} for d in (a, b)
    )
    splits = [
        dict(zip(d.episodes["digest"].to_pylist(), d.episodes["split"].to_pylist(), strict=True))
        for d in (a, b)
    ]
    counts = [Counter(d.episodes["digest"].to_pylist()) for d in (a, b)]
    both = counts[0] & counts[1]
    return {
        "columns": columns,
        "card": _unequal(left, right),
        "both": both.total(),
        "only_a": (counts[0] - both).total(),
        "only_b": (counts[1] - both).total(),
        "moved": sum(splits[0][d] != splits[1][d] for d in both),
    }


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any], under: str = "") -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found |= _unequal(left, right, f"{under}{key}.")
        elif left != right:
            found[f"{under}{key}"] = [left, right]
    return found
