"""Environments by name."""

import subprocess
import sys

import gymnasium
import pytest

import toolkit.envs  # noqa: F401
from tests.envs.standins import SCENARIOS, small
from toolkit.catalogue import Catalogue
from toolkit.envs.parallel import SchedulingParallelEnv
from toolkit.envs.registration import parallel, register_all, scenario_of
from toolkit.envs.vector import BatchedEnv
from toolkit.errors import NotFoundError
from toolkit.simulator.simulator import scene_of

NAMES = Catalogue().groups["scenario"]


def test_every_scenario_has_a_name():
    for name in NAMES:
        assert gymnasium.spec(f"toolkit/{name}-v0").kwargs == {"scenario": name}
    register_all()


@pytest.mark.parametrize("name", ["batches_tiny", "genomics_tiny", "workflows_tiny"])
@pytest.mark.filterwarnings("ignore")
def test_gymnasium_makes_it(name):
    env = gymnasium.make(f"toolkit/{name}-v0", seed=3)
    env.reset()
    assert env.unwrapped.scene.workload.seed == 3
    many = gymnasium.make_vec(f"toolkit/{name}-v0", num_envs=2, seed=3)
    assert isinstance(many, BatchedEnv)
    assert many.single_observation_space == env.observation_space
    assert isinstance(parallel(name), SchedulingParallelEnv)


def test_settings_of_a_scenario_are_changed_as_on_the_command_line():
    assert scenario_of("genomics_tiny", ["scenario.jobs=2"]).jobs == 2
    env = gymnasium.make("toolkit/paper_c_8_stream-v0", overrides=["scenario/cluster=paper_c_48"])
    assert env.observation_space["mask"].n == 48
    with pytest.raises(NotFoundError, match="did you mean 'genomics_tiny'"):
        scenario_of("genomics_tinny")


def test_naming_them_imports_nothing_that_takes_long():
    code = (
        "import sys, toolkit.envs; "
        "print({'torch', 'numba', 'hydra', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_compiled_code_sees_all_scenarios_alike():
    """Another type of array would compile everything once more, which takes a minute."""
    found = {}
    for name in [*SCENARIOS, *NAMES]:
        of = small(name)
        workload = of.plan(0)
        scene = scene_of(workload, of.truth(workload, 0))
        for arrays in (scene.state, workload.arrays, scene.world):
            for field, array in arrays._asdict().items():
                seen = (array.dtype, array.ndim, array.flags.c_contiguous, array.flags.writeable)
                found.setdefault(field, {}).setdefault(seen, []).append(name)
    assert {field: kinds for field, kinds in found.items() if len(kinds) > 1} == {}
