"""Spark event logs: how fast they are read, beside ``json.loads``, and what that takes of memory.

The log is made of real events of Spark 4.3: those of the sample, the tasks of each stage many times
over, or those of the log named in TOOLKIT_BENCH_SPARK as they are; all repeated with numbers of
their own until the log is as long as is asked for. Rates are by the CPU time of the process.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from collectors.importing import Log
from collectors.run_writer import RunWriter
from collectors.spark import events
from collectors.spark.importer import SparkImporter
from collectors.streams import Limits, Source

SAMPLE = Path(__file__).parent / "collectors" / "samples" / "spark"
ROUNDS = 5
COPIES = 100
RATE_BYTES = 100 << 20
MEMORY_BYTES = (50 << 20, 350 << 20)
_NUMBERS = re.compile(
    rb'("(?:Task ID|Stage ID|Job ID|executionId|rootExecutionId)":)(\d+)'
    rb'|("(?:Parent IDs|Stage IDs)":\[)([\d,]+)'
)
_ONCE = (b"LogStart", b"ApplicationStart", b"EnvironmentUpdate", b"ExecutorAdded", b"Profile")


def repeated(size: int, file: Path) -> int:
    """Write a log of about ``size`` bytes; returns how many bytes it has."""
    named = os.environ.get("TOOLKIT_BENCH_SPARK")
    origin = Path(named) if named else next(iter(sorted(SAMPLE.glob("app-*"))))
    lines = list(Source(origin, Limits()).lines())
    once = [line for line in lines if any(w in line[:80] for w in _ONCE)]
    often = [line for line in lines if line not in set(once) and b"ApplicationEnd" not in line[:80]]
    body = b"\n".join(often) + b"\n" if named else _fanned_out(often)
    step = 1 + max(int(m[2]) for m in _NUMBERS.finditer(body) if m[2])

    def moved(by: int) -> bytes:
        def shift(m: re.Match[bytes]) -> bytes:
            if m[1]:
                return m[1] + b"%d" % (int(m[2]) + by)
            return m[3] + b",".join(b"%d" % (int(n) + by) for n in m[4].split(b","))

        return _NUMBERS.sub(shift, body)

    with file.open("wb") as stream:
        stream.write(b"\n".join(once) + b"\n")
        by = 0
        while stream.tell() < size:
            stream.write(moved(by))
            by += step
        stream.write(b'{"Event":"SparkListenerApplicationEnd","Timestamp":1795251900000}\n')
        return stream.tell()


def _fanned_out(lines: list[bytes]) -> bytes:
    """Give each stage a hundred times the tasks, as logs that are long have them."""
    found, tasks = [], 0
    begun: dict[bytes, bytes] = {}
    for line in lines:
        if line.startswith(b'{"Event":"SparkListenerTaskStart"'):
            begun[re.search(rb'"Task ID":(\d+)', line)[1]] = line  # type: ignore[index]
        elif line.startswith(b'{"Event":"SparkListenerTaskEnd"'):
            first = begun[re.search(rb'"Task ID":(\d+)', line)[1]]  # type: ignore[index]
            for copy in range(COPIES):
                for event in (first, line):
                    event = re.sub(rb'"Task ID":\d+', b'"Task ID":%d' % tasks, event, count=1)
                    event = re.sub(
                        rb'"(Index|Partition ID)":(\d+)',
                        lambda m, copy=copy: b'"%s":%d' % (m[1], int(m[2]) * COPIES + copy),
                        event,
                        count=2,
                    )
                    found.append(event)
                tasks += 1
        else:
            found.append(line)
    return b"\n".join(found) + b"\n"


def json_loads(file: Path) -> float:
    """Return the seconds that ``json.loads`` of every line takes."""
    began = time.process_time()
    with file.open("rb") as stream:
        for line in stream:
            json.loads(line)
    return time.process_time() - began


def decode(file: Path) -> float:
    """Return the seconds until every event that is read is decoded."""
    decoders = {name: d.decode for name, d in events.DECODERS.items()}
    began = time.process_time()
    with file.open("rb") as stream:
        for line in stream:
            known = decoders.get(events.name_of(line))
            if known is not None:
                known(line)
    return time.process_time() - began


def imported(file: Path, folder: Path) -> float:
    """Return the seconds from the file to Parquet."""
    began = time.process_time()
    importer = SparkImporter()
    run = RunWriter(folder, 0, importer.extra)
    importer.read(Log(name=file.name, files=(file,)), run, Limits())
    run.close()
    taken = time.process_time() - began
    shutil.rmtree(folder)
    return taken


def peak(file: Path, folder: Path) -> float:
    """Return the MiB that a process has held at most after it imported a file."""
    command = [sys.executable, __file__, "--peak", str(file), str(folder)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    return float(done.stdout)


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the value of each round."""
    rates, parsing, ratios, growth = [], [], [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "log"
        mb = repeated(RATE_BYTES, file) / 1e6
        imported(file, folder / "out")  # what is loaded only once is not measured
        for _ in range(ROUNDS):
            slow, fast, whole = json_loads(file), decode(file), imported(file, folder / "out")
            ratios.append(slow / fast)
            parsing.append(mb / fast)
            rates.append(mb / whole)
        small, large = folder / "small", folder / "large"
        sizes = [repeated(n, f) for n, f in zip(MEMORY_BYTES, (small, large), strict=True)]
        peaks = [peak(f, folder / "out") for f in (small, large)]
        growth = [(peaks[1] - peaks[0]) / ((sizes[1] - sizes[0]) / 1e9)]
    return [
        ("Spark log: events decoded", "x json.loads", ratios),
        ("Spark log: events decoded", "MB/s", parsing),
        ("Spark log: to Parquet, one core", "MB/s", rates),
        ("Spark log: most memory, 350 MiB log", "MiB", [peaks[1]]),
        ("Spark log: memory that grows with the log", "MiB/GB", growth),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        imported(Path(sys.argv[2]), Path(sys.argv[3]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        for label, unit, values in rows():
            print(f"{label:45} {unit:14}", " ".join(f"{v:9.2f}" for v in values))
