"""Trees: as scikit-learn says, whatever is asked, and no damage leads astray."""

import json

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from toolkit.calibration.trees import Trees


def data(n=800, seed=0):
    rng = np.random.default_rng(seed)
    x = np.stack([rng.uniform(0, 4, n), rng.integers(0, 3, n), rng.standard_normal(n)], axis=1)
    return x, np.sin(2 * x[:, 0]) + (x[:, 1] == 1) + 0.1 * rng.standard_normal(n)


@pytest.fixture(scope="module")
def fitted():
    return Trees.fit(*data(), 0)


def test_trees_answer_what_scikit_learn_does(fitted):
    x, y = data()
    own = HistGradientBoostingRegressor(
        max_iter=80, max_leaf_nodes=15, min_samples_leaf=10, early_stopping=False, random_state=0
    ).fit(x, y)
    fresh = np.concatenate([data(seed=1)[0], [[1e9, -1e9, 0.0], [-1e9, 1e9, 0.0]]])
    np.testing.assert_allclose(fitted(fresh), own.predict(fresh), rtol=0, atol=1e-9)


def test_thresholds_belong_to_the_left(fitted):
    x = data()[0][:1]
    node = int(fitted.root[0])
    assert fitted.feature[node] == 0
    at = np.repeat(x, 2, axis=0)
    at[:, 0] = fitted.threshold[node], np.nextafter(fitted.threshold[node], np.inf)
    first = Trees(**vars(fitted) | {"root": fitted.root[:1], "base": 0.0})
    left = Trees(**vars(first) | {"root": fitted.left[[node]]})
    right = Trees(**vars(first) | {"root": fitted.right[[node]]})
    assert first(at).tolist() == [left(at)[0], right(at)[1]]


def test_trees_survive_json_bit_by_bit(fitted):
    again = Trees.from_dict(json.loads(json.dumps(fitted.to_dict())))
    x = data(seed=2)[0]
    np.testing.assert_array_equal(again(x), fitted(x))


def test_the_same_data_and_seed_give_the_same_trees(fitted):
    assert json.dumps(Trees.fit(*data(), 0).to_dict()) == json.dumps(fitted.to_dict())


def told(**changed):
    """Return one tree of a question and two leaves, damaged."""
    plain = {
        "base": 0.0, "root": [0], "feature": [0, -1, -1], "threshold": [1.0, 2.0, 3.0],
        "left": [1, 0, 0], "right": [2, 0, 0],
    }  # fmt: skip
    return plain | changed


def test_a_tree_by_hand():
    np.testing.assert_array_equal(Trees.from_dict(told())(np.array([[1.0], [1.1]])), [2.0, 3.0])
    assert Trees.from_dict(told(root=[], base=4.0))(np.zeros((1, 1))).tolist() == [4.0]


@pytest.mark.parametrize(
    "changed",
    [
        {"left": [0, 0, 0]},
        {"feature": [0, 0, -1], "left": [1, 0, 0], "right": [2, 2, 0]},
        {"right": [3, 0, 0]},
        {"right": [-1, 0, 0]},
        {"right": [2, 0]},
        {"left": [[1], [0], [0]]},
        {"feature": [0, -1]},
        {"threshold": [1.0]},
        {"threshold": [[1.0], [2.0], [3.0]]},
        {"root": [3]},
        {"root": [-1]},
        {"root": [[0]]},
        {"root": None},
        {"base": "much"},
        {"threshold": ["x", 1, 1]},
    ],
)
def test_a_tree_that_leads_nowhere_or_back_is_refused(changed):
    with pytest.raises((ValueError, TypeError)):
        Trees.from_dict(told(**changed))
