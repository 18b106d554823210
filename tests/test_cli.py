"""The command line: plus signs, clean stdout, one sentence per failure, completion."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from toolkit import cli
from toolkit.catalogue import Catalogue
from toolkit.errors import EngineError, NotFoundError, require
from toolkit.invocation import read, with_plus_signs
from toolkit.report import Report

TRAIN = """\
defaults:
  - scenario: small
  - _self_
algo: ???      # how to learn
steps: 10      # updates
seed: 0
format: text
"""
HEAVY = ("hydra", "omegaconf", "numpy", "pandas", "torch", "d3rlpy", "mlflow", "numba", "ray")

Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Learn something."""

    rate: float
    layers: int

    def __post_init__(self) -> None:
        require(self.rate > 0, f"rate must be above 0, got {self.rate}")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder of YAML files like ours, small."""
    root = tmp_path / "conf"
    here = f"{__name__}.Learner"
    files = {
        "train.yaml": TRAIN,
        "algo/cql.yaml": f"# Conservative.\n_target_: {here}\nrate: 0.1  # step\nlayers: 2\n",
        "algo/iql.yaml": f"_target_: {here}\nrate: 0.2\nlayers: 3\n",
        "scenario/small.yaml": "jobs: 1\n",
        "scenario/large.yaml": "jobs: 9\n",
        "experiment/paper.yaml": "# @package _global_\nsteps: 99\n",
        "collector/ray.yaml": "runs: 1\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def body(cfg: DictConfig) -> Report:
    """Learn a policy.

    Args:
        cfg: All settings.
    """
    document = OmegaConf.to_container(cfg)
    assert isinstance(document, dict)
    return Report({str(k): v for k, v in document.items()}, f"steps {cfg.steps}")


@pytest.fixture
def run(
    conf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run ``toolkit train`` with some words and a body; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(
        *words: str, does: Callable[[DictConfig], Report] = body, command: str = "train"
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(cli, "_body", lambda target: does)
        code = cli.main([command, "--config-path", str(conf), *words])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def document(result: tuple[int, str, str]) -> dict[str, object]:
    code, out, err = result
    assert code == 0, err
    loaded = json.loads(out)
    assert isinstance(loaded, dict)
    return loaded


# ---------------------------------------------------------------- starting


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["trian"], ["list", "--help"], ["completion", "bash"]]
)
def test_answers_without_loading_anything_heavy(words: list[str]) -> None:
    script = (
        "import sys; from toolkit.cli import main; main(sys.argv[1:]);"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    done = python("-c", script, *words)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_a_wrong_override_loads_no_engine() -> None:
    script = (
        "import sys; from toolkit.cli import main; main(['list', 'wat=1']);"
        "print('HEAVY', [m for m in ('torch', 'd3rlpy', 'mlflow', 'numba') if m in sys.modules])"
    )
    assert python("-c", script).stdout.splitlines()[-1] == "HEAVY []"


def test_module_and_script_are_the_same() -> None:
    done = python("-m", "toolkit", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("toolkit 0.")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in cli.COMMANDS)


@pytest.mark.parametrize("word", ["trian", "Train", "xyz", "--verison", ""])
def test_wrong_command(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    err = capsys.readouterr().err
    assert err.startswith("toolkit: there is no command")
    assert word != "trian" or "did you mean 'train'?" in err


def test_command_help(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--config-path", str(conf), "+algo=cql", "--help"]) == 0
    out = capsys.readouterr().out
    assert "cql | iql" in out
    assert "(default: small)" in out
    assert "steps=10" in out and "updates" in out
    assert "algo.rate=0.1" in out and "step" in out
    assert "scenario.jobs=1" in out


# ---------------------------------------------------------------- composing


@pytest.mark.parametrize("word", ["algo=cql", "+algo=cql"])
@pytest.mark.parametrize("scenario", ["scenario=large", "+scenario=large"])
def test_plus_signs_do_not_matter(run: Run, word: str, scenario: str) -> None:
    got = document(run(word, scenario, "format=json"))
    assert got["algo"]["rate"] == 0.1  # type: ignore[index]
    assert got["scenario"] == {"jobs": 9}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["algo.rate=1.5", "algo=cql"], ["algo.rate=1.5", "+algo=cql"]),
        (["~scenario", "++steps=3"], ["~scenario", "++steps=3"]),
        (["+scenario@other=large"], ["+scenario@other=large"]),
        (["+algo=cql,iql"], ["+algo=cql,iql"]),
        (["experiment=paper"], ["+experiment=paper"]),
        (["steps=algo=cql"], ["steps=algo=cql"]),
    ],
)
def test_only_plain_choices_are_touched(conf: Path, words: list[str], expected: list[str]) -> None:
    invocation = read(["train", "--config-path", str(conf), *words], cli.COMMANDS)
    assert with_plus_signs(invocation) == expected


def test_a_global_choice_brings_its_defaults_along(run: Run, conf: Path) -> None:
    paper = "# @package _global_\ndefaults:\n  - /algo: iql\nsteps: 99\n"
    (conf / "experiment" / "paper.yaml").write_text(paper, encoding="utf-8")
    got = document(run("experiment=paper", "algo=cql", "format=json"))
    assert got["steps"] == 99
    assert got["algo"]["layers"] == 2  # type: ignore[index]


def test_a_folder_of_ones_own(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "own" / "algo"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("rate: 7\nlayers: 1\n", encoding="utf-8")
    for word in ("algo=mine", "+algo=mine"):
        got = document(run("--config-dir", str(own.parent), word, "format=json"))
        assert got["algo"] == {"rate": 7, "layers": 1}


def test_nothing_is_written_beside_the_user(run: Run, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert run("algo=cql")[0] == 0
    assert run("-m", "algo=cql,iql")[0] == 0
    assert sorted(tmp_path.iterdir()) == before


def test_config_is_shown_on_stdout(run: Run) -> None:
    code, out, _ = run("algo=cql", "--cfg", "job")
    assert code == 0
    assert OmegaConf.create(out).steps == 10


# ---------------------------------------------------------------- printing


def noisy(cfg: DictConfig) -> Report:
    import ctypes

    print("a print")
    os.write(1, b"a write\n")
    ctypes.CDLL(None).puts(b"a line of C")
    subprocess.run(["echo", "a subprocess"], check=True)
    return body(cfg)


@pytest.mark.parametrize("form", ["text", "json"])
def test_stdout_holds_the_report_alone(run: Run, form: str) -> None:
    code, out, err = run("algo=cql", f"format={form}", does=noisy)
    assert code == 0
    assert out == "steps 10\n" if form == "text" else json.loads(out)
    for noise in ("a print", "a write", "a line of C", "a subprocess"):
        assert noise in err
        assert noise not in out


def test_sweep(run: Run) -> None:
    code, out, _ = run("-m", "algo=cql,iql", "steps=1,2")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("steps")] == [
        "steps 1",
        "steps 2",
        "steps 1",
        "steps 2",
    ]


def test_sweep_as_json(run: Run) -> None:
    got = document(run("-m", "algo=cql,iql", "format=json"))
    jobs = got["jobs"]
    assert [job["overrides"] for job in jobs] == [["+algo=cql"], ["+algo=iql"]]  # type: ignore[attr-defined]
    assert [job["report"]["algo"]["rate"] for job in jobs] == [0.1, 0.2]  # type: ignore[attr-defined]


def test_a_failed_job_does_not_stop_a_sweep(run: Run) -> None:
    def fails_once(cfg: DictConfig) -> Report:
        require(cfg.steps != 1, "one step is none")
        return body(cfg)

    code, out, err = run("-m", "algo=cql", "steps=1,2", "format=json", does=fails_once)
    first, second = json.loads(out)["jobs"]
    assert code == 2
    assert first["error"]["message"] == "one step is none"
    assert second["report"]["steps"] == 2
    assert "steps=1: one step is none" in err


# ---------------------------------------------------------------- failing


def fail_with(error: BaseException) -> Callable[[DictConfig], Report]:
    def fails(cfg: DictConfig) -> Report:
        raise error

    return fails


MISTAKES = [
    ([], "choose an algo: toolkit train +algo=<cql|iql>"),
    (["algo.rate=1"], "choose an algo: toolkit train +algo=<cql|iql>"),
    (["algo=cqll"], "there is no algo 'cqll'; did you mean 'cql'"),
    (["scenario=larg"], "there is no scenario 'larg'; did you mean 'large'?"),
    (["algo=cql", "stesp=1"], "toolkit train has no setting 'stesp'; did you mean 'steps'?"),
    (["algo=cql", "algo.raet=1"], "no setting 'algo.raet'; did you mean 'algo.rate'?"),
    (["algo=cql", "rate=1"], "no setting 'rate'; did you mean 'algo.rate'?"),
    (["alog=cql"], "no setting 'alog'; did you mean 'algo'?"),
    (["algo=cql", "algo=iql"], "algo is given twice: cql and iql"),
    (["algo=cql", "collector=ray"], "has no use for 'collector=ray'; it reads: algo, scenario"),
    (["algo=cql", "steps"], "cannot read 'steps': there is no '=' in it"),
    (["algo=cql", "steps=[1"], "cannot read 'steps=[1'"),
    (["algo=cql", "steps=[a,b~0.3]"], "twice: \"steps=[a,'b~0.3']\"; lists are steps=[1,2]"),
    (["algo=cql", "steps=1,2"], "steps has several values: 1,2"),
    (["algo=cql", "+steps=1"], "steps exists already"),
    (["algo=cql", "~stesp"], "no setting 'stesp'"),
    (["algo=cql", "seed=???"], "seed needs a value: toolkit train seed=<value>"),
    (["algo=cql", "format=xml"], "there is no format 'xml'; choose from: json, text"),
    (["algo=3"], "Config group override must be a string"),
    (["--mutlirun"], "there is no option '--mutlirun'; did you mean '--multirun'"),
    (["--cfg", "jbo"], "did you mean 'job'?"),
    (["--cfg"], "--cfg needs a value"),
    (["--resolve"], "--resolve needs --cfg"),
    (["-m", "--cfg", "job"], "cannot be used together"),
    (["--config-dir", "/nowhere/x"], "there is no folder '/nowhere/x' for --config-dir"),
    (["--config-name", "tarin"], "there is no tarin.yaml"),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_are_told_in_one_sentence(run: Run, words: list[str], sentence: str) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("toolkit: ")
    assert sentence in err
    assert len(err.splitlines()) <= 2


def test_mistakes_as_json(run: Run) -> None:
    code, out, _ = run("algo=cqll", "format=json")
    error = json.loads(out)["error"]
    assert code == 2
    assert error["type"] == "NotFoundError"
    assert "did you mean 'cql'" in error["message"]


def build(cfg: DictConfig) -> Report:
    instantiate(cfg.algo)
    return body(cfg)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["algo.rate=-1"], "rate must be above 0, got -1"),
        (["+algo.raet=1"], "there is no setting of algo 'raet'; did you mean 'rate'?"),
        (["~algo.rate"], "algo lacks rate"),
        (["algo.rate=fast"], "algo cannot be used: TypeError"),
        (["algo._target_=toolkit.errors.Nope"], "the _target_ of algo cannot be imported"),
        (["algo._target_=rayyy.Nope"], "the Python package 'rayyy' is not installed"),
        (["~seed"], "lacks 'seed'"),
    ],
    ids=str,
)
def test_types_that_cannot_be_built(run: Run, words: list[str], sentence: str) -> None:
    def does(cfg: DictConfig) -> Report:
        assert cfg.seed == 0
        return build(cfg)

    code, out, err = run("algo=cql", *words, does=does)
    assert code in (2, 3)
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (NotFoundError("no such trace", hint="toolkit list"), 2, "no such trace\n  toolkit list"),
        (EngineError("Ray did not start"), 3, "Ray did not start"),
        (MemoryError(), 3, "not enough memory"),
        (OSError(28, "No space left on device"), 3, "the disk is full"),
        (ModuleNotFoundError("No module named 'ray'", name="ray"), 3, "toolkit[ray]"),
        (KeyError("x"), 1, "unexpected error: KeyError: 'x'"),
        (BrokenPipeError(), 1, "unexpected error: BrokenPipeError"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
    ],
    ids=repr,
)
def test_failures_of_a_body(run: Run, error: BaseException, code: int, sentence: str) -> None:
    got, out, err = run("algo=cql", does=fail_with(error))
    assert got == code
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


def test_traceback_on_demand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run("algo=cql", "--traceback", does=fail_with(KeyError("x")))
    assert code == 1
    assert "Traceback" in err and "fails" in err
    monkeypatch.setenv("TOOLKIT_TRACEBACK", "1")
    assert "Traceback" in run("algo=cql", does=fail_with(KeyError("x")))[2]


def test_broken_yaml_names_the_file(run: Run, conf: Path) -> None:
    (conf / "algo" / "cql.yaml").write_text("rate: [1\n", encoding="utf-8")
    code, _, err = run("algo=cql")
    assert code == 2
    assert "cql.yaml" in err


# ---------------------------------------------------------------- as a process


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def program(conf: Path, source: str) -> list[str]:
    """Return the words that run ``toolkit train`` with a body of this source."""
    (conf.parent / "fake_body.py").write_text(source, encoding="utf-8")
    script = (
        f"import sys; sys.path.insert(0, {str(conf.parent)!r});"
        "from toolkit import cli; cli.COMMANDS['train'] = ('fake_body:body', '');"
        "sys.exit(cli.main(['train', '--config-path', sys.argv[1], *sys.argv[2:]]))"
    )
    return [sys.executable, "-c", script, str(conf), "algo=cql"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_signals_let_engines_stop(conf: Path, number: signal.Signals) -> None:
    source = """
import sys, time
def body(cfg):
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        print("stopped", flush=True)
"""
    process = subprocess.Popen(
        [*program(conf, source), "format=json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped" in err and "interrupted" in err and "Traceback" not in err
    assert json.loads(out)["error"]["message"].startswith("interrupted")


def test_a_reader_that_leaves_is_no_failure(conf: Path) -> None:
    source = """
from toolkit.report import Report
def body(cfg):
    return Report({}, "line\\n" * 200_000)
"""
    words = program(conf, source)
    reader = subprocess.Popen(["head", "-1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    writer = subprocess.Popen(words, stdout=reader.stdin, stderr=subprocess.PIPE, text=True)
    assert reader.stdin is not None
    reader.stdin.close()
    reader.wait(20)
    _, err = writer.communicate(timeout=20)
    assert err == ""
    assert writer.returncode == 141


# ---------------------------------------------------------------- listing


def test_list_everything(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "format=json"]) == 0
    got = json.loads(capfd.readouterr().out)
    assert got["groups"].keys() == Catalogue().groups.keys()
    assert set(got["products"]) == {"traces", "calibrations", "datasets", "policies", "predictions"}


def test_list_describes_the_choices_of_a_folder(
    conf: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list", "--config-dir", str(conf), "what=algo"]) == 0
    assert "cql" in (out := capfd.readouterr().out)
    assert "Conservative." in out


def test_list_shows_products(own_store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from toolkit.store import Store

    (Store(own_store).partial("traces", "first") / "data").write_bytes(b"x" * 2048)
    Store(own_store).commit("traces", "first", inputs={}, about={})
    assert cli.main(["list", "what=traces"]) == 0
    out = capfd.readouterr().out
    assert "first" in out and "2.0 KiB" in out


def test_list_of_nothing_known(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "what=trcaes"]) == 2
    assert "did you mean 'traces'?" in capfd.readouterr().err


def test_docstrings_are_found_without_importing() -> None:
    script = (
        "import sys; from toolkit.catalogue import docstring;"
        "print(docstring('toolkit.cli.main').splitlines()[0], 'toolkit.cli' in sys.modules)"
    )
    expected = "Run one command line and return its exit code. False\n"
    assert python("-c", script).stdout == expected


# ---------------------------------------------------------------- completion


@pytest.fixture(scope="module")
def toolkit_on_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PATH on which ``toolkit`` is this one."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "toolkit"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m toolkit "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def bash_completes(line: str, path: str) -> list[str]:
    """Return what bash offers when TAB is pressed at the end of a line."""
    script = """
source <(toolkit completion bash)
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'"'"
_toolkit_complete toolkit
printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "-c", script, "bash", line],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        timeout=30,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("toolkit l", ["leaderboard", "list"]),
        ("toolkit train al", ["algo="]),
        ("toolkit train +al", ["+algo="]),
        ("toolkit train algo=", ["cql", "iql"]),
        ("toolkit train +algo=c", ["cql"]),
        ("toolkit train -m algo=cql,i", ["cql,iql"]),
        ("toolkit train algo=cql algo.", ["algo.layers=", "algo.rate="]),
        ("toolkit train scenario=l", ["large"]),
        ("toolkit train st", ["steps="]),
        ("toolkit train format=", ["json", "text"]),
        ("toolkit train --multi", ["--multirun"]),
        ("toolkit list what=tra", ["traces"]),
        ("toolkit completion b", ["bash"]),
        ("toolkit nonsense x", []),
    ],
)
def test_bash_completion(
    line: str, offers: Sequence[str], conf: Path, toolkit_on_path: str
) -> None:
    words = line.split(" ")
    if words[1] in ("train", "list"):
        line = " ".join([*words[:2], "--config-path", str(conf), *words[2:]])
    assert bash_completes(line, toolkit_on_path) == offers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "toolkit completion" in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True, timeout=20)


def test_completion_is_quick(toolkit_on_path: str) -> None:
    # The processor's time of two starts of Python: how long others keep it busy does not count.
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    bash_completes("toolkit list wh", toolkit_on_path)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 3.0
