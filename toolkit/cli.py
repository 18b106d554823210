"""The command line: ``toolkit <command> [setting=value ...] [group=choice ...]``.

A command is a function from a Hydra configuration to a :class:`~toolkit.report.Report`. This
file finds it, lets Hydra compose its configuration, keeps stdout clean for the report and
turns every failure into one sentence that says what to type next. Nothing heavy is imported
before the configuration is known to be good.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from toolkit.errors import ConfigError, ToolkitError, unknown
from toolkit.invocation import Invocation, formats, members, read, with_plus_signs
from toolkit.report import Report, to_json

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS: dict[str, tuple[str, str]] = {
    "collect": ("collectors.collect:collect", "record what an engine or a simulation does"),
    "calibrate": ("evaluations.calibrate:calibrate", "fit the simulator to traces"),
    "advise": ("evaluations.advise:advise", "say what another policy would do to a log"),
    "dataset build": (
        "toolkit.benchmarks.build:build",
        "make a benchmark dataset, or that of a trace",
    ),
    "dataset list": (
        "toolkit.benchmarks.show:listing",
        "show the datasets there are, here or to build",
    ),
    "dataset show": (
        "toolkit.benchmarks.show:show",
        "show what a dataset is and how good one may be",
    ),
    "dataset verify": ("toolkit.benchmarks.verify:verify", "check every byte and row of a dataset"),
    "dataset diff": ("toolkit.benchmarks.diff:diff", "say in what two datasets differ"),
    "dataset export": ("toolkit.exports.export:export", "write a dataset for another library"),
    "train": ("toolkit.learning.train:train", "learn a policy from a dataset"),
    "evaluate": ("evaluations.evaluate:evaluate", "judge policies on a suite of scenarios"),
    "leaderboard": ("leaderboard.leaderboard:leaderboard", "compare what was evaluated"),
    "leaderboard compare": (
        "leaderboard.compare:compare",
        "say what differs between two runs, and whether it matters",
    ),
    "schedule": ("toolkit.workflows.schedule:schedule", "run one workflow under one policy"),
    "list": ("toolkit.listing:listing", "show the choices there are and what was made"),
    "completion": ("toolkit.completion:complete", "print a completion script: bash, zsh or fish"),
}

_INTERRUPTED = 130
_READER_LEFT = 141


class _ReaderLeft(BaseException):
    """Nobody reads our stdout any more (``toolkit list | head -1``)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: The words after the program's name; by default those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    output = _Output(
        as_json=[word for word in words if word.startswith("format=")][-1:] == ["format=json"],
        with_traceback="--traceback" in words or os.environ.get("TOOLKIT_TRACEBACK") == "1",
    )
    try:
        with _sigterm_interrupts():
            return _dispatch([word for word in words if word != "--traceback"], output)
    except ToolkitError as error:
        return output.fail(error)
    except KeyboardInterrupt:
        return output.fail(
            ToolkitError("interrupted; what was finished is kept, the same command continues"),
            exit_code=_INTERRUPTED,
        )
    except _ReaderLeft:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        return _READER_LEFT


def _dispatch(words: list[str], output: _Output) -> int:
    if not words or words[0] in ("-h", "--help"):
        from toolkit.manual import overview

        output.show(overview({name: line for name, (_, line) in COMMANDS.items()}))
        return 0
    if words[0] == "--version":
        from toolkit import __version__

        output.show(f"toolkit {__version__}")
        return 0
    if words[0] == "completion":
        from toolkit.completion import complete

        output.show(complete(words[1:], COMMANDS))
        return 0
    asks = [*words[1:], "--help"][0] in ("-h", "--help")
    if asks and words[0] not in COMMANDS and members(words[0], COMMANDS):
        from toolkit.manual import group_help

        lines = {name: line for name, (_, line) in COMMANDS.items()}
        output.show(group_help(words[0], lines))
        return 0
    invocation = read(words, COMMANDS)
    if "--help" in invocation.options:
        from toolkit.manual import command_help

        output.show(command_help(invocation, COMMANDS[invocation.command][0]))
        return 0
    return _run(invocation, output)


@dataclass
class _Output:
    """The two faces of what is printed: text or one JSON document on stdout."""

    as_json: bool
    with_traceback: bool

    def show(self, text: str) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:
            raise _ReaderLeft from None

    def tell(self, error: ToolkitError, prefix: str = "toolkit") -> None:
        """Print an error on stderr."""
        if self.with_traceback:
            traceback.print_exception(error)
        print(f"{prefix}: {error}", file=sys.stderr, flush=True)

    def fail(self, error: ToolkitError, exit_code: int | None = None) -> int:
        """Print an error on stderr, and on stdout for scripts; return its exit code."""
        self.tell(error)
        if self.as_json:
            with contextlib.suppress(_ReaderLeft):
                self.show(to_json(_as_document(error)))
        return error.exit_code if exit_code is None else exit_code


def _as_document(error: ToolkitError) -> dict[str, Any]:
    kind = type(error).__name__
    return {"error": {"type": kind, "message": error.message, "hint": error.hint}}


@dataclass
class _Job:
    """What became of one call of the body; a sweep has several."""

    overrides: list[str]
    report: Report | None = None
    error: ToolkitError | None = None

    def as_document(self) -> dict[str, Any]:
        result = _as_document(self.error) if self.error else {"report": _document(self.report)}
        return {"overrides": self.overrides, **result}


def _document(report: Report | None) -> Mapping[str, Any]:
    return report.document if report else {}


def _run(invocation: Invocation, output: _Output) -> int:
    """Compose the configuration and call the body with it, in a sweep many times."""
    for word in invocation.overrides:
        key, _, value = word.partition("=")
        if key == "format" and value not in formats(invocation.command):
            raise unknown("format", value, formats(invocation.command))
    jobs: list[_Job] = []

    def call(cfg: DictConfig) -> float | None:
        job = _call(cfg, invocation)
        jobs.append(job)
        name = " ".join(job.overrides)
        if invocation.sweeps and job.error:
            output.tell(job.error, prefix=f"toolkit {name}")
        elif invocation.sweeps and job.report and not output.as_json:
            output.show(f"[{name}]\n{job.report.text}\n")
        return job.report.value if job.report else None

    try:
        _with_hydra(invocation, call)
    except BrokenPipeError:
        raise _ReaderLeft from None
    except ToolkitError:
        raise
    except ValueError as error:  # Hydra's way to refuse a word
        raise ConfigError(str(error).partition("\n")[0]) from error
    except Exception as error:
        raise _explained(error, invocation) from error
    if invocation.sweeps and output.as_json:
        output.show(to_json({"jobs": [job.as_document() for job in jobs]}))
    elif jobs and not invocation.sweeps:
        [job] = jobs
        if job.error:
            raise job.error
        document, text = _document(job.report), job.report.text if job.report else ""
        output.show(to_json(document) if output.as_json else text)
    return next((job.error.exit_code for job in jobs if job.error), 0)


def _call(cfg: DictConfig, invocation: Invocation) -> _Job:
    """Call the body once; a failure is kept, so that the rest of a sweep goes on."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from toolkit.mistakes import missing_value

    words = HydraConfig.get().overrides.task
    job = _Job([str(word) for word in words if not word.startswith("format=")])
    try:
        with _stdout_on_stderr():
            for key in sorted(OmegaConf.missing_keys(cfg)):
                raise missing_value(key, invocation)
            job.report = _body(COMMANDS[invocation.command][0])(cfg)
    except Exception as error:
        job.error = _explained(error, invocation)
    return job


def _explained(error: Exception, invocation: Invocation) -> ToolkitError:
    """Turn any failure into a sentence; the original stays attached for ``--traceback``."""
    if isinstance(error, ToolkitError):
        return error
    from toolkit.mistakes import explain

    sentence = explain(error, invocation)
    if sentence.__cause__ is None:
        sentence.__cause__ = error
    return sentence


def _body(target: str) -> Callable[[DictConfig], Report]:
    module, _, name = target.partition(":")
    body: Callable[[DictConfig], Report] = getattr(importlib.import_module(module), name)
    return body


def _with_hydra(invocation: Invocation, call: Callable[[DictConfig], float | None]) -> None:
    """Let Hydra compose the configuration and hand it to ``call``; it writes no files."""
    words = with_plus_signs(invocation)
    import hydra
    from hydra.core.hydra_config import HydraConfig

    with tempfile.TemporaryDirectory(prefix="toolkit-") as scratch:
        arguments = [*_hydra_settings(invocation, scratch), *words, *_hydra_options(invocation)]
        argv, sys.argv = sys.argv, ["toolkit", *arguments]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as they are
        try:
            hydra.main(
                version_base="1.3",
                config_path=str(invocation.catalogue.roots[-1]),
                config_name=invocation.primary,
            )(call)()
        except SystemExit as stop:  # --hydra-help ends this way
            if stop.code:
                raise
        finally:
            sys.argv = argv
            # What this command was told is nothing to whoever composes in this process later.
            HydraConfig.instance().cfg = None
            sys.stdout.flush()


def _hydra_settings(invocation: Invocation, scratch: str) -> Iterator[str]:
    yield f"hydra.job.name={invocation.primary}"
    yield "hydra.run.dir=."
    yield "hydra.output_subdir=null"
    yield f"hydra.sweep.dir='{scratch}'"
    yield "hydra.sweep.subdir=."
    given = {word.lstrip("+~").partition("=")[0] for word in invocation.overrides}
    for kind, builtin, level in (
        ("job_logging", "stdout", "WARNING"),
        ("hydra_logging", "default", "INFO"),
    ):
        if f"hydra/{kind}" not in given:
            yield f"hydra/{kind}={builtin}"
            yield f"hydra.{kind}.handlers.console.stream=ext://sys.stderr"
            yield f"hydra.{kind}.root.level={level}"


def _hydra_options(invocation: Invocation) -> Iterator[str]:
    for name, value in invocation.options.items():
        if name == "--config-dir":
            yield f"{name}={invocation.catalogue.roots[0]}"
        elif name not in ("--config-path", "--config-name"):
            yield f"{name}={value}" if value else name


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Send everything written to stdout to stderr, by libraries and subprocesses too."""
    sys.stdout.flush()
    kept = os.dup(1)
    original = sys.stdout
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        original.flush()
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Make SIGTERM raise ``KeyboardInterrupt``, so that ``finally`` blocks stop engines."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
