"""Splits: which episodes are for training and which are held out; a workload is never divided.

Two kinds are held out. ``time``: the last tenth as recorded, so that everything in it is later
than everything learnt from. ``workload``: of what came before, one workload of every ten, and of
the ten or fewer at the end, drawn by their fingerprints, so that no rhythm of the behaviour
policies decides which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from toolkit.data.episodes import decisions_in
from toolkit.errors import CorruptError

TRAIN, WORKLOAD, TIME = "train", "workload", "time"
SPLITS = (TRAIN, WORKLOAD, TIME)

SHARE = 0.1
"""Of the workloads, held out in each of the two ways."""

FEWEST = 10
"""With fewer workloads nothing is held out: a split of one or none says nothing."""


def assign(workloads: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """Return the split of each episode.

    Args:
        workloads: Fingerprint of the workload of each episode, in the order of recording.
        before: Splits that the first episodes have already; they keep them.
    """
    known = dict(zip(workloads, before, strict=False))
    fresh = list(dict.fromkeys(w for w in workloads if w not in known))
    if len(known) + len(fresh) < FEWEST:
        return [known.get(w, TRAIN) for w in workloads]
    if TIME in known.values():
        # What was held out as the latest stays so; what comes later still is held out with it.
        late = set(fresh)
    else:
        late = _latest(list(workloads), set(fresh), round(SHARE * (len(known) + len(fresh))))
    early = [w for w in fresh if w not in late]
    known |= dict.fromkeys(late, TIME) | dict.fromkeys(early, TRAIN)
    for i in range(0, len(early), round(1 / SHARE)):
        known[min(early[i : i + round(1 / SHARE)], key=_number)] = WORKLOAD
    return [known[w] for w in workloads]


def _latest(workloads: list[str], fresh: set[str], count: int) -> set[str]:
    """Return at most ``count`` workloads after whose first episode no other one is met."""
    found: set[str] = set()
    met: dict[str, int] = {}
    for i, w in enumerate(workloads):
        met.setdefault(w, i)
    for w in sorted(met, key=lambda w: -met[w])[:count]:
        if w in fresh and {*workloads[met[w] :]} == found | {w}:
            found.add(w)
        else:
            break
    return found


def _number(workload: str) -> bytes:
    return hashlib.sha256(workload.encode()).digest()


def check(workloads: Sequence[str], splits: Sequence[str], digests: Sequence[str]) -> None:
    """Check that nothing leaks from one split into another.

    Args:
        workloads: Fingerprint of the workload of each episode.
        splits: Of each.
        digests: Fingerprint of the rows of each.

    Raises:
        CorruptError: When a workload or an equal episode is in two splits, or an episode to learn
            from is later than one that is held out as later.
    """
    for what, names in (("workload", workloads), ("episode", digests)):
        found: dict[str, tuple[str, int]] = {}
        for i, (name, split) in enumerate(zip(names, splits, strict=True)):
            other, j = found.setdefault(name, (split, i))
            if other != split:
                raise CorruptError(
                    f"episodes {j} and {i} have the same {what} {name}, but one is in the split "
                    f"{other!r} and the other in {split!r}"
                )
    late = [i for i, split in enumerate(splits) if split == TIME]
    for i, split in enumerate(splits):
        if late and split != TIME and i > late[0]:
            raise CorruptError(
                f"episode {i} of the split {split!r} is later than episode {late[0]}, which is "
                "held out as later"
            )


def counted(index: pa.Table) -> dict[str, dict[str, int]]:
    """Return how many episodes, workloads and decisions each split has, as cards tell it."""
    return {
        split: {
            "episodes": len(own),
            "workloads": len(pc.unique(own["workload"])),
            "decisions": decisions_in(own),
        }
        for split in SPLITS
        if len(own := index.filter(pc.equal(index["split"], split)))
    }
