"""Every ``quick`` suite runs from a trace to the board, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.recordings import record
from toolkit import trace as traces
from toolkit.catalogue import Catalogue
from toolkit.store import Store

pytestmark = pytest.mark.check
QUICK = [s for s in Catalogue().groups["suite"] if s.startswith("quick")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("quick")
    products = Store(root)
    traces.write(record(), products.partial("traces", "made"))
    products.commit("traces", "made", inputs={}, about={})
    toolkit(root, "train", "+algo=cql", "algo.n_steps=50")
    return root


def toolkit(root, *words):
    env = {**os.environ, "TOOLKIT_DATASETS": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", *words, "format=json"],
        env=env, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("suite", QUICK)
def test_a_quick_suite_ends_on_the_board(store, suite):
    found = toolkit(store, "evaluate", f"suite={suite}")
    assert {"cql", "mheft", "static", "reactive", "random"} <= {
        p["policy"] for p in found["policies"]
    }
    board = toolkit(store, "leaderboard", f"suite={suite}")
    assert [r["policy"] for r in board["rows"]] == [p["policy"] for p in found["policies"]]
    assert board["verdicts"][0]["policy"] == "cql"
    assert os.path.isfile(board["html"])


def test_there_is_a_quick_suite():
    assert QUICK
