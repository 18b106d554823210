"""Every command and Python block of the README and of docs/evaluation.md runs, in order, tiny.

A block after ``<!-- not run: reason -->`` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

pytestmark = pytest.mark.check

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>.*?) -->\s*\n)?^```(?P<kind>bash|python)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
LIMIT = 900


@dataclass(frozen=True)
class Step:
    """Something a reader of the README would type."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text.strip().partition("\n")[0]


def steps(readme: str) -> list[Step]:
    """Return the toolkit commands, quick starts and Python blocks of a README, in order."""
    found = []
    for block in BLOCK.finditer(readme):
        if block["reason"]:
            continue
        if block["kind"] == "python":
            found.append(Step("python", block["text"]))
            continue
        for line in re.sub(r"\\\n\s*", "", block["text"]).splitlines():
            line = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if line.startswith(("toolkit ", "make quickstart")):
                found.append(Step("bash", line))
    return found


def tiny_words() -> dict[str, str]:
    """Return what the Makefile adds to each command for ``SIZE=tiny``."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^TINY_(\w+) = (.*)$", makefile, re.MULTILINE))


def at_tiny_size(line: str) -> str:
    """Add the words of ``SIZE=tiny`` whose keys the line does not set itself."""
    if line.startswith("make "):
        return f"{line.partition('#')[0].strip()} SIZE=tiny"
    command = " ".join(takewhile(str.isalpha, line.split()[1:]))
    if {"--help", "--cfg", "--info"} & set(line.split()):
        return line
    if "collector.path=" in line:
        return line  # an import is as large as its log
    words = [w for w in tiny_words().get(command, "").split() if f"{w.split('=')[0]}=" not in line]
    end = re.search(r"\s+[|>#]|\s*$", line)
    assert end is not None
    return f"{line[: end.start()]} {' '.join(words)}{line[end.start() :]}"


PAGES = ("README.md", "docs/evaluation.md")
STEPS = [s for p in PAGES for s in steps((ROOT / p).read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of one reader who follows the README from top to bottom."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    store = tmp_path_factory.mktemp("readme") / "store"
    return {**os.environ, "PATH": path, "TOOLKIT_DATASETS": str(store)}


def test_readme_has_something_to_run() -> None:
    assert STEPS


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_readme(step: Step, reader: dict[str, str]) -> None:
    words = (
        [sys.executable, "-c", step.text]
        if step.kind == "python"
        else ["bash", "-euo", "pipefail", "-c", at_tiny_size(step.text)]
    )
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=reader,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    left_early = step.kind == "bash" and done.returncode == 141  # ... | head
    assert done.returncode == 0 or left_early, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_reading_of_blocks() -> None:
    readme = """
```bash
git clone x
toolkit collect scenario=big | head   # records
$ toolkit train \\
    +algo=cql
```
<!-- not run: needs a browser -->
```bash
toolkit leaderboard serve=true
```
```python
print(1)
```
"""
    found = steps(readme)
    assert [str(step) for step in found] == [
        "toolkit collect scenario=big | head   # records",
        "toolkit train +algo=cql",
        "print(1)",
    ]
    line = at_tiny_size(found[0].text)
    assert line == "toolkit collect scenario=big collector.runs=2 | head   # records"
    assert at_tiny_size("toolkit leaderboard") == "toolkit leaderboard suite=quick"
    assert at_tiny_size("toolkit leaderboard compare a=x").strip().endswith("compare a=x")
