"""Bench: how unequal the two CPU workers are, and what the recorder itself costs."""

from __future__ import annotations

from collectors.gpu.workers import Workers, check_unequal, specs

_ROUNDS = 5
_TASKS = 20


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the value of each round."""
    with Workers(specs("cpu", 1)) as workers:
        ratios = [check_unequal(workers) for _ in range(_ROUNDS)]
        cost = [_handing_over(workers) for _ in range(_ROUNDS)]
    return [
        ("matmul on the slow CPU worker over the fast one", "x", [r["matmul"] for r in ratios]),
        (
            "attention on the slow CPU worker over the fast one",
            "x",
            [r["attention"] for r in ratios],
        ),
        ("handing over a torch task of about 25 ms over running it", "%", cost),
    ]


def _handing_over(workers: Workers) -> float:
    """Return what passes between the ends of tasks beyond the tasks themselves, percent."""
    ends, took = [], []
    for task in range(_TASKS):
        workers.run(0, task, "matmul", 1024, task)
        [end], _ = workers.finish(1)
        workers.drop(0, task)
        ends.append(end.at)
        took.append(end.took.host_seconds)
    return 100.0 * ((ends[-1] - ends[0]) / sum(took[1:]) - 1.0)
