"""Record what a cluster did, learn from it offline, prove it in a calibrated replay.

::

    import toolkit

    data = toolkit.load_dataset("allocation/genomics-open-mixed-v1-sample")
    env = toolkit.make(data)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.data.dataset import Dataset
    from toolkit.envs.environment import SchedulingEnv

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
