"""Episodes: the index of a dataset, one row per episode, which says where its rows lie."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

FILE = "episodes.parquet"
"""Its name in the folder of a dataset."""


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


EPISODES = pa.schema(
    [
        _field("episode", pa.int32(), "index"),
        _field("split", pa.string(), "train | workload | time"),
        _field("policy", pa.string(), "behaviour policy"),
        _field("workload", pa.string(), "fingerprint: equal for equal jobs and arrivals"),
        _field("seed", pa.int64(), "of workload and luck", True),
        _field("run", pa.int32(), "run of the trace", True),
        _field("began", pa.float64(), "unix s at which a recorded run began", True),
        _field("rows", pa.int32(), "count, a closing row included"),
        _field("decisions", pa.int32(), "count"),
        _field("seconds", pa.float64(), "s from the first to past the last decision"),
        _field("return", pa.float64(), "sum of the rewards"),
        _field("discounted", pa.float64(), "sum of reward x exp(-time / tau)"),
        _field("terminated", pa.bool_(), "flag"),
        _field("truncated", pa.bool_(), "flag"),
        _field("inferred", pa.bool_(), "flag: read from what ran"),
        _field("invalid", pa.int32(), "decisions that the mask forbids"),
        _field("overflow", pa.int32(), "decisions at which some candidate found no slot"),
        _field("digest", pa.string(), "fingerprint of the rows; equal for equal episodes"),
        _field("part", pa.int32(), "number of the part file"),
        _field("first", pa.int64(), "its first row in that file"),
    ]
)
"""The columns of the index. Episodes are in the order in which they were recorded."""


def decisions_in(index: pa.Table) -> int:
    """Return the number of decisions of some episodes."""
    return int(pc.sum(index["decisions"]).as_py() or 0)


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of an episode beside its rows.

    Args:
        policy: Behaviour policy.
        workload: Fingerprint of jobs and arrivals.
        seed: Of workload and luck; None for a log.
        run: Its run in the trace; None where it was simulated.
        began: When a recorded run began, unix s.
    """

    policy: str
    workload: str
    seed: int | None = None
    run: int | None = None
    began: float | None = None
