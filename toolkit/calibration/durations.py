"""Duration models: per type one mean of log work and one table of residuals.

Three kinds compete for each type by cross-validation over jobs: ``mean`` (of each column),
``parametric`` (log-linear in the data, with Amdahl's term 1/cpus) and ``boosted`` (trees).
A type with few executions is *pooled*: it has an offset of its own, the rest from all types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.calibration.executions import Executions
from toolkit.calibration.quantiles import GRID, QUANTILES, drawn, quantiles
from toolkit.calibration.trees import Trees
from toolkit.errors import CorruptError, require
from toolkit.workload import Floats, Ints, Mask

MEAN, PARAMETRIC, BOOSTED, POOLED = "mean", "parametric", "boosted", "pooled"

_FEW = 20
"""Executions below which a type is pooled."""
_MANY = 200
"""Executions from which on trees compete."""
_BETTER = 0.98
"""Share of the squared error of a simpler kind that a richer one must stay below."""
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Durations:
    """log work = mean(data, column | type) + residual.

    Args:
        resources: CPUs and GiB of each column, shape [C, 2].
        centre: Means of the numbers of the data, shape [2 F].
        spread: Their standard deviations, shape [2 F].
        kinds: Which kind each type has; T of them.
        coefficients: Of mean and parametric ones, shape [T, D].
        trees: Of boosted ones, by type.
        residuals: Quantiles of the residuals, shape [T, QUANTILES].
        counts: Executions by type and column, shape [T, C].
        low: Least data of each type, shape [T, F].
        high: Greatest, shape [T, F].
        errors: Cross-validated mean squared error of each kind, by type.
    """

    resources: Floats
    centre: Floats
    spread: Floats
    kinds: tuple[str, ...]
    coefficients: Floats
    trees: Mapping[int, Trees]
    residuals: Floats
    counts: Ints
    low: Floats
    high: Floats
    errors: tuple[Mapping[str, float], ...] = ()

    @staticmethod
    def fit(
        done: Executions,
        work: Floats,
        types: int,
        resources: Floats,
        *,
        seed: int = 0,
        kinds: tuple[str, ...] | None = None,
    ) -> Durations:
        """Fit on executions and what they were worth.

        Args:
            done: Warm ones; those that were cold say nothing of what is usual.
            work: s, shape [n].
            types: T.
            resources: Shape [C, 2].
            seed: Of the folds and trees.
            kinds: Where they are known already; chosen by cross-validation when None.
        """
        # The limit below holds for libraries that have been loaded before.
        import sklearn.ensemble
        import sklearn.linear_model  # noqa: F401
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        require(
            len(done) >= 3,
            f"{len(done)} finished tasks are too few to learn durations from",
            hint="record more: toolkit collect collector.runs=<more>",
        )
        columns = np.concatenate([np.log(done.data), done.data], axis=1)
        spread = columns.std(axis=0)
        made = Durations(
            resources=resources,
            centre=columns.mean(axis=0),
            spread=np.where(spread > 1e-9, spread, 1.0),
            kinds=(MEAN,) * types,
            coefficients=np.zeros((types, 1)),
            trees={},
            residuals=np.zeros((types, QUANTILES)),
            counts=np.zeros((types, len(resources)), dtype=np.int64),
            low=np.full((types, done.data.shape[1]), np.inf),
            high=np.full((types, done.data.shape[1]), -np.inf),
        )
        np.add.at(made.counts, (done.type_of, done.column), 1)
        np.minimum.at(made.low, done.type_of, done.data)
        np.maximum.at(made.high, done.type_of, done.data)
        # Fits this small gain nothing by threads, and stall where others compute as well.
        with threadpool_limits(1):
            return made._fitted(done, np.log(work), seed, kinds)

    def _fitted(
        self, done: Executions, y: Floats, seed: int, kinds: tuple[str, ...] | None
    ) -> Durations:
        types, x = len(self.kinds), self._design(done.data, done.column)
        plain = self._plain(done.data, done.column)
        pooled = _pooled(x, y, done.type_of, types)
        coefficients = np.zeros((types, x.shape[1]))
        chosen: list[str] = []
        trees: dict[int, Trees] = {}
        errors: list[dict[str, float]] = []
        residuals = np.zeros((types, QUANTILES))
        over_all = y - np.einsum("ij,ij->i", x, pooled[done.type_of])
        for t in range(types):
            mine = done.type_of == t
            n, folds = int(mine.sum()), len(np.unique(done.job[mine]))
            if n < _FEW or folds < 3:
                chosen.append(POOLED)
                errors.append({})
                coefficients[t] = pooled[t]
                residuals[t] = quantiles(over_all)
                continue
            known = None if kinds is None or kinds[t] == POOLED else kinds[t]
            kind, unseen, told = _compete(
                x[mine], plain[mine], y[mine], done.job[mine], len(self.resources), seed, known
            )
            chosen.append(kind)
            errors.append(told)
            # Residuals of executions the fit has not seen: its own would be too small.
            residuals[t] = quantiles(y[mine] - unseen)
            if kind == BOOSTED:
                trees[t] = Trees.fit(plain[mine], y[mine], seed)
            elif kind == PARAMETRIC:
                coefficients[t], _ = _ridge(x[mine], y[mine])
            else:
                coefficients[t] = _means(x[mine], y[mine], len(self.resources))
        return Durations(
            **vars(self)
            | {
                "kinds": tuple(chosen),
                "coefficients": coefficients,
                "trees": trees,
                "residuals": residuals,
                "errors": tuple(errors),
            }
        )

    def log_mean(self, type_of: Ints, data: Floats, column: Ints) -> Floats:
        """Return the mean log work of executions, s; shape [n]."""
        x = self._design(data, column)
        out = np.einsum("ij,ij->i", x, self.coefficients[type_of])
        for t, model in self.trees.items():
            mine = type_of == t
            out[mine] = model(self._plain(data[mine], column[mine]))
        return np.asarray(out)

    def log_means(self, type_of: Ints, data: Floats) -> Floats:
        """Return the mean log work of every task in every column, shape [n, C]."""
        n, C = len(type_of), len(self.resources)
        return np.stack(
            [self.log_mean(type_of, data, np.full(n, c, dtype=np.int64)) for c in range(C)], axis=1
        )

    def residual(self, type_of: Ints, luck: Floats) -> Floats:
        """Return F⁻¹(luck) of the residual of each task's type, shape [n]."""
        return drawn(self.residuals, type_of, luck)

    def luck(self, type_of: Ints, residual: Floats) -> Floats:
        """Return F(residual) of each task's type, clipped to [1/2n, 1 − 1/2n]; shape [n]."""
        out = np.empty(len(residual))
        for t in np.unique(type_of):
            mine = type_of == t
            n = max(1, int(self.counts[t].sum()))
            table = np.maximum.accumulate(self.residuals[t] + 1e-12 * np.arange(QUANTILES))
            out[mine] = np.clip(np.interp(residual[mine], table, GRID), 0.5 / n, 1 - 0.5 / n)
        return out

    def beyond(self, type_of: Ints, data: Floats, column: Ints) -> Mask:
        """Return which executions lie outside of what was fitted, shape [n].

        More than a tenth beyond the least or greatest value of the data, or in a column in which
        the type was never seen.
        """
        low, high = self.low[type_of], self.high[type_of]
        outside = ((data < low / 1.1) | (data > high * 1.1)).any(axis=1)
        return np.asarray(outside | (self.counts[type_of, column] == 0))

    def _plain(self, data: Floats, column: Ints) -> Floats:
        """Return what trees are asked, shape [n, F + 3]."""
        return np.concatenate([data, self.resources[column], column[:, None]], axis=1)

    def _design(self, data: Floats, column: Ints) -> Floats:
        """Return what linear models are asked, shape [n, D]."""
        standard = (np.concatenate([np.log(data), data], axis=1) - self.centre) / self.spread
        cpus, memory = self.resources[column].T
        one_hot = np.eye(len(self.resources))[column]
        return np.concatenate(
            [
                np.ones((len(data), 1)),
                one_hot,
                standard,
                (1.0 / np.maximum(cpus, 1e-3))[:, None],
                np.log(np.maximum(memory, 1e-3))[:, None],
                one_hot * standard[:, :1],
            ],
            axis=1,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}
        return plain | {
            "kinds": list(self.kinds),
            "trees": {str(t): trees.to_dict() for t, trees in self.trees.items()},
            "low": _finite(self.low),
            "high": _finite(self.high),
            "errors": [dict(e) for e in self.errors],
        }

    @staticmethod
    def from_dict(told: Mapping[str, Any]) -> Durations:
        """Return what :meth:`to_dict` gave."""
        try:
            floats = {
                k: np.array(told[k], dtype=np.float64)
                for k in ("resources", "centre", "spread", "coefficients", "residuals")
            }
            made = Durations(
                **floats,
                kinds=tuple(str(k) for k in told["kinds"]),
                trees={int(t): Trees.from_dict(v) for t, v in told["trees"].items()},
                counts=np.array(told["counts"], dtype=np.int64),
                low=_endless(told["low"], np.inf),
                high=_endless(told["high"], -np.inf),
                errors=tuple(dict(e) for e in told["errors"]),
            )
            made._check()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise CorruptError(f"the duration model is damaged: {error}") from error
        return made

    def _check(self) -> None:
        """Refuse arrays that do not fit together: compiled trees would read beyond theirs."""
        T, C, F = len(self.kinds), len(self.resources), self.low.shape[-1]
        wanted = {
            "resources": (C, 2),
            "centre": (2 * F,),
            "spread": (2 * F,),
            "coefficients": (T, 2 * C + 2 * F + 3),
            "residuals": (T, QUANTILES),
            "counts": (T, C),
            "low": (T, F),
            "high": (T, F),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be of shape {shape}")
        for t, trees in self.trees.items():
            if not 0 <= t < T or trees.feature.max(initial=-1) >= F + 3:
                raise ValueError("a tree asks about what there is not")


def _finite(values: Floats) -> list[list[float | None]]:
    return [[v if np.isfinite(v) else None for v in row] for row in values.tolist()]


def _endless(rows: Any, nothing: float) -> Floats:
    return np.array([[nothing if v is None else v for v in row] for row in rows], dtype=np.float64)


def _ridge(x: Floats, y: Floats, strength: float | None = None) -> tuple[Floats, float]:
    """Return coefficients by ridge regression, the first of a column of ones, and its strength.

    Args:
        x: Shape [n, D].
        y: Shape [n].
        strength: By leave-one-out cross-validation when None.
    """
    from sklearn.linear_model import Ridge, RidgeCV

    if strength is None:
        found = RidgeCV(alphas=np.logspace(-3, 2, 11)).fit(x[:, 1:], y)
        strength = float(found.alpha_)
    else:
        found = Ridge(alpha=strength).fit(x[:, 1:], y)
    return np.concatenate([[found.intercept_], found.coef_]), strength


def _means(x: Floats, y: Floats, columns: int) -> Floats:
    """Return coefficients that say the mean of each column, and that of all where none was."""
    one_hot = x[:, 1 : 1 + columns]
    seen = one_hot.sum(axis=0)
    own = np.where(seen > 0, one_hot.T @ (y - y.mean()) / np.maximum(seen, 1), 0.0)
    return np.concatenate([[y.mean()], own, np.zeros(x.shape[1] - 1 - columns)])


def _pooled(x: Floats, y: Floats, type_of: Ints, types: int) -> Floats:
    """Return coefficients of every type: its own offset, the rest shared; shape [T, D]."""
    whole, _ = _ridge(np.concatenate([x, np.eye(types)[type_of]], axis=1), y)
    shared = np.tile(whole[: x.shape[1]], (types, 1))
    shared[:, 0] += whole[x.shape[1] :]
    return shared


def _compete(
    x: Floats, plain: Floats, y: Floats, job: Ints, columns: int, seed: int, known: str | None
) -> tuple[str, Floats, dict[str, float]]:
    """Return the kind that predicts unseen jobs best, its predictions of them, and all errors."""
    from sklearn.model_selection import GroupKFold

    rivals = [known] if known else [MEAN, PARAMETRIC, *([BOOSTED] if len(y) >= _MANY else [])]
    unseen = {kind: np.empty(len(y)) for kind in rivals}
    folds = GroupKFold(min(_FOLDS, len(np.unique(job))))
    strength = _ridge(x, y)[1] if PARAMETRIC in rivals else None
    for train, test in folds.split(x, y, job):
        for kind in rivals:
            if kind == BOOSTED:
                unseen[kind][test] = Trees.fit(plain[train], y[train], seed)(plain[test])
            else:
                w = (
                    _ridge(x[train], y[train], strength)[0]
                    if kind == PARAMETRIC
                    else _means(x[train], y[train], columns)
                )
                unseen[kind][test] = x[test] @ w
    errors = {kind: float(np.mean((y - unseen[kind]) ** 2)) for kind in rivals}
    best = rivals[0]
    for kind in rivals[1:]:
        if errors[kind] < _BETTER * errors[best]:
            best = kind
    return best, unseen[best], errors
