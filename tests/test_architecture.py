"""Who may import whom, and what nobody may do: read from the sources, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "toolkit": set(),
    "collectors": {"toolkit"},
    "evaluations": {"toolkit"},
    "leaderboard": {"toolkit", "evaluations"},
}
BELOW = {
    "toolkit/networks": ("toolkit.learning", "toolkit.policies"),
    "evaluations/verdicts": ("evaluations.experiments", "evaluations.papers"),
    "evaluations/experiments": ("evaluations.papers",),
}
"""Rooms within rooms, and what stands on them: nothing there is imported."""
BODIES = (
    "collectors/collect.py",
    "evaluations/calibrate.py",
    "evaluations/advise.py",
    "toolkit/benchmarks/build.py",
    "toolkit/benchmarks/show.py",
    "toolkit/benchmarks/verify.py",
    "toolkit/benchmarks/diff.py",
    "toolkit/exports/export.py",
    "toolkit/learning/train.py",
    "evaluations/evaluate.py",
    "leaderboard/leaderboard.py",
    "leaderboard/compare.py",
    "toolkit/listing.py",
    "toolkit/workflows/schedule.py",
)
"""The functions behind the commands: the last place that sees a DictConfig."""

ONLY_IN = {
    "mlflow": ("toolkit/tracking*.py",),
    "d3rlpy": ("toolkit/learning/*.py", "toolkit/data/buffer.py"),
    "numba": (
        "toolkit/calibration/trees.py",
        "toolkit/data/buffer.py",
        "toolkit/data/coverage.py",
        "toolkit/data/padding.py",
        "toolkit/learning/priorities.py",
        "toolkit/simulator/*.py",
        "toolkit/envs/*.py",
        "collectors/genomics*.py",
        "collectors/fastq.py",
    ),
    "ray": ("collectors/ray/*.py",),
    "pyspark": ("collectors/spark/*.py",),
    "py4j": ("collectors/spark/*.py",),
    "cv2": ("collectors/spark/video.py", "collectors/spark/daemon.py"),
    "pynvml": ("collectors/gpu/*.py",),
    "gymnasium": ("toolkit/envs/*.py", "toolkit/learning/*.py", "toolkit/exports/minari_export.py"),
    "stable_baselines3": ("toolkit/envs/flat.py", "toolkit/learning/*.py"),
    "sb3_contrib": ("toolkit/learning/*.py",),
    "minari": ("toolkit/exports/minari_export.py",),
    "datasets": (),
    "duckdb": (),
    "pettingzoo": ("toolkit/envs/*.py",),
    "ortools": ("toolkit/planning/optimum.py",),
    "matplotlib": (
        "toolkit/gantt.py",
        "toolkit/benchmarks/page.py",
        "evaluations/fidelity.py",
        "evaluations/experiments/*.py",
        "evaluations/papers/*.py",
        "evaluations/verdicts/report.py",
    ),
    "hydra": (
        "toolkit/cli.py",
        "toolkit/mistakes.py",
        "toolkit/policies/named.py",
        "toolkit/benchmarks/benchmark.py",
        "toolkit/envs/registration.py",
        "toolkit/learning/ground.py",
        "toolkit/learning/lesson.py",
        "evaluations/recording.py",
        "evaluations/record.py",
        *BODIES,
    ),
    "omegaconf": (
        "evaluations/real.py",
        "toolkit/cli.py",
        "toolkit/mistakes.py",
        "toolkit/settings.py",
        "toolkit/learning/ground.py",
        "toolkit/envs/registration.py",
        "evaluations/experiments/arms.py",
        "evaluations/cells.py",
        "evaluations/experiments/growth.py",
        "evaluations/experiments/learners.py",
        "evaluations/papers/paper_*.py",
        "evaluations/experiments/transfers.py",
        "evaluations/experiments/weightings.py",
        "evaluations/experiments/offline_to_online.py",
        "evaluations/yardstick.py",
        "evaluations/suite.py",
        "evaluations/ope_suite.py",
        *BODIES,
    ),
    "pickle": (),
    "cloudpickle": (),
    "joblib": (),
}
FORBIDDEN_CALLS = ("eval", "exec", "torch.load", "os.system")
SAYS_NOTHING = ("utils", "util", "common", "base", "manager", "helpers", "misc")

SOURCES = sorted(p.relative_to(ROOT) for room in MAY_IMPORT for p in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports, anywhere in it."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            yield node.module or ""


def _tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_rooms_import_only_what_they_may(path: Path) -> None:
    room = path.parts[0]
    met = {name.partition(".")[0] for name in imports(path)} & MAY_IMPORT.keys()
    assert met <= MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_engines_stay_in_their_files(path: Path) -> None:
    for name in imports(path):
        places = ONLY_IN.get(name.partition(".")[0])
        if places is not None:
            assert any(fnmatch(path.as_posix(), place) for place in places), (
                f"{path} imports {name}; only {', '.join(places) or 'nobody'} may"
            )


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_nothing_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in FORBIDDEN_CALLS, f"{path}:{node.lineno}: {name}"
            for word in node.keywords:
                truth = isinstance(word.value, ast.Constant) and word.value.value is True
                assert not (word.arg == "shell" and truth), f"{path}:{node.lineno}: shell=True"


def test_rooms_have_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for path in SOURCES:
        met = {name.partition(".")[0] for name in imports(path)} & MAY_IMPORT.keys()
        graph[path.parts[0]] |= met - {path.parts[0]}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("room", BELOW)
def test_what_stands_below_knows_nothing_above(room: str) -> None:
    found = [path for path in SOURCES if path.parent == Path(room)]
    assert found
    for path in found:
        above = [
            n for n in imports(path) if f"{n}.".startswith(tuple(f"{b}." for b in BELOW[room]))
        ]
        assert not above, path


@pytest.mark.parametrize("folder", ["datasets", "conf"])
def test_values_and_data_hold_no_code(folder: str) -> None:
    store = ROOT / "datasets" / "store"
    found = [p for p in (ROOT / folder).rglob("*.py") if not p.is_relative_to(store)]
    assert not found


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_names_say_something(path: Path) -> None:
    assert path.stem not in SAYS_NOTHING


def test_every_package_is_shipped() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"]) - {"toolkit.conf"}
    assert listed == {".".join(path.parent.parts) for path in SOURCES}
