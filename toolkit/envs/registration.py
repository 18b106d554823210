"""Environments by name: every scenario of ``conf/scenario`` as ``toolkit/<name>-v0``.

Only names are read here; what an environment needs is imported when one is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from gymnasium.envs import registration

from toolkit.catalogue import Catalogue
from toolkit.errors import unknown
from toolkit.paths import conf_dir

if TYPE_CHECKING:
    from toolkit.envs.environment import SchedulingEnv
    from toolkit.envs.parallel import SchedulingParallelEnv
    from toolkit.envs.vector import BatchedEnv
    from toolkit.scenarios.scenario import Scenario


def register_all() -> None:
    """Tell Gymnasium of the scenarios that it does not know yet."""
    for name in Catalogue().groups.get("scenario", []):
        name_and_version = f"toolkit/{name}-v0"
        if name_and_version not in registration.registry:
            registration.register(
                id=name_and_version,
                entry_point="toolkit.envs.registration:environment",
                vector_entry_point="toolkit.envs.registration:batched",
                kwargs={"scenario": name},
            )


def scenario_of(name: str, overrides: Sequence[str] = ()) -> Scenario:
    """Return a scenario of ``conf/scenario``.

    Args:
        name: Its name.
        overrides: Words as on the command line, e.g. ``scenario.jobs=5``.

    Raises:
        NotFoundError: With the names that exist.
    """
    return made_of(settings_of(name, overrides))


def made_of(settings: Mapping[str, Any]) -> Scenario:
    """Return the scenario of settings, see :func:`settings_of`."""
    from hydra.utils import instantiate

    scenario: Scenario = instantiate(dict(settings), _convert_="all")
    return scenario


def settings_of(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings of a scenario of ``conf/scenario``, see :func:`scenario_of`."""
    from toolkit.policies.named import roots

    names = Catalogue(roots()).groups.get("scenario", [])
    if name not in names:
        raise unknown("scenario", name, names)
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    # Within a command its own folders count, those of ``--config-dir`` included.
    within = GlobalHydra.instance().is_initialized()
    folders = nullcontext() if within else initialize_config_dir(str(conf_dir()), "toolkit", "1.3")
    with folders:
        values = compose(overrides=[f"+scenario={name}", *overrides]).scenario
    found: Any = OmegaConf.to_container(values, resolve=True)
    return dict(found)


def environment(scenario: str, overrides: Sequence[str] = (), **settings: Any) -> SchedulingEnv:
    """Return what ``gymnasium.make("toolkit/<scenario>-v0", ...)`` makes.

    Args:
        scenario: Name of the scenario.
        overrides: As for :func:`scenario_of`.
        settings: Those of :class:`~toolkit.envs.environment.SchedulingEnv`.
    """
    from toolkit.envs.environment import SchedulingEnv

    return SchedulingEnv(scenario_of(scenario, overrides), **settings)


def batched(scenario: str, overrides: Sequence[str] = (), **settings: Any) -> BatchedEnv:
    """Return what ``gymnasium.make_vec("toolkit/<scenario>-v0", num_envs=N, ...)`` makes.

    Args:
        scenario: Name of the scenario.
        overrides: As for :func:`scenario_of`.
        settings: Those of :class:`~toolkit.envs.vector.BatchedEnv`.
    """
    from toolkit.envs.vector import BatchedEnv

    return BatchedEnv(scenario_of(scenario, overrides), **settings)


def parallel(
    scenario: str, overrides: Sequence[str] = (), **settings: Any
) -> SchedulingParallelEnv:
    """Return a scenario as a PettingZoo environment.

    Args:
        scenario: Name of the scenario.
        overrides: As for :func:`scenario_of`.
        settings: Those of :class:`~toolkit.envs.parallel.SchedulingParallelEnv`.
    """
    from toolkit.envs.parallel import SchedulingParallelEnv

    return SchedulingParallelEnv(scenario_of(scenario, overrides), **settings)
