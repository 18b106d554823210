"""The wheel holds what it must and works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.check

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("toolkit", "collectors", "evaluations", "leaderboard", "conf")


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program, assert that it succeeds, and return what it printed."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{words} said:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that no build output falls into the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", "dist", cwd=copy)
    [built] = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a venv that sees our dependencies but not our checkout."""
    venv = tmp_path_factory.mktemp("elsewhere") / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    quiet = ("-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    call(sys.executable, *quiet, wheel, cwd=venv.parent)
    # A .pth file inside that folder is not read again: the editable checkout stays unseen.
    here = sysconfig.get_paths()["purelib"]
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=venv)
    Path(site.strip(), "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    return venv / "bin"


def test_wheel_holds_code_and_values_only(wheel: Path) -> None:
    names = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"toolkit/{path.relative_to(ROOT)}" in names
    for room in SHIPPED[:-1]:
        for path in (ROOT / room).rglob("*"):
            if path.suffix in (".py", ".html", ".j2", ".css"):
                assert str(path.relative_to(ROOT)) in names
    assert "toolkit/py.typed" in names
    assert {name.split("/")[0] for name in names} == set(SHIPPED[:-1])


def test_installed_toolkit_is_its_own(installed: Path, tmp_path: Path) -> None:
    where = call(
        installed / "python", "-c", "import toolkit; print(toolkit.__file__)", cwd=tmp_path
    )
    assert where.startswith(str(installed.parent))


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],
        ["train", "--help"],
        ["train", "--cfg", "job", "+algo=cql"],
        ["train", "--cfg", "job", "algo=cql"],
    ],
    ids=" ".join,
)
def test_installed_toolkit_runs_anywhere(installed: Path, tmp_path: Path, words: list[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out = call(
        installed / "toolkit", *words, cwd=elsewhere, TOOLKIT_DATASETS=str(tmp_path / "store")
    )
    assert out.strip()
    assert not list(elsewhere.iterdir())
