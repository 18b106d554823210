"""Figures of the WfFormat importer: how fast files are read, checked and written as a run."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collectors import wfformat_schema
from collectors.importing import Log
from collectors.run_writer import RunWriter
from collectors.streams import Limits
from collectors.wfformat import WfFormatImporter

ROUNDS = 5
WIDTH, LEVELS = 200, 100


def instance() -> bytes:
    """Return a run of 20,000 tasks in the proportions of published ones, indented as they are."""
    planned: list[dict[str, Any]] = []
    executed: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    names = [[f"step{k % 7}_ID{k * WIDTH + j:07d}" for j in range(WIDTH)] for k in range(LEVELS)]
    for k, level in enumerate(names):
        for j, name in enumerate(level):
            around = (j, (j + 1) % WIDTH)
            reads = [f"{names[k - 1][i]}.out.tar.gz" for i in around] if k else ["input.vcf"]
            planned.append(
                {
                    "name": name,
                    "id": name,
                    "children": [names[k + 1][i] for i in (j - 1, j)] if k + 1 < LEVELS else [],
                    "inputFiles": [*reads, "columns.txt"],
                    "outputFiles": [f"{name}.out.tar.gz"],
                    "parents": [names[k - 1][i] for i in around] if k else [],
                }
            )
            files.append({"id": f"{name}.out.tar.gz", "sizeInBytes": 1000 * j + k})
            executed.append(
                {
                    "id": name,
                    "runtimeInSeconds": 1.5 + j / 7,
                    "command": {
                        "program": f"step{k % 7}",
                        "arguments": ["--level", str(k), "--input", *reads, "--threads", "1"],
                    },
                    "coreCount": 1,
                    "avgCPU": 95.5 + j / 100,
                    "readBytes": 1234567 + j,
                    "writtenBytes": 7654321 + k,
                    "memoryInBytes": 123456789,
                    "priority": 20,
                    "machines": [f"worker-{j % 4}"],
                }
            )
    document = {
        "name": "bench",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": planned, "files": files},
            "execution": {
                "makespanInSeconds": 10_000,
                "executedAt": "2024-01-01T00:00:00Z",
                "tasks": executed,
                "machines": [
                    {"nodeName": f"worker-{k}", "cpu": {"coreCount": 48}} for k in range(4)
                ],
            },
        },
    }
    return json.dumps(document, indent=4).encode()


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and one value per round; the three are timed in turn in each round."""
    raw = instance()
    size = len(raw) / 1e6
    plain: list[float] = []
    checked: list[float] = []
    whole: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "bench.json"
        path.write_bytes(raw)
        log = Log(name=path.name, files=(path,))

        def into_a_run() -> None:
            importer = WfFormatImporter()
            run = RunWriter(Path(place) / "run", 0, importer.extra)
            importer.read(log, run, Limits())
            run.close()

        for k in range(ROUNDS + 1):
            found = (
                _seconds(lambda: json.loads(raw)),
                _seconds(lambda: wfformat_schema.decode(raw, "bench")),
                _seconds(into_a_run),
            )
            if k:
                for values, seconds in zip((plain, checked, whole), found, strict=True):
                    values.append(size / seconds)
    return [
        (f"WfFormat: json.loads alone ({size:.0f} MB)", "MB/s", plain),
        ("WfFormat: decoded and checked against its schema", "MB/s", checked),
        ("WfFormat: read into the tables of a run", "MB/s", whole),
        (
            "WfFormat: into a run, by json.loads alone",
            "x",
            [w / p for w, p in zip(whole, plain, strict=True)],
        ),
    ]


if __name__ == "__main__":
    for label, unit, values in rows():
        print(f"{label:<60} {unit:<5} " + " ".join(f"{v:.2f}" for v in values))
