"""Submit: the user's own ``spark-submit`` line, run once per batch (regime ``submit``).

The line is a list of words; the configuration that a policy chose is put in the places of its
placeholders and no shell ever sees it. What the application did is read from its event log.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from collectors.spark import event_log
from collectors.spark.cluster import last_words, start, stop
from collectors.spark.engine import Batch, BatchEngine, Ran
from collectors.spark.live_log import MS, Told
from collectors.streams import Limits, Source
from toolkit.errors import ConfigError, EngineError, require
from toolkit.scenarios.batches import Batches, BatchWorkload

SUBMIT = "submit"
"""Name of the regime."""

CONFIGURED = ("cores", "memory", "instances")
PLACEHOLDERS = (*CONFIGURED, "event_log_dir", "frames", "partitions", "batch")
"""What a line may hold in braces: cores and MiB of an executor, executors, the folder for the
event log, frames per partition, partitions, and the index of the batch."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_GRACE = 5.0
_PERIOD = 0.05


def check_line(line: Sequence[str], scenario: Batches) -> None:
    """Refuse a line that cannot do what policies choose.

    Raises:
        ConfigError: Naming what is missing.
    """
    example = (
        "collector.submit=[spark-submit,--executor-cores,'{cores}',--executor-memory,'{memory}m',"
        "--num-executors,'{instances}',--conf,spark.eventLog.enabled=true,"
        "--conf,'spark.eventLog.dir={event_log_dir}',job.py]"
    )
    require(
        not isinstance(line, str) and len(line) > 0 and all(isinstance(w, str) for w in line),
        "collector.submit must be a list of words",
        hint=example,
    )
    used = {name for word in line for name in _PLACE.findall(word)}
    for name in sorted(used - set(PLACEHOLDERS)):
        raise ConfigError(
            f"collector.submit has a placeholder {{{name[:40]}}}, which nothing is known to fill",
            hint=f"choose from: {', '.join('{' + p + '}' for p in PLACEHOLDERS)}",
        )
    require(
        "event_log_dir" in used,
        "collector.submit never says {event_log_dir}: what the application did could not be read",
        hint=example,
    )
    choices = {
        "cores": scenario.cores,
        "memory": scenario.memory,
        "instances": scenario.instances,
    }
    for name in CONFIGURED:
        many = sorted(set(choices[name]))
        require(
            name in used or len(many) == 1,
            f"policies choose {name} from {many}, but collector.submit never says {{{name}}}",
            hint=f"put {{{name}}} into the line, or leave one choice: scenario.{name}=[{many[0]}]",
        )
    program = line[0]
    require(
        _PLACE.search(program) is None and shutil.which(program) is not None,
        f"the program of collector.submit is not there: {program[:200]!r}",
        hint="give its path; with the pip package it is beside the Python that you use",
    )


def fill(line: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Return the words with their placeholders filled in; what was filled in is not read again."""
    return [_PLACE.sub(lambda found: str(values[found[1]]), word) for word in line]


class SubmitEngine(BatchEngine):
    """A live engine: one application per batch, started by the user's own command.

    Nothing is known of its tasks but what its log says afterwards, and they need not be those
    that the scenario plans. The state is shown the planned ones as done when the command is.

    Args:
        line: Words with placeholders.
        folder: For event logs and what the command prints.
        limits: What one event log may cost.
    """

    def __init__(self, line: Sequence[str], folder: Path, limits: Limits) -> None:
        super().__init__()
        self._line, self._folder, self._limits = list(line), folder, limits
        self.told: dict[int, Told] = {}
        """What the log of each batch says."""
        self.files: list[dict[str, object]] = []
        """Name, size and hash of each log that was read."""

    def _serve(self, batch: Batch, until: float) -> None:
        workload = self.workload
        assert isinstance(workload, BatchWorkload)
        cores, memory = self.shape(batch.key)
        place = self._folder / f"batch-{batch.job}"
        shutil.rmtree(place, ignore_errors=True)
        logs = place / "events"
        logs.mkdir(parents=True)
        words = fill(
            self._line,
            {
                "cores": cores,
                "memory": memory,
                "instances": batch.asked,
                "event_log_dir": str(logs),
                "frames": int(workload.frames[batch.job]),
                "partitions": int(workload.partitions[batch.job]),
                "batch": batch.job,
            },
        )
        batch.ready = self.now()
        begun = time.monotonic()
        output = place / "output.log"
        running = start(words, output, os.environ, grace=_GRACE)
        try:
            status = _wait(running, until - self.now())
        finally:
            stop([running])
        batch.seconds = time.monotonic() - begun
        ended = self.now()
        if status is None:
            self._arrive(ended)
            return
        if status != 0:
            raise EngineError(
                f"the command of batch {batch.job} ended with status {status}: "
                f"{last_words(output)}",
                hint=f"try it by itself: {' '.join(words)[:400]}",
            )
        told = self._read(logs, batch.job)
        self.told[batch.job] = told
        batch.finished = ended
        self._applied(batch, told)
        first, last = workload.arrays.job_ptr[batch.job : batch.job + 2].tolist()
        # One after another, each for no time: when they truly ran nobody knows.
        # No executor is up afterwards: the application has taken its own with it.
        for task in range(first, last):
            one = Ran(task=task, slot=0, started=ended, finished=ended, done=True)
            self._show([one], ended)
        shutil.rmtree(place, ignore_errors=True)

    def _applied(self, batch: Batch, told: Told) -> None:
        """Note how long it took until the first task could run."""
        launched = [t.info.launched for t in told.tasks]
        if launched:
            batch.about["apply_seconds"] = max(0.0, min(launched) * MS - self.origin - batch.ready)

    def _read(self, folder: Path, job: int) -> Told:
        found = event_log.logs(folder)
        if len(found) != 1:
            raise EngineError(
                f"batch {job} left {len(found)} event logs and not one",
                hint="say in the line: --conf spark.eventLog.enabled=true "
                "--conf spark.eventLog.dir={event_log_dir}",
            )
        told = Told()
        for part in event_log.events_of(found[0]):
            source = Source(part.file, self._limits)
            told.read(source.lines())
            self.files.append({"batch": job, **source.about})
        return told


def _wait(running: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit status, or None where it took longer."""
    end = time.monotonic() + max(0.1, seconds)
    while (status := running.poll()) is None:
        if time.monotonic() > end:
            return None
        time.sleep(_PERIOD)
    return status
