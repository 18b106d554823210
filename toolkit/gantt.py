"""Gantt: schedules as pictures, each lane a row and each execution a bar.

Large schedules become rows of utilisation, one per node. The same schedules give the same bytes
with one version of matplotlib.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import ConfigError, require
from toolkit.schedule import COPY, KILLED, RUN, Schedule
from toolkit.workload import Floats, Indices, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch

SUFFIXES = (".png", ".svg", ".pdf")

MOST_ROWS = 64
"""Lanes above which nodes are drawn as rows of utilisation."""
MOST_BARS = 20_000
"""Executions above which they are, too: bars would be narrower than what one can see."""
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#92dadd", "#832db6", "#a96b59", "#e76300", "#333c5e",
    "#77001a", "#bba299", "#aaaaff", "#666690", "#cce688", "#085e55", "#cc6ea2", "#5e3c88",
    "#d4c399", "#44c3cc", "#77f6c3", "#909966",
)  # fmt: skip
"""The first seven are Petroff's (arXiv 2107.02270) without greys; each later one lies farthest
from those before it as the least distance to normal, protanopic, deuteranopic and tritanopic
sight (Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113)."""

_OTHER, _KILLED, _INK, _PALE = "#c9c9c9", "#8c8c8c", "#222222", "#f4f4f4"
_MOST_LABELS = 400
_BINS = 600
_WIDTH = 10.0  # in
_HEADER, _TWO_LINES, _FOOTER, _BETWEEN, _LINE = 0.38, 0.58, 0.52, 0.16, 0.185  # in
_TITLE, _TEXT, _SMALL = 11.0, 9.0, 8.0  # pt
_UNITS = (
    (172_800.0, 86_400.0, "d"),
    (10_800.0, 3600.0, "h"),
    (600.0, 60.0, "min"),
    (1.0, 1.0, "s"),
    (1e-3, 1e-3, "ms"),
    (0.0, 1e-6, "µs"),
)
"""Least span of an axis, s; the unit for it, s; its name."""


def draw(schedule: Schedule, path: Path, title: str | None = None) -> None:
    """Draw a schedule.

    A colour stands for a job where there are 2 to 20, else for a type of task. Copies are
    hatched, killed attempts are outlines.

    Args:
        schedule: What to draw.
        path: Where; its suffix, one of ``SUFFIXES``, says how.
        title: Stands above; policy and seed when absent.

    Raises:
        ConfigError: For another suffix or a folder that does not exist.
    """
    _draw([schedule], path, [_title(schedule) if title is None else title])


def pixels(schedule: Schedule) -> npt.NDArray[np.uint8]:
    """Return the picture of a schedule, shape [height, width, 3]."""
    from matplotlib.image import imread

    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "gantt.png"
        draw(schedule, picture)
        return np.asarray(imread(picture)[:, :, :3] * 255).round().astype(np.uint8)


def compare(schedules: Sequence[Schedule], path: Path) -> None:
    """Draw schedules one above the other on one axis of time, as :func:`draw` does each.

    Args:
        schedules: At least one; what is said of the others is relative to the first.
        path: As for :func:`draw`.

    Raises:
        ConfigError: As for :func:`draw`, or when there is no schedule.
    """
    require(len(schedules) > 0, "there is no schedule to draw")
    _draw(schedules, path, [_title(s) for s in schedules])


def _title(schedule: Schedule) -> str:
    return f"{schedule.policy}, seed {schedule.seed}"


@dataclass(frozen=True, kw_only=True)
class _Colours:
    """What colours stand for: ``group[s][x]`` is that of execution ``x`` of schedule ``s``."""

    meaning: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    group: tuple[Indices, ...]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """The axis of time that all panels share."""

    begin: float  # s
    end: float  # s
    unit: float  # s
    name: str  # of the unit
    left: float  # in, from the edge of the page
    length: float  # in

    @property
    def points(self) -> float:
        """Points on paper per second."""
        return self.length * 72 / (self.end - self.begin)


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """One schedule on the page; vertical positions in rows, downwards."""

    schedule: Schedule
    title: str
    first: float  # s, when its first execution starts
    last: float  # s, when its last task ends
    top: Floats  # [M] where the rows of each node begin
    rows: Ints  # [M] how many it has
    row: Indices  # [r] that of each execution within its node
    depth: float  # all rows
    height: float  # in
    label: str  # of its vertical axis


def _draw(schedules: Sequence[Schedule], path: Path, titles: Sequence[str]) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"a picture cannot be written as {path.name!r}: its name must end in "
            f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"there is no folder {str(path.parent)!r}", hint=f"make it: mkdir -p {path.parent}"
        )
    for schedule in schedules:
        require(
            bool((schedule.kind == RUN).any()),
            f"{_title(schedule)}: nothing ran, so there is nothing to draw",
        )
    import matplotlib

    with matplotlib.rc_context():
        # What a user configured for other pictures would change this one.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": "toolkit",
                "pdf.fonttype": 42,
                "text.parse_math": False,
                "font.size": _TEXT,
                "hatch.linewidth": 0.9,
                "axes.edgecolor": _KILLED,
                "text.color": _INK,
                "axes.labelcolor": _INK,
                "xtick.color": _INK,
                "ytick.color": _INK,
            }
        )
        figure = _figure(schedules, titles)
        metadata: dict[str, Any] = {"Title": titles[0]}
        # The time of writing would change the bytes.
        metadata.update(
            {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
        )
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            figure.savefig(aside, format=path.suffix[1:], dpi=160, metadata=metadata)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _figure(schedules: Sequence[Schedule], titles: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    rows = [s.rows() for s in schedules]
    counts = [_counts(s, row) for s, row in zip(schedules, rows, strict=True)]
    heat = any(
        n.sum() > MOST_ROWS or s.executions > MOST_BARS
        for s, n in zip(schedules, counts, strict=True)
    )
    if heat:
        rows = [np.zeros_like(row) for row in rows]
        counts = [np.ones_like(n) for n in counts]
    panels = [
        _panel(s, title, row, n)
        for s, title, row, n in zip(schedules, titles, rows, counts, strict=True)
    ]
    colours = _colours(schedules)
    handles = [] if heat else _handles(panels, colours)

    begin = min(min(p.first, float(p.schedule.workload.arrays.arrival[0])) for p in panels)
    end = max(float(p.schedule.finish.max()) for p in panels)
    if 0 < begin < 0.2 * end:
        begin = 0.0
    end = max(end, begin + 1e-6)
    unit, name = next((u, name) for least, u, name in _UNITS if end - begin >= least)

    longest = max(_points(_short(n), _SMALL) for p in panels for n in p.schedule.node_names())
    left = 0.46 + longest / 72
    panelled = sum(p.height for p in panels) + (_TWO_LINES + _BETWEEN) * len(panels)
    columns = max(1, ceil((len(handles) + 1) * _LINE / panelled))
    entry = max([_points(str(h.get_label()), _SMALL) for h in handles], default=0.0)
    right = columns * (entry / 72 + 0.42) + 0.2 if handles else 0.95 if heat else 0.3
    width = max(_WIDTH, left + right + 5.0)
    time = _Axis(begin=begin, end=end, unit=unit, name=name, left=left, length=width - left - right)
    beside = all(
        _points(p.title, 1.15 * _TITLE) + _points(_makespan(p, panels[0], time), _TEXT) + 18
        < (p.last - begin) * time.points
        for p in panels
    )
    header = _HEADER if beside else _TWO_LINES
    panelled = sum(p.height + header + _BETWEEN for p in panels) - _BETWEEN + _FOOTER
    legend = header + (ceil(len(handles) / columns) + 1) * _LINE + 0.1 if handles else 0.0
    height = max(panelled, legend)

    figure = Figure(figsize=(width, height))
    axes: list[Axes] = []
    above = 0.0
    for at, (panel, group) in enumerate(zip(panels, colours.group, strict=True)):
        above += header + panel.height
        place = (left / width, 1 - above / height, time.length / width, panel.height / height)
        ax = figure.add_axes(place, sharex=axes[0] if axes else None)
        above += _BETWEEN
        axes.append(ax)
        if heat:
            shown = _heat(ax, panel, time)
            if at == 0:
                tall = min(panel.height, 2.2)
                corner = (1 - (right - 0.14) / width, 1 - (header + tall) / height)
                _scale(figure, shown, (*corner, 0.13 / width, tall / height))
        else:
            _bars(ax, panel, group, colours, time)
        _dress(ax, panel, _makespan(panel, panels[0], time), time, 5 if beside else 20)
        ax.tick_params(axis="x", labelbottom=at == len(panels) - 1)
    axes[0].set_xlim(begin / unit, (end + 0.004 * (end - begin)) / unit)
    axes[-1].set_xlabel(f"time ({name})")
    if handles:
        corner = (1 - (right - 0.12) / width, 1 - header / height)
        _legend(figure, handles, colours.meaning, corner, columns)
    return figure


def _counts(schedule: Schedule, row: Indices) -> Ints:
    """Return the rows of each node: its lanes, or only those in use where those are too many."""
    used = np.ones(len(schedule.node_names()), dtype=np.int64)
    np.maximum.at(used, schedule.node, row + 1)
    lanes = np.maximum(used, schedule.lanes())
    return lanes if lanes.sum() <= MOST_ROWS else used


def _panel(schedule: Schedule, title: str, row: Indices, rows: Ints) -> _Panel:
    gap = 0.4 if rows.max() > 1 else 0.0
    top = np.concatenate([[0], np.cumsum(rows + gap)])
    depth = float(top[-1]) - gap
    label = "node"
    if rows.max() > 1:
        idle = bool((rows >= schedule.lanes()).all())
        label = "node, a row per lane" if idle else "node, a row per lane in use"
    return _Panel(
        schedule=schedule,
        title=title,
        first=float(schedule.start.min()),
        last=float(schedule.finish[schedule.kind == RUN].max()),
        top=top[:-1],
        rows=rows,
        row=row,
        depth=depth,
        height=min(max(3.4, 0.11 * depth), 0.4 * depth, 8.5),
        label=label,
    )


def _colours(schedules: Sequence[Schedule]) -> _Colours:
    jobs = max(s.workload.jobs for s in schedules)
    if 2 <= jobs <= len(COLOURS):
        return _Colours(
            meaning="job",
            names=tuple(str(j) for j in range(jobs)),
            colours=COLOURS[:jobs],
            group=tuple(s.workload.arrays.job_of[s.task] for s in schedules),
        )
    types = list(dict.fromkeys(name for s in schedules for name in s.workload.types))
    place = {name: i for i, name in enumerate(types)}
    group = tuple(
        np.array([place[n] for n in s.workload.types])[s.workload.arrays.type_of[s.task]]
        for s in schedules
    )
    if len(types) <= len(COLOURS):
        return _Colours(
            meaning="type", names=tuple(types), colours=COLOURS[: len(types)], group=group
        )
    if jobs == 1:
        # Where nearly every task is of its own type, colours say nothing.
        return _Colours(
            meaning="",
            names=("",),
            colours=COLOURS[:1],
            group=tuple(np.zeros_like(g) for g in group),
        )
    spent = np.zeros(len(types))
    for s, g in zip(schedules, group, strict=True):
        spent += np.bincount(g, weights=s.finish - s.start, minlength=len(types))
    kept = np.sort(np.argsort(-spent, kind="stable")[: len(COLOURS) - 1])
    colour = np.full(len(types), len(kept), dtype=np.int32)
    colour[kept] = np.arange(len(kept))
    return _Colours(
        meaning="type",
        names=(*(types[t] for t in kept), f"{len(types) - len(kept)} others"),
        colours=(*COLOURS[: len(kept)], _OTHER),
        group=tuple(colour[g] for g in group),
    )


def _handles(panels: Sequence[_Panel], colours: _Colours) -> list[Patch]:
    from matplotlib.patches import Patch

    present = np.unique(np.concatenate(colours.group))
    handles = [
        Patch(facecolor=colours.colours[g], label=colours.names[g])
        for g in present
        if colours.meaning
    ]
    kinds = np.unique(np.concatenate([p.schedule.kind for p in panels]))
    if COPY in kinds:
        handles.append(
            Patch(facecolor=_KILLED, edgecolor="white", hatch="/////", linewidth=0, label="copy")
        )
    if KILLED in kinds:
        handles.append(
            Patch(facecolor="white", edgecolor=_KILLED, linewidth=0.9, label="killed attempt")
        )
    return handles


def _legend(
    figure: Figure,
    handles: Sequence[Patch],
    title: str,
    corner: tuple[float, float],
    columns: int,
) -> None:
    figure.legend(
        handles=handles,
        title=title,
        loc="upper left",
        bbox_to_anchor=corner,
        borderaxespad=0.0,
        ncols=columns,
        frameon=False,
        fontsize=_SMALL,
        title_fontsize=_SMALL,
        alignment="left",
        handlelength=1.3,
        handleheight=1.0,
        labelspacing=0.45,
        columnspacing=1.2,
    )


def _bars(ax: Axes, panel: _Panel, group: Indices, colours: _Colours, time: _Axis) -> None:
    from matplotlib.collections import PolyCollection

    schedule = panel.schedule
    for top, rows in zip(panel.top, panel.rows, strict=True):
        for k in range(rows):
            ax.axhspan(top + k + 0.06, top + k + 0.94, color=_PALE, linewidth=0, zorder=0)
    left, right = schedule.start / time.unit, schedule.finish / time.unit
    upper = panel.top[schedule.node] + panel.row + 0.06
    across = np.stack([left, right, right, left], axis=1)
    boxes = np.stack([across, upper[:, None] + [0.0, 0.0, 0.88, 0.88]], axis=2)
    # A white edge keeps neighbours apart, but would swallow bars of few points.
    wide = float(np.median(schedule.finish - schedule.start)) * time.points
    edge = 0.6 if wide > 5 else 0.25 if wide > 2 else 0.0
    for kind in (KILLED, RUN, COPY):
        for g in np.unique(group[schedule.kind == kind]):
            style: dict[str, Any] = {
                "facecolors": colours.colours[g],
                "edgecolors": "white",
                "linewidths": edge,
                "hatch": "/////" if kind == COPY else None,
            }
            if kind == KILLED:
                style.update(facecolors="white", edgecolors=_KILLED, linewidths=0.8)
            chosen = (schedule.kind == kind) & (group == g)
            ax.add_collection(PolyCollection(boxes[chosen], zorder=2, **style), autolim=False)
    if schedule.executions <= _MOST_LABELS:
        _labels(ax, panel, group, colours, time)


def _labels(ax: Axes, panel: _Panel, group: Indices, colours: _Colours, time: _Axis) -> None:
    """Write the names of tasks into the bars that have room for them."""
    font = min(_SMALL, 0.62 * 72 * panel.height / panel.depth)
    if font < 5:
        return
    schedule = panel.schedule
    for x in np.flatnonzero(schedule.kind != COPY):
        name = schedule.workload.label(int(schedule.task[x]))
        room = (schedule.finish[x] - schedule.start[x]) * time.points - 4
        # Hardly a letter is narrower than a quarter of its height, and measuring takes long.
        if 0.25 * font * len(name) > room or _points(name, font) > room:
            continue
        ax.text(
            (schedule.start[x] + schedule.finish[x]) / 2 / time.unit,
            panel.top[schedule.node[x]] + panel.row[x] + 0.5,
            name,
            fontsize=font,
            color=_KILLED if schedule.kind[x] == KILLED else _ink(colours.colours[group[x]]),
            ha="center",
            va="center_baseline",
            zorder=4,
        )


def _heat(ax: Axes, panel: _Panel, time: _Axis) -> AxesImage:
    edges = np.linspace(time.begin, time.end, _BINS + 1)
    shown = ax.imshow(
        utilisation(panel.schedule, edges),
        aspect="auto",
        # Nodes that share a pixel are averaged rather than left out.
        interpolation="nearest" if panel.depth < 1000 else "antialiased",
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        extent=(time.begin / time.unit, time.end / time.unit, panel.depth, 0.0),
        zorder=1,
    )
    if 72 * panel.height / panel.depth >= 6:
        for y in panel.top[1:]:
            ax.axhline(y, color="white", linewidth=1.0, zorder=2)
    return shown


def utilisation(schedule: Schedule, edges: Floats) -> Floats:
    """Return the mean share of each node that is in use between each two times, shape [M, b].

    Args:
        schedule: Its executions of every kind count.
        edges: Ascending, s; shape [b + 1].
    """
    share = schedule.shares()
    since = edges - edges[0]
    used = np.zeros((len(schedule.node_names()), len(edges)))
    for times, sign in ((schedule.start - edges[0], 1.0), (schedule.finish - edges[0], -1.0)):
        order = np.lexsort((times, schedule.node))
        at = np.searchsorted(schedule.node[order], np.arange(len(used) + 1))
        for m in range(len(used)):
            mine = order[at[m] : at[m + 1]]
            passed = np.searchsorted(times[mine], since, side="right")
            weight = np.concatenate([[0.0], np.cumsum(share[mine])])[passed]
            moment = np.concatenate([[0.0], np.cumsum(share[mine] * times[mine])])[passed]
            # Share-seconds until each edge, as if what started before it had not ended yet.
            used[m] += sign * (weight * since - moment)
    return np.asarray(np.clip(np.diff(used, axis=1) / np.diff(edges), 0.0, 1.0))


def _scale(figure: Figure, shown: AxesImage, place: tuple[float, float, float, float]) -> None:
    from matplotlib.ticker import PercentFormatter

    room = figure.add_axes(place)
    bar = figure.colorbar(shown, cax=room, format=PercentFormatter(1.0, symbol=" %"))
    bar.outline.set_linewidth(0)
    room.tick_params(labelsize=_SMALL, length=2.5)
    room.set_ylabel("share of the node in use", fontsize=_SMALL)


def _makespan(panel: _Panel, reference: _Panel, time: _Axis) -> str:
    makespan = panel.last - panel.first
    text = f"makespan {makespan / time.unit:.4g} {time.name}"
    if panel is not reference and reference.last > reference.first:
        change = 100 * (makespan / (reference.last - reference.first) - 1)
        text += f" ({change:+.1f} %)".replace("-", "−")
    return text


def _dress(ax: Axes, panel: _Panel, makespan: str, time: _Axis, lift: float) -> None:
    """Give a panel its axes, its title, ``lift`` points above them, and marks."""
    ax.set_ylim(panel.depth + 0.08, -0.08)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    if not ax.images:
        ax.grid(axis="x", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    ax.tick_params(axis="x", labelsize=_SMALL, length=3)
    names = [_short(n) for n in panel.schedule.node_names()]
    tall = 72 * panel.height / panel.depth * float(np.median(panel.rows))
    font = min(_SMALL, max(6.0, 0.86 * tall))
    every = max(1, ceil(1.1 * font / tall))
    ax.set_yticks((panel.top + panel.rows / 2)[::every], names[::every], fontsize=font)
    ax.tick_params(axis="y", length=0)
    ax.set_ylabel(panel.label)
    ax.yaxis.set_label_coords(-(time.left - 0.2) / time.length, 0.5)

    def note(text: str, x: float, points: float, **style: Any) -> None:
        ax.annotate(
            text,
            (x, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, points),
            textcoords="offset points",
            va="bottom",
            **style,
        )

    note(panel.title, time.begin / time.unit, lift, fontsize=_TITLE, fontweight="bold")
    late = panel.last - time.begin > 0.3 * (time.end - time.begin)
    note(makespan, panel.last / time.unit, 5, ha="right" if late else "left")
    for at in (panel.first, panel.last):
        if (at - time.begin) * time.points > 3:
            ax.axvline(at / time.unit, color=_INK, linewidth=1, linestyle=(0, (4, 2.5)), zorder=5)


def _points(text: str, font: float) -> float:
    """Return how wide a text is, pt."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=font).get_extents().width) if text.strip() else 0.0


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:14]}…{name[-9:]}"


def _ink(colour: str) -> str:
    """Return black or white, whichever reads better on a colour (WCAG 2.1 luminance)."""
    part = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return "black" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.18 else "white"
