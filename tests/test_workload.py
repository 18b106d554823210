"""Workloads: what is refused before anything runs."""

import numpy as np
import pytest

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError
from toolkit.workload import CONFIGURATION, PLACEMENT, assemble


def assembled(**changes):
    plain = {
        "family": PLACEMENT,
        "type_of": [0, 0],
        "job_ptr": [0, 2],
        "parent_ptr": [0, 0, 0],
        "parents": [],
        "data": [],
        "arrival": [0.0],
        "scale": [1.0, 1.0],
        "seconds": [[1.0]],
        "demand": [[1, 2, 0]],
        "cluster": Cluster(nodes=(Node(name="only", cpus=1, memory=2),)),
        "profile_of_type": [0],
    }
    return assemble(**{**plain, **changes})


def test_the_plain_workload_is_fine():
    assert len(assembled().type_of) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"job_ptr": [0, 2, 2], "arrival": [0.0, 1.0]}, "job 1 has no tasks"),
        ({"profile_of_type": None}, "profile_of_type must name a profile"),
        ({"demand": [[1, 3, 0]]}, "no resource profile fits any node"),
        ({"demand": [[1, 3, 0], [1, 1, 0]]}, "no node can hold a task of type 0"),
        (
            {
                "family": CONFIGURATION,
                "fleets": np.array([[0, 1, 2, 1.0], [1, 1, 1, 1.0]]),
                "seconds": [[1.0, 1.0]],
            },
            "an executor of configuration 1 cannot hold a task of type 0",
        ),
    ],
)
def test_what_could_never_run_is_refused(changes, why):
    with pytest.raises(ConfigError, match=why):
        assembled(**changes)
