"""What the protocol promises: rows can be had again, a stop loses nothing, Ray gives the same."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from evaluations.metrics import MEASURED
from toolkit import cli, tracking

SUITE = [
    "evaluate", "suite=batches", "suite.scenarios=[batches_tiny,'batches_tiny scenario.batches=4']",
    "suite.seeds=3", "suite.chosen_on=2", "workers=1", "format=json",
    "policies=['largest~0.5',best_static,random]",
]  # fmt: skip


def toolkit(capsys, *words):
    code = cli.main(list(words))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def numbers(suite="batches"):
    """Return what the board says, without what is read off the wall clock or a new run's own."""
    own = [c for c in tracking.board(suite) if c.startswith(MEASURED)]
    frame = tracking.board(suite).drop(columns=["run_id", "created", "commit", *own])
    return json.loads(frame.to_json(orient="records", double_precision=15))


def test_the_printed_command_gives_the_row_again_to_the_last_digit(capsys):
    toolkit(capsys, *SUITE)
    before, board = numbers(), tracking.board("batches")
    assert len(before) == 3
    for command in board["command"]:
        words = shlex.split(command)
        assert words[0] == "toolkit"
        toolkit(capsys, *words[1:], "workers=1", "force=true")
    assert numbers() == before
    assert set(tracking.board("batches")["run_id"]).isdisjoint(board["run_id"])


def test_an_evaluation_that_is_killed_goes_on_where_it_was(capsys, own_store):
    words = [*SUITE, "suite.seeds=41"]
    running = subprocess.Popen(
        [sys.executable, "-m", "toolkit", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    cells = own_store / "cells"
    while running.poll() is None and not (cells.is_dir() and list(cells.glob("*.json"))):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    played = {f: f.stat().st_mtime_ns for f in cells.glob("*.json")}
    assert tracking.board("batches").empty
    found = json.loads(toolkit(capsys, *words))
    assert all(f.stat().st_mtime_ns == at for f, at in played.items())
    assert len(list(cells.glob("*.json"))) > len(played) > 0
    assert len(found["policies"]) == len(tracking.board("batches")) == 3


@pytest.mark.engine
def test_cells_on_a_ray_cluster_are_those_of_processes(capsys):
    pytest.importorskip("ray")
    from collectors.ray.session import LogicalNode, session

    toolkit(capsys, *SUITE)
    here = numbers()
    nodes = [LogicalNode(cpus=1, memory=512) for _ in range(2)]
    with session(None, 100, None, nodes):
        toolkit(capsys, *SUITE, "executor=ray", "force=true")
    assert numbers() == here
