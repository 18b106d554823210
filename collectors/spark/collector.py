"""Spark: batches recorded on a real one, or event logs imported, become a trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from collectors.importing import Importer
from toolkit.errors import require

if TYPE_CHECKING:
    from collectors.spark.record import SparkRecorder
    from toolkit.policies.policy import Policy
    from toolkit.scenarios.scenario import Scenario
    from toolkit.trace import Trace


@dataclass(frozen=True, kw_only=True)
class SparkCollector:
    """Records the pipeline of paper B on Spark, or imports event logs of Spark 2.4 to 4.3.

    Args:
        path: An event log, a rolling ``eventlog_v2_…`` folder, or a folder of such logs.
        runs: Episodes to record.
        behaviours: Names of the behaviour policies, taken in turn; ``name~0.3`` explores with
            probability 0.3.
        paired: Give each behaviour policy the same workloads, so that they can be compared.
        times: How often each policy meets each workload; more than once where ``paired``.
        regime: ``cold``, ``warm_pool`` or ``submit``; see ``SparkRecorder``.
        pool: Most executors that stay idle in a warm pool.
        frame: Width and height of the cameras' frames, pixels.
        submit: The command of regime ``submit``: words with placeholders.
        archive: Start executors from an archive of their classes; the first recording makes it.
    """

    path: str | None = None
    runs: int = 4
    behaviours: Sequence[str] = ("random",)
    paired: bool = False
    times: int = 1
    regime: str = "cold"
    pool: int = 4
    frame: Sequence[int] = (320, 180)
    submit: Sequence[str] | None = None
    archive: bool = True

    def __post_init__(self) -> None:
        require(len(self.behaviours) >= 1, "collector.behaviours must name at least one policy")

    def importer(self) -> Importer:
        """Return what reads the logs."""
        from collectors.spark.importer import SparkImporter

        return SparkImporter()

    def collect(
        self, scenario: Scenario, policies: Sequence[Policy], seed: int, folder: Path
    ) -> Trace:
        """Record, or go on where an interrupted recording stopped; see ``SparkRecorder``."""
        return self.recorder().collect(scenario, policies, seed, folder)

    def recorder(self) -> SparkRecorder:
        """Return what records."""
        from collectors.spark.record import SparkRecorder

        return SparkRecorder(
            runs=self.runs,
            paired=self.paired,
            times=self.times,
            regime=self.regime,
            pool=self.pool,
            frame=self.frame,
            submit=self.submit,
            archive=self.archive,
        )
