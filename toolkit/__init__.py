"""Record what a cluster did, learn from it offline, prove it in a calibrated replay.

::

    import toolkit

    data = toolkit.load_dataset("allocation/genomics-open-mixed-v1-sample")
    policy = toolkit.train("cql", data)
    found = toolkit.evaluate([policy, "static"], data)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.benchmarks.reference import Reference
    from toolkit.data.dataset import Dataset
    from toolkit.envs.environment import SchedulingEnv
    from toolkit.policies.callable_policy import Chooser
    from toolkit.policies.learned import Taught
    from toolkit.policies.policy import Policy

__version__ = "0.1.0"


def load_dataset(where: str | Path) -> Dataset:
    """Return a transition dataset by its id, folder or URL.

    See :func:`toolkit.data.dataset.load_dataset`; nothing heavy is imported before it is called.
    """
    from toolkit.data.dataset import load_dataset as load

    return load(where)


def make(scenario: str | Dataset, **settings: Any) -> SchedulingEnv:
    """Return the Gymnasium environment of a scenario, or of the scenario of a dataset.

    Args:
        scenario: Name of a scenario of ``conf/scenario``, or a dataset.
        settings: Those of :class:`toolkit.envs.environment.SchedulingEnv`.

    Raises:
        NotFoundError: When there is no such scenario; names near ones.
        ConfigError: When the dataset's scenario is not known.
    """
    from toolkit.envs.registration import environment

    if isinstance(scenario, str):
        return environment(scenario, **settings)
    name, overrides = scenario.card.played()
    return environment(name, overrides, **settings)


def train(algo: str, dataset: Dataset, *, seed: int = 0, **settings: Any) -> Taught:
    """Return a policy learnt from a dataset; see :func:`toolkit.learning.lesson.train`."""
    from toolkit.learning.lesson import train as learn

    return learn(algo, dataset, seed=seed, **settings)


def load_policy(where: str | Path) -> Taught:
    """Return a trained policy by its id or by the folder of its artefact; executes nothing.

    Raises:
        NotFoundError: When there is none.
        CorruptError: When it is damaged.
    """
    from toolkit.policies.learned import found

    return found(where)


def evaluate(
    policies: str | Policy | Chooser | Sequence[str | Policy | Chooser],
    scenario: str | Dataset,
    *,
    seeds: Sequence[int] = range(20_000, 20_020),
) -> dict[str, Reference]:
    """Play policies on the same workloads with the same luck.

    Args:
        policies: Names as for ``toolkit evaluate``, policies, or functions of a decision that
            return a slot or a probability for each; one or several.
        scenario: Name of a scenario of ``conf/scenario``, or a dataset for its own.
        seeds: Of the workloads.

    Returns:
        Mean return with its 95 % interval, mean completion time and makespan by name;
        ``dataset.card.score`` makes scores of returns.
    """
    from toolkit.benchmarks.reference import references
    from toolkit.envs.registration import scenario_of
    from toolkit.policies.callable_policy import as_policy, policy_of
    from toolkit.store import Store

    name, overrides = (scenario, ()) if isinstance(scenario, str) else scenario.card.played()
    several: Any = policies if isinstance(policies, Sequence) else [policies]
    met: dict[str, Policy] = {}
    for p in [several] if isinstance(several, str) else several:
        policy = policy_of(p, Store()).policy if isinstance(p, str) else as_policy(p)
        met[p if isinstance(p, str) else policy.name] = policy
    return references(scenario_of(name, overrides), met, seeds)
