"""The command ``toolkit evaluate``: policies × workloads, paired, into the one record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate

from toolkit.errors import ConfigError, require

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from toolkit.report import Report


def evaluate(cfg: DictConfig) -> Report:
    """Judge policies on unseen workloads in the calibrated replay, or on the runs of a trace.

    All policies meet the same workloads and the same luck; each pair is compared seed by seed.
    """
    suite: Any = instantiate(cfg.suite, _convert_="all")
    one = cfg.policy.name
    require(cfg.policies is None or one is None, "name policies=[...] or policy=, not both")
    wanted = cfg.policies if one is None else [one]
    if wanted is not None:
        if not hasattr(suite, "policies"):
            raise ConfigError(
                f"suite {suite.name!r} chooses its policies itself",
                hint="leave out policies=, or name another suite: toolkit list what=suite",
            )
        suite = replace(suite, policies=[str(p) for p in wanted])
    report: Report = suite.run(cfg)
    return report


def ensure(suite: Any, cfg: DictConfig) -> None:
    """Evaluate what a suite still lacks; what has been judged is read from the record.

    Args:
        suite: What is judged.
        cfg: As for :meth:`evaluations.suite.Suite.judged`.

    Raises:
        ConfigError: When it is a suite with a report of its own.
    """
    if not hasattr(suite, "judged"):
        raise ConfigError(
            f"suite {suite.name!r} has a report of its own and no board",
            hint=f"toolkit evaluate suite={suite.name}; what has been judged: "
            "toolkit leaderboard all=true evaluate=false",
        )
    suite.judged(cfg)
