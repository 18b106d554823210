"""Duration models: one mean of log work per process type plus one table of residuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import CorruptError, require
from toolkit.scenarios.pipelines import Estimates, PipelineWorkload
from toolkit.workload import Floats, Ints

QUANTILES = 201
"""Entries of a residual table."""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Task executions from which durations are learnt; n of them.

    Args:
        type_of: Process type, shape [n].
        profile: Resource profile, shape [n].
        features: Data features of the task's job, shape [n, F].
        sizes: Size of the task's job, shape [n].
        seconds: How long it ran, shape [n].
    """

    type_of: Ints
    profile: Ints
    features: Floats
    sizes: Floats
    seconds: Floats

    def __len__(self) -> int:
        return len(self.seconds)

    def where(self, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> Observations:
        """Return the observations for which ``keep`` is True."""
        return Observations(
            type_of=self.type_of[keep],
            profile=self.profile[keep],
            features=self.features[keep],
            sizes=self.sizes[keep],
            seconds=self.seconds[keep],
        )

    @staticmethod
    def join(parts: list[Observations]) -> Observations:
        """Return the observations of all parts."""
        return Observations(
            type_of=np.concatenate([p.type_of for p in parts]),
            profile=np.concatenate([p.profile for p in parts]),
            features=np.concatenate([p.features for p in parts]),
            sizes=np.concatenate([p.sizes for p in parts]),
            seconds=np.concatenate([p.seconds for p in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class DurationModel:
    """log seconds = x(data, profile) · coefficients[type] + residual.

    Features of the data enter as their logarithm and as they are, both standardised; the
    profile enters as an offset and as a change of the growth with size. The residuals of a
    type keep their empirical distribution.

    Args:
        centre: Means of the data columns, shape [2 F].
        spread: Standard deviations of the data columns, shape [2 F].
        size_centre: Mean of log size.
        coefficients: Shape [T, 1 + 2 F + 2 P].
        residuals: Quantiles of the residuals at the midpoints of ``QUANTILES`` equal parts,
            shape [T, QUANTILES].
        counts: Observations per type and profile, shape [T, P].
    """

    centre: Floats
    spread: Floats
    size_centre: float
    coefficients: Floats
    residuals: Floats
    counts: Ints

    @staticmethod
    def fit(observed: Observations, types: int, profiles: int) -> DurationModel:
        """Fit by ridge regression per type, its strength chosen by cross-validation.

        Args:
            observed: Task executions; every type needs some.
            types: Number of process types.
            profiles: Number of resource profiles.
        """
        from sklearn.linear_model import Ridge, RidgeCV
        from sklearn.model_selection import KFold, cross_val_predict

        columns = _columns(observed.features)
        centre, spread = columns.mean(axis=0), columns.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        size_centre = float(np.log(observed.sizes).mean())
        width = 1 + columns.shape[1] + 2 * profiles
        coefficients = np.zeros((types, width))
        residuals = np.zeros((types, QUANTILES))
        counts = np.zeros((types, profiles), dtype=np.int64)
        np.add.at(counts, (observed.type_of, observed.profile), 1)
        x = _design(
            (columns - centre) / spread, observed.sizes, size_centre, observed.profile, profiles
        )
        y = np.log(observed.seconds)
        grid = (np.arange(QUANTILES) + 0.5) / QUANTILES
        for t in range(types):
            mine = observed.type_of == t
            n = int(mine.sum())
            require(
                n >= 3,
                f"process type {t} was observed {n} times; its durations cannot be learnt",
                hint="record more: toolkit collect collector.runs=<more>",
            )
            ridge = RidgeCV(alphas=np.logspace(-3, 2, 11)).fit(x[mine][:, 1:], y[mine])
            coefficients[t, 0], coefficients[t, 1:] = ridge.intercept_, ridge.coef_
            # Residuals of executions the fit has not seen: its own would be too small.
            unseen = cross_val_predict(
                Ridge(alpha=ridge.alpha_), x[mine][:, 1:], y[mine], cv=KFold(min(10, n))
            )
            residuals[t] = np.quantile(y[mine] - unseen, grid)
        return DurationModel(
            centre=centre,
            spread=spread,
            size_centre=size_centre,
            coefficients=coefficients,
            residuals=residuals,
            counts=counts,
        )

    def log_mean(self, observed: Observations) -> Floats:
        """Return the mean log seconds of given executions, shape [n]."""
        columns = (_columns(observed.features) - self.centre) / self.spread
        x = _design(
            columns, observed.sizes, self.size_centre, observed.profile, self.counts.shape[1]
        )
        return np.asarray(np.einsum("ij,ij->i", x, self.coefficients[observed.type_of]))

    def log_means(self, workload: PipelineWorkload) -> Floats:
        """Return the mean log seconds of every task under every profile, shape [n, P]."""
        w = workload.arrays
        columns = (_columns(workload.job_features) - self.centre) / self.spread
        n, profiles = workload.tasks, self.counts.shape[1]
        out = np.empty((n, profiles))
        for p in range(profiles):
            chosen = np.full(workload.jobs, p, dtype=np.int64)
            x = _design(columns, workload.sizes, self.size_centre, chosen, profiles)
            out[:, p] = np.einsum("ij,ij->i", x[w.job_of], self.coefficients[w.type_of])
        return out

    def residual(self, type_of: Ints, u: Floats) -> Floats:
        """Return F⁻¹(u) of the residual of each task's type; both arguments have shape [n]."""
        grid = (np.arange(QUANTILES) + 0.5) / QUANTILES
        out = np.empty(len(u))
        for t in range(len(self.residuals)):
            mine = type_of == t
            out[mine] = np.interp(u[mine], grid, self.residuals[t])
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
            "size_centre": self.size_centre,
            "coefficients": self.coefficients.tolist(),
            "residuals": self.residuals.tolist(),
            "counts": self.counts.tolist(),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> DurationModel:
        """Build a model from what :meth:`to_dict` gave."""
        try:
            return DurationModel(
                centre=np.array(values["centre"], dtype=np.float64),
                spread=np.array(values["spread"], dtype=np.float64),
                size_centre=float(values["size_centre"]),
                coefficients=np.array(values["coefficients"], dtype=np.float64),
                residuals=np.array(values["residuals"], dtype=np.float64),
                counts=np.array(values["counts"], dtype=np.int64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"the duration model is damaged: {error}") from error


def _columns(features: Floats) -> Floats:
    return np.concatenate([np.log(features), features], axis=1)


def _design(
    columns: Floats, sizes: Floats, size_centre: float, profile: Ints, profiles: int
) -> Floats:
    one_hot = np.eye(profiles)[profile]
    growth = one_hot * (np.log(sizes) - size_centre)[:, None]
    return np.concatenate([np.ones((len(sizes), 1)), columns, one_hot, growth], axis=1)


def estimate(observed: Observations, types: int, profiles: int, unit: float) -> Estimates:
    """Return what a few executions of known size say: a level per profile, a slope per type.

    A pair of type and profile that was never observed takes the level of the type's fastest
    observed profile: it is masked wherever it does not fit, and a hope elsewhere.

    Args:
        observed: Executions, e.g. of a sweep.
        types: Number of process types.
        profiles: Number of resource profiles.
        unit: Size of a typical job.
    """
    intercept = np.zeros((types, profiles))
    exponent = np.ones(types)
    log_size, y = np.log(observed.sizes / unit), np.log(observed.seconds)
    for t in range(types):
        mine = observed.type_of == t
        seen = np.unique(observed.profile[mine])
        require(len(seen) > 0, f"process type {t} was never observed")
        # Slope within profiles: both sides centred on the profile's own mean.
        dx, dy = log_size[mine].copy(), y[mine].copy()
        for p in seen:
            of_p = observed.profile[mine] == p
            dx[of_p] -= dx[of_p].mean()
            dy[of_p] -= dy[of_p].mean()
        if float(dx @ dx) > 1e-9:
            exponent[t] = float(np.clip(dx @ dy / (dx @ dx), 0.0, 3.0))
        for p in seen:
            of_p = mine & (observed.profile == p)
            intercept[t, p] = float((y[of_p] - exponent[t] * log_size[of_p]).mean())
        missing = np.setdiff1d(np.arange(profiles), seen)
        intercept[t, missing] = intercept[t, seen].min()
    return Estimates(intercept=intercept, exponent=exponent, unit=unit)
