"""Trees: gradient boosting fitted by scikit-learn, kept and asked as plain arrays.

Nothing of scikit-learn has to be stored, so that a saved model is numbers and no code.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from toolkit.workload import Floats, Ints

_ROUNDS = 80


@dataclass(frozen=True, kw_only=True)
class Trees:
    """The sum of regression trees.

    Args:
        base: What is added to all, one number.
        root: First node of each tree, shape [R].
        feature: Which number a node asks about, -1 in a leaf; shape [N].
        threshold: At most this goes left; in a leaf its value; shape [N].
        left: Next node, shape [N].
        right: Next node, shape [N].
    """

    base: float
    root: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints

    @staticmethod
    def fit(x: Floats, y: Floats, seed: int) -> Trees:
        """Boost trees of up to 15 leaves on x, shape [n, D], and y, shape [n]."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        with warnings.catch_warnings():
            # About a pool of threads that this estimator does not use.
            warnings.filterwarnings("ignore", message=".*sklearn.utils.parallel")
            model = HistGradientBoostingRegressor(
                max_iter=_ROUNDS,
                max_leaf_nodes=15,
                min_samples_leaf=10,
                early_stopping=False,
                random_state=seed,
            ).fit(x, y)
        nodes = [p[0].nodes for p in model._predictors]
        root = np.cumsum([0, *(len(n) for n in nodes)])[:-1]
        every = np.concatenate(nodes)
        shift = np.repeat(root, [len(n) for n in nodes])
        leaf = every["is_leaf"].astype(np.bool_)
        return Trees(
            base=float(np.ravel(model._baseline_prediction)[0]),
            root=root.astype(np.int64),
            feature=np.where(leaf, -1, every["feature_idx"]).astype(np.int64),
            threshold=np.where(leaf, every["value"], every["num_threshold"]),
            left=every["left"].astype(np.int64) + shift,
            right=every["right"].astype(np.int64) + shift,
        )

    def __call__(self, x: Floats) -> Floats:
        """Return the prediction for each row of x, shape [n, D]."""
        out = np.full(len(x), self.base)
        _add(
            np.ascontiguousarray(x), self.root, self.feature, self.threshold, self.left,
            self.right, out,
        )  # fmt: skip
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {k: v if k == "base" else v.tolist() for k, v in vars(self).items()}

    @staticmethod
    def from_dict(told: Mapping[str, Any]) -> Trees:
        """Return what :meth:`to_dict` gave.

        Raises:
            ValueError: When a node leads nowhere, or back.
        """
        whole = {k: np.array(told[k], dtype=np.int64) for k in ("root", "feature", "left", "right")}
        threshold = np.array(told["threshold"], dtype=np.float64)
        n = len(threshold)
        if any(
            a.shape != (n,) for a in (threshold, whole["feature"], whole["left"], whole["right"])
        ):
            raise ValueError("a tree is damaged")
        inner = np.flatnonzero(whole["feature"] >= 0)
        for side in ("left", "right"):
            # A node lies behind the one that leads to it, so that every walk ends.
            if not ((whole[side][inner] > inner) & (whole[side][inner] < n)).all():
                raise ValueError("a tree is damaged")
        if whole["root"].ndim != 1 or not ((whole["root"] >= 0) & (whole["root"] < n)).all():
            raise ValueError("a tree is damaged")
        return Trees(base=float(told["base"]), threshold=threshold, **whole)


@njit(cache=True, error_model="numpy")
def _add(
    x: Floats, root: Ints, feature: Ints, threshold: Floats, left: Ints, right: Ints, out: Floats
) -> None:
    for i in range(len(x)):
        total = 0.0
        for start in root:
            node = start
            while feature[node] >= 0:
                below = x[i, feature[node]] <= threshold[node]
                node = left[node] if below else right[node]
            total += threshold[node]
        out[i] += total
