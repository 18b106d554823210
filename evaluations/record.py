"""Record: what was judged, as one run of MLflow for each policy."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig

from evaluations.episode import pictured
from evaluations.judged import Judged
from evaluations.metrics import UNITS
from evaluations.source import Source
from toolkit import tracking
from toolkit.features.observe import FEATURISER
from toolkit.revision import revision
from toolkit.simulator.simulator import SIMULATOR


def record(
    suite: str, judged: Judged, source: Source, *, settings: Mapping[str, Any], force: bool
) -> None:
    """Record one policy on one suite, unless the record has it.

    Args:
        suite: Name of the suite.
        judged: What came of it.
        source: Where it was played.
        settings: Those of the suite.
        force: Whether to replace what the record has.
    """
    if not force and tracking.find_evaluation(suite, judged.key) is not None:
        return
    by = judged.by
    tracking.log_evaluation(
        suite=suite,
        policy=judged.policy,
        metrics=_metrics(judged),
        params={f"suite.{k}": v for k, v in settings.items()},
        tags={
            "engine": source.engine,
            "learned": str(by.learned).lower(),
            "calibration": source.calibration,
            "calibration_error": source.error,
            "simulator": str(SIMULATOR),
            "schema": str(FEATURISER),
            "dataset": by.lineage.get("dataset", ""),
            "dataset_digest": str(by.lineage.get("dataset_digest", ""))[:36],
            "trained_policy": by.artefact or (by.name if by.learned else ""),
            "failure": judged.failures[0] if judged.failures else "",
            "commit": revision(),
            "command": command(suite, source, by.artefact or judged.policy),
            "cell_key": judged.key,
        },
        cells=judged.cells,
        model=by.folder,
        episode=_episode(judged, source),
    )


def command(suite: str, source: Source, policy: str) -> str:
    """Return what to type to get a row again; settings that were changed are named.

    Args:
        suite: Name of the suite.
        source: Where it was played.
        policy: Name or id.
    """
    told = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    changed = [str(w) for w in told if str(w).lstrip("+~").startswith("suite.")]
    trace = [f"trace={source.trace}"] if source.trace else []
    changed = [w for w in changed if not w.startswith("suite.policies=")]
    words = [f"suite={suite}", *changed, *trace, f"policies=[{_quoted(policy)}]"]
    return shlex.join(["toolkit", "evaluate", *words])


def _quoted(name: str) -> str:
    """Return a name as Hydra reads it within a list."""
    if re.fullmatch(r"[\w.-]+", name, re.ASCII):
        return name
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _metrics(judged: Judged) -> dict[str, float]:
    found = {"n_seeds": float(judged.cells["seed"].nunique())}
    found["failed"] = float(len(judged.failures))
    told = {"chosen": judged.chosen, "iqm": judged.iqm}
    for name, interval in {
        "score": judged.score, **{n: judged.mean(n) for n in UNITS}
    }.items():  # fmt: skip
        stem = "ci" if name == "score" else f"{name}_ci"
        told |= {
            name: interval.value,
            f"{stem}_low": interval.low,
            f"{stem}_high": interval.high,
        }
    return found | {k: v for k, v in told.items() if np.isfinite(v)}


def _episode(judged: Judged, source: Source) -> dict[str, Any] | None:
    """Return the first workload of the first ground as a drawing needs it."""
    if judged.failures or not source.grounds:
        return None
    task, ground = next(iter(source.grounds.items()))
    return pictured(judged.policy, ground, task, int(judged.cells["seed"].min()))
