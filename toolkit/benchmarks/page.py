"""Page: the card of a dataset as Markdown, with a picture of what is in it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from toolkit.data.card import DatasetCard
from toolkit.data.coverage import Coverage

PICTURE = "card.png"
PAGE = "README.md"
_MOST = 8
"""Behaviour policies that get a colour of their own; the rest share one."""


def markdown(card: DatasetCard) -> str:
    """Return the page."""
    parts = [
        f"# {card.id}",
        card.about,
        f"![returns, actions and coverage]({PICTURE})",
        _facts(card),
        "## Reference scores",
        _references(card),
        "## Behaviour",
        _table(
            ["policy", "episodes", "decisions", "mean return", "score", "mean propensity"],
            [
                [
                    name,
                    told["episodes"],
                    told["decisions"],
                    f"{told['return_mean']:.4g}",
                    _score(card, told["return_mean"]),
                    "unknown" if told["propensity"] is None else f"{told['propensity']:.3f}",
                ]
                for name, told in card.behaviour.items()
            ],
        ),
        "## Splits",
        _table(
            ["split", "episodes", "workloads", "decisions"],
            [
                [name, told["episodes"], told["workloads"], told["decisions"]]
                for name, told in card.splits.items()
            ],
        ),
        "## Coverage",
        _coverage(card),
        "## Where it comes from",
        _origin(card),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(card: DatasetCard) -> str:
    weights = ", ".join(f"{name} {w:g}" for name, w in card.reward.items() if w)
    return _table(
        ["", ""],
        [
            ["family", card.family],
            ["transitions", f"{card.transitions:,} in {card.episodes:,} episodes"],
            ["reward", weights or "none"],
            ["discount", f"exp(-elapsed / {card.discount_seconds:g} s)"],
            ["inferred", f"{card.inferred:.1%} of the decisions"],
            ["invalid", f"{card.invalid:.2%} of the decisions"],
            ["licence", card.licence],
            ["made by", f"`{card.command}`"],
        ],
    )


def _references(card: DatasetCard) -> str:
    if not card.reference:
        return card.reference_command
    rows = []
    for role, told in card.reference.items():
        interval = f"[{told['low']:.4g}, {told['high']:.4g}]"
        mean = told["value"]
        rows.append(
            [role, told["policy"], f"{mean:.4g}", interval, _score(card, mean), told["seeds"]]
        )
    head = ["role", "policy", "mean return", "95 % interval", "score", "n"]
    return f"{_table(head, rows)}\n\nMeasured by `{card.reference_command}`."


def _score(card: DatasetCard, value: float) -> str:
    low, high = (card.reference.get(r, {}).get("value") for r in ("random", "best"))
    if low is None or high is None or high <= low:
        return "-"
    return f"{card.score(value):.1f}"


def _coverage(card: DatasetCard) -> str:
    c = card.coverage
    agents = _table(
        ["agent", "decisions", "slots allowed", "with one slot", "slots taken", "evenness"],
        [
            [
                name,
                f"{told['decisions']:,.0f}",
                f"{told['allowed_mean']:.1f}",
                f"{told['forced']:.1%}",
                f"{told['slots_taken']:.1%}",
                f"{told['evenness']:.2f}",
            ]
            for name, told in c["agents"].items()
        ],
    )
    quality = c.get("trajectory_quality")
    said = [
        f"{c['state_actions']:.1%} of the decisions are the first of their state and action, "
        f"{c['states']:.1%} of their state. At {c['overflown']:.2%} some candidate found no slot "
        f"(at most {c['most_overflown']})."
    ]
    if quality is not None:
        said.append(f"Trajectory quality, from 0 for random to 1 for the best rule: {quality:.3f}.")
    return f"{' '.join(said)}\n\n{agents}"


def _origin(card: DatasetCard) -> str:
    lines = []
    if card.scenario.get("name"):
        words = " ".join(str(w) for w in card.scenario.get("overrides") or ())
        lines.append(f"- scenario `{card.scenario['name']}` {words}".rstrip())
    for t in card.traces:
        lines.append(f"- trace `{t['id']}` of {t['source']}, SHA-256 `{t['digest'][:16]}…`")
    if card.generated:
        told = ", ".join(f"{k} {v}" for k, v in card.generated.items())
        lines.append(f"- simulated: versions {told}")
    if card.fidelity is None:
        lines.append("- reference scores are simulated and not calibrated against a real run")
    else:
        errors = {k: v for k, v in card.fidelity.items() if isinstance(v, float)}
        held = errors.get("held_out_makespan_error")
        lines.append(
            f"- calibration `{card.fidelity.get('id')}`"
            + (f": held-out makespan error {held:.1%}" if held is not None else "")
        )
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(x) for x in line) + " |" for line in lines)


def picture(
    card: DatasetCard, index: pa.Table, coverage: Coverage, references: Mapping[str, float]
) -> bytes:
    """Return a PNG: returns by behaviour policy, actions by agent, how the slots are covered.

    Args:
        card: Of the dataset.
        index: Its episodes.
        coverage: Of its decisions.
        references: Mean returns to mark, by role.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(12, 3.2), dpi=80, layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _returns(left, index, references)
        _actions(middle, coverage)
        _covered(right, coverage)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _returns(axes: Any, index: pa.Table, references: Mapping[str, float]) -> None:
    returns = index["return"].to_numpy()
    policies = np.array(index["policy"].to_pylist())
    names, counts = np.unique(policies, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    shown = [*names[:_MOST]] if len(names) <= _MOST else [*names[: _MOST - 1]]
    groups = [returns[policies == n] for n in shown]
    labels = [str(n) for n in shown]
    if len(names) > _MOST:
        groups.append(returns[~np.isin(policies, shown)])
        labels.append(f"{len(names) - len(shown)} others")
    axes.hist(groups, bins=30, stacked=True, label=labels)
    for role, value in references.items():
        if returns.min() - np.ptp(returns) <= value <= returns.max() + np.ptp(returns):
            axes.axvline(value, color="black", linewidth=0.8, linestyle=":")
            axes.text(value, axes.get_ylim()[1], f" {role}", rotation=90, va="top", fontsize=6)
    axes.set(xlabel="return of an episode", ylabel="episodes", title="returns")
    axes.legend(fontsize=6, frameon=False)


def _actions(axes: Any, coverage: Coverage) -> None:
    last = max(
        (int(np.flatnonzero(a)[-1]) for a in coverage.allowed.values() if a.any()), default=0
    )
    for name, taken in coverage.taken.items():
        if taken.sum():
            axes.plot(taken[: last + 1] / taken.sum(), marker=".", linewidth=0.8, label=name)
    axes.set(xlabel="slot", ylabel="share of the agent's decisions", title="actions", yscale="log")
    axes.legend(fontsize=6, frameon=False)


def _covered(axes: Any, coverage: Coverage) -> None:
    agents = [n for n, a in coverage.allowed.items() if a.any()]
    last = max((int(np.flatnonzero(coverage.allowed[n])[-1]) for n in agents), default=0)
    shares = np.full((len(agents), last + 1), np.nan)
    for i, name in enumerate(agents):
        allowed = coverage.allowed[name][: last + 1]
        known = allowed > 0
        shares[i, known] = coverage.taken[name][: last + 1][known] / allowed[known]
    image = axes.imshow(shares, aspect="auto", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel="slot", title="taken, of the times it was allowed")
    axes.set_yticks(range(len(agents)), agents)
    axes.figure.colorbar(image, ax=axes)
