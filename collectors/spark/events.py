"""Events of a Spark log: of each kind only the fields that are used; all may be absent.

Names and units as Spark's JsonProtocol writes them: times are milliseconds since 1970, durations
milliseconds, CPU times nanoseconds, sizes bytes (memory of resource profiles: MiB).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from collectors.spark.task_rows import UNTOLD

Int = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class LogStart(Struct, frozen=True):
    """First line: the version that wrote the log."""

    version: str | None = field(name="Spark Version", default=None)


class ApplicationStart(Struct, frozen=True):
    """The driver began."""

    name: str | None = field(name="App Name", default=None)
    app: str | None = field(name="App ID", default=None)
    attempt: str | None = field(name="App Attempt ID", default=None)
    at: Int | None = field(name="Timestamp", default=None)


class ApplicationEnd(Struct, frozen=True):
    """The driver stopped in good order."""

    at: Int | None = field(name="Timestamp", default=None)


class EnvironmentUpdate(Struct, frozen=True):
    """Properties; of the five groups that Spark logs only two are read."""

    jvm: dict[str, str] = field(name="JVM Information", default_factory=dict)
    spark: dict[str, str] = field(name="Spark Properties", default_factory=dict)


class Request(Struct, frozen=True):
    """One resource of a profile."""

    amount: float | None = field(name="Amount", default=None)


class ResourceProfileAdded(Struct, frozen=True):
    """What executors and tasks of a profile ask for."""

    profile: Int = field(name="Resource Profile Id")
    executor: dict[str, Request] = field(name="Executor Resource Requests", default_factory=dict)
    task: dict[str, Request] = field(name="Task Resource Requests", default_factory=dict)


class Addresses(Struct, frozen=True):
    """Accelerators of one kind that an executor was given."""

    addresses: list[str] = field(default_factory=list)


class ExecutorInfo(Struct, frozen=True):
    """What an executor has."""

    host: str | None = field(name="Host", default=None)
    cores: Int | None = field(name="Total Cores", default=None)
    profile: Int | None = field(name="Resource Profile Id", default=None)
    requested: Int | None = field(name="Request Time", default=None)
    registered: Int | None = field(name="Registration Time", default=None)
    resources: dict[str, Addresses] | None = field(name="Resources", default=None)


class ExecutorAdded(Struct, frozen=True):
    """An executor registered with the driver."""

    executor: str = field(name="Executor ID")
    at: Int | None = field(name="Timestamp", default=None)
    info: ExecutorInfo = field(name="Executor Info", default_factory=ExecutorInfo)


class ExecutorRemoved(Struct, frozen=True):
    """An executor is gone."""

    executor: str = field(name="Executor ID")
    at: Int | None = field(name="Timestamp", default=None)
    reason: str | None = field(name="Removed Reason", default=None)


class BlockManagerId(Struct, frozen=True):
    """Whose store it is."""

    executor: str = field(name="Executor ID")


class BlockManagerAdded(Struct, frozen=True):
    """The store of an executor registered with the driver."""

    manager: BlockManagerId = field(name="Block Manager ID")
    at: Int | None = field(name="Timestamp", default=None)


class StageInfo(Struct, frozen=True):
    """One attempt of a stage, as far as it is known when it is written."""

    stage: Int = field(name="Stage ID")
    attempt: Int = field(name="Stage Attempt ID", default=0)
    name: str | None = field(name="Stage Name", default=None)
    tasks: Int | None = field(name="Number of Tasks", default=None)
    parents: list[Int] = field(name="Parent IDs", default_factory=list)
    profile: Int | None = field(name="Resource Profile Id", default=None)
    submitted: Int | None = field(name="Submission Time", default=None)
    completed: Int | None = field(name="Completion Time", default=None)
    failure: str | None = field(name="Failure Reason", default=None)


class JobProperties(Struct, frozen=True):
    """Of the properties of a job those that say what it is for."""

    description: str | None = field(name="spark.job.description", default=None)
    group: str | None = field(name="spark.jobGroup.id", default=None)
    call_site: str | None = field(name="callSite.short", default=None)
    sql: str | None = field(name="spark.sql.execution.id", default=None)
    batch: str | None = field(name="streaming.sql.batchId", default=None)
    query: str | None = field(name="sql.streaming.queryId", default=None)


class JobStart(Struct, frozen=True):
    """A job arrived; it lists all stages that it may need."""

    job: Int = field(name="Job ID")
    at: Int | None = field(name="Submission Time", default=None)
    stages: list[StageInfo] = field(name="Stage Infos", default_factory=list)
    stage_ids: list[Int] = field(name="Stage IDs", default_factory=list)
    properties: JobProperties | None = field(name="Properties", default=None)


class JobException(Struct, frozen=True):
    """Why a job failed."""

    message: str | None = field(name="Message", default=None)


class JobResult(Struct, frozen=True):
    """How a job ended."""

    result: str | None = field(name="Result", default=None)
    exception: JobException | None = field(name="Exception", default=None)


class JobEnd(Struct, frozen=True):
    """A job ended."""

    job: Int = field(name="Job ID")
    at: Int | None = field(name="Completion Time", default=None)
    result: JobResult | None = field(name="Job Result", default=None)


class StageSubmitted(Struct, frozen=True):
    """The tasks of an attempt of a stage may be launched."""

    info: StageInfo = field(name="Stage Info")


class StageCompleted(Struct, frozen=True):
    """An attempt of a stage ended, well or badly."""

    info: StageInfo = field(name="Stage Info")


class TaskInfo(Struct, frozen=True, gc=False):
    """One attempt of a task."""

    task: Int = field(name="Task ID")
    index: Int = field(name="Index")
    partition: Int = field(name="Partition ID", default=-1)
    launched: Int = field(name="Launch Time", default=0)
    executor: str = field(name="Executor ID", default="")
    host: str = field(name="Host", default="")
    locality: str | None = field(name="Locality", default=None)
    speculative: bool | None = field(name="Speculative", default=None)
    getting_result: Int = field(name="Getting Result Time", default=0)
    finished: Int = field(name="Finish Time", default=0)
    failed: bool = field(name="Failed", default=False)
    killed: bool = field(name="Killed", default=False)


class ShuffleRead(Struct, frozen=True, gc=False):
    """Bytes that came through shuffles."""

    remote: Int = field(name="Remote Bytes Read", default=UNTOLD)
    local: Int = field(name="Local Bytes Read", default=UNTOLD)


class ShuffleWrite(Struct, frozen=True, gc=False):
    """Bytes left for later stages."""

    bytes: Int = field(name="Shuffle Bytes Written", default=UNTOLD)


class Input(Struct, frozen=True, gc=False):
    """Bytes from files or blocks."""

    bytes: Int = field(name="Bytes Read", default=UNTOLD)


class Output(Struct, frozen=True, gc=False):
    """Bytes to files."""

    bytes: Int = field(name="Bytes Written", default=UNTOLD)


class TaskMetrics(Struct, frozen=True, gc=False):
    """What the executor measured of an attempt."""

    deserialize: Int = field(name="Executor Deserialize Time", default=UNTOLD)
    run: Int = field(name="Executor Run Time", default=UNTOLD)
    cpu: Int = field(name="Executor CPU Time", default=UNTOLD)
    peak_execution: Int = field(name="Peak Execution Memory", default=UNTOLD)
    result_size: Int = field(name="Result Size", default=UNTOLD)
    gc: Int = field(name="JVM GC Time", default=UNTOLD)
    serialize: Int = field(name="Result Serialization Time", default=UNTOLD)
    memory_spilled: Int = field(name="Memory Bytes Spilled", default=UNTOLD)
    disk_spilled: Int = field(name="Disk Bytes Spilled", default=UNTOLD)
    shuffle_read: ShuffleRead | None = field(name="Shuffle Read Metrics", default=None)
    shuffle_write: ShuffleWrite | None = field(name="Shuffle Write Metrics", default=None)
    input: Input | None = field(name="Input Metrics", default=None)
    output: Output | None = field(name="Output Metrics", default=None)


class TaskEndReason(Struct, frozen=True, gc=False):
    """Why an attempt ended."""

    reason: str | None = field(name="Reason", default=None)
    exception: str | None = field(name="Class Name", default=None)
    description: str | None = field(name="Description", default=None)
    message: str | None = field(name="Message", default=None)
    lost: str | None = field(name="Loss Reason", default=None)
    kill: str | None = field(name="Kill Reason", default=None)


class TaskStart(Struct, frozen=True, gc=False):
    """The driver launched an attempt."""

    stage: Int = field(name="Stage ID")
    info: TaskInfo = field(name="Task Info")
    attempt: Int = field(name="Stage Attempt ID", default=0)


class TaskEnd(Struct, frozen=True, gc=False):
    """The driver learnt that an attempt ended."""

    stage: Int = field(name="Stage ID")
    info: TaskInfo = field(name="Task Info")
    attempt: Int = field(name="Stage Attempt ID", default=0)
    reason: TaskEndReason | None = field(name="Task End Reason", default=None)
    metrics: TaskMetrics | None = field(name="Task Metrics", default=None)


class PlanInfo(Struct, frozen=True):
    """The root of a physical plan."""

    node: str | None = field(name="nodeName", default=None)


class ExecutionStart(Struct, frozen=True):
    """A SQL execution began."""

    execution: Int = field(name="executionId")
    root: Int | None = field(name="rootExecutionId", default=None)
    description: str | None = None
    at: Int | None = field(name="time", default=None)
    plan: PlanInfo | None = field(name="sparkPlanInfo", default=None)


class ExecutionEnd(Struct, frozen=True):
    """A SQL execution ended."""

    execution: Int = field(name="executionId")
    at: Int | None = field(name="time", default=None)
    error: str | None = field(name="errorMessage", default=None)


class QueryStarted(Struct, frozen=True):
    """A streaming query began; its time is text."""

    run: str = field(name="runId")
    query: str | None = field(name="id", default=None)
    name: str | None = None
    at: str | None = field(name="timestamp", default=None)


class StreamSource(Struct, frozen=True):
    """Rows that one source gave to a micro-batch."""

    rows: Int | None = field(name="numInputRows", default=None)


class Progress(Struct, frozen=True):
    """One micro-batch."""

    run: str | None = field(name="runId", default=None)
    query: str | None = field(name="id", default=None)
    name: str | None = None
    at: str | None = field(name="timestamp", default=None)
    batch: Int | None = field(name="batchId", default=None)
    duration: Int | None = field(name="batchDuration", default=None)
    parts: dict[str, Int] = field(name="durationMs", default_factory=dict)
    sources: list[StreamSource] = field(default_factory=list)


class QueryProgress(Struct, frozen=True):
    """A micro-batch was finished."""

    progress: Progress


class QueryTerminated(Struct, frozen=True):
    """A streaming query ended; Spark does not log when."""

    run: str = field(name="runId")
    exception: str | None = None


_SQL = "org.apache.spark.sql.execution.ui.SparkListener"
_STREAM = "org.apache.spark.sql.streaming.StreamingQueryListener$"

KINDS: dict[str, type[Struct]] = {
    "SparkListenerLogStart": LogStart,
    "SparkListenerApplicationStart": ApplicationStart,
    "SparkListenerApplicationEnd": ApplicationEnd,
    "SparkListenerEnvironmentUpdate": EnvironmentUpdate,
    "SparkListenerResourceProfileAdded": ResourceProfileAdded,
    "SparkListenerExecutorAdded": ExecutorAdded,
    "SparkListenerExecutorRemoved": ExecutorRemoved,
    "SparkListenerBlockManagerAdded": BlockManagerAdded,
    "SparkListenerJobStart": JobStart,
    "SparkListenerJobEnd": JobEnd,
    "SparkListenerStageSubmitted": StageSubmitted,
    "SparkListenerStageCompleted": StageCompleted,
    "SparkListenerTaskStart": TaskStart,
    "SparkListenerTaskEnd": TaskEnd,
    f"{_SQL}SQLExecutionStart": ExecutionStart,
    f"{_SQL}SQLExecutionEnd": ExecutionEnd,
    f"{_STREAM}QueryStartedEvent": QueryStarted,
    f"{_STREAM}QueryProgressEvent": QueryProgress,
    f"{_STREAM}QueryTerminatedEvent": QueryTerminated,
}
"""What each kind of event that is read is decoded to."""

PASSED_OVER = frozenset(
    {
        "SparkListenerBlockManagerRemoved",
        "SparkListenerBlockUpdated",
        "SparkListenerExecutorMetricsUpdate",
        "SparkListenerStageExecutorMetrics",
        "SparkListenerTaskGettingResult",
        "SparkListenerSpeculativeTaskSubmitted",
        "org.apache.spark.scheduler.SparkListenerSpeculativeTaskSubmitted",
        "SparkListenerUnpersistRDD",
        "SparkListenerUnschedulableTaskSetAdded",
        "SparkListenerUnschedulableTaskSetRemoved",
        "org.apache.spark.scheduler.SparkListenerMiscellaneousProcessAdded",
        f"{_SQL}SQLAdaptiveExecutionUpdate",
        f"{_SQL}SQLAdaptiveSQLMetricUpdates",
        f"{_SQL}DriverAccumUpdates",
        f"{_STREAM}QueryIdleEvent",
    }
)
"""Kinds that are known to say nothing that a trace has a place for."""

DECODERS: dict[bytes, msgspec.json.Decoder[Any]] = {
    name.encode(): msgspec.json.Decoder(kind) for name, kind in KINDS.items()
}
"""What decodes each kind of event."""
_PREFIX = b'{"Event":"'


class _Named(Struct):
    name: str = field(name="Event")


_NAMED = msgspec.json.Decoder(_Named)


def name_of(line: bytes) -> bytes:
    """Return the kind of event of a line; Spark writes it first, others need not.

    Raises:
        ValueError: When the line is no event.
        RecursionError: When it is nested too deeply.
    """
    if line.startswith(_PREFIX):
        return line[10 : line.find(b'"', 10)]
    return _NAMED.decode(line).name.encode()
