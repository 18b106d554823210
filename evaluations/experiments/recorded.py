"""Recorded: what the arms of an experiment reached on one ground, as runs of MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluations.cells import REPLAY
from evaluations.metrics import MORE_IS_BETTER, UNITS
from evaluations.source import error_of
from evaluations.verdicts.comparison import Compared
from toolkit import tracking
from toolkit.progress import say
from toolkit.revision import revision
from toolkit.seeding import generator
from toolkit.simulator.simulator import SIMULATOR
from toolkit.statistics import bootstrap, mean
from toolkit.store import Store, fingerprint


def record(
    played: Compared,
    arms: Mapping[str, Sequence[str]],
    metric: str,
    *,
    experiment: str,
    ground: str,
    size: str,
    command: str,
    dataset: str = "",
) -> None:
    """Log a run for each arm of one ground.

    The score is 100 where an arm is as good as the best rule, a point more for each per cent
    (logarithmic) that it is better: its mean is the geometric mean of the ratios. Where a metric
    is 0 there is no ratio, and no run.

    Args:
        played: What was played there.
        arms: Ids of learned policies by arm; none for a rule.
        metric: What the score tells of.
        experiment: Its name.
        ground: Its name.
        size: ``quick`` or ``full``.
        command: What to type to get it all again.
        dataset: What was learnt from; "" where nothing was.
    """
    replayed = {}
    if played.ground[0] == REPLAY:
        product = Store().get("calibrations", played.ground[1])
        replayed = {
            "trace": str(product.manifest["inputs"]["trace"]),
            "calibration": product.id,
            "calibration_error": str(error_of(product)),
        }
    best = played.best(metric)
    sign = 1.0 if metric in MORE_IS_BETTER else -1.0
    reference = np.log(played.before[best][metric]).mean()
    for arm, policies in arms.items():
        frame = played.cells[arm].groupby("seed", as_index=False).mean(numeric_only=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            frame["score"] = 100 * (1 + sign * played.logs(arm, best, metric).mean(axis=0))
        scores = frame["score"].to_numpy()
        if not np.isfinite(scores).all():
            say(f"{arm} on {ground} is not on the board: its {metric} or that of {best} is 0")
            continue
        score = bootstrap(scores, generator(0, "score"), statistic=mean)
        chosen = {}
        if arm in played.before:
            known = np.log(played.before[arm][metric]).mean()
            chosen["chosen"] = float(100 * (1 + sign * (known - reference)))
        means = {m: float(frame[m].mean()) for m in UNITS if m in frame}
        tracking.log_evaluation(
            suite=f"{experiment}, {ground}" + ("" if size == "full" else f", {size}"),
            policy=arm,
            metrics={
                "score": score.value, "ci_low": score.low, "ci_high": score.high,
                "iqm": bootstrap(scores, generator(0, "iqm")).value, **means, **chosen,
            },
            params={"trainings": len(policies), "of": best, "size": size},
            tags={
                **replayed,
                "engine": "simulator",
                "learned": str(bool(policies)).lower(),
                "simulator": str(SIMULATOR),
                "dataset": dataset,
                "commit": revision(),
                "command": command,
                "cell_key": fingerprint(
                    experiment, ground, arm, list(policies), SIMULATOR, size, played.ground,
                    frame["seed"].tolist(),
                ),
            },
            cells=frame[["seed", "score", *means]],
        )  # fmt: skip
