"""`python -m tevit.benchmarks.gpu`: its jobs, what becomes of those that fail or take too long, and its result."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tevit.video.test_torchcodec import use_fake
from tevit.benchmarks import gpu
from tevit.benchmarks.gpu import AIMS, FULL, JOBS, SMALL, Job, Outcome, rows_of, run_job, run_jobs, table
from tevit.benchmarks.record import spread

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]
WRITE = """\
import json, sys, time
def write(row, **entry):
    with open({lines!r}, "a") as file:
        file.write(json.dumps({{"row": row, **entry}}) + "\\n")
"""
FIGURES = {"frames/s": spread([2000.0])}


def jobs_of(programs: dict[Job, str], tmp_path: Path, seconds: float = 60) -> tuple[Outcome, list[str]]:
    """Run jobs whose processes are small programs; `write` writes a row. Returns also what was said."""
    said: list[str] = []

    def command(job: Job, lines: Path) -> list[str]:
        return [sys.executable, "-S", "-c", WRITE.format(lines=str(lines)) + programs[job]]

    return run_jobs(list(programs), FULL, command, time.monotonic(), seconds, said.append), said


def model(dtype: str, seconds: float = 1, compiled: bool = False) -> Job:
    return Job("model", dtype, compiled, seconds)


def test_rows_that_fail_have_a_sentence_and_the_others_go_on(tmp_path):
    one, two, three = model("float32"), model("bfloat16"), Job("training", "bfloat16", False, 1)
    five, sixteen, thirty_six = rows_of(one, FULL)
    outcome, said = jobs_of(
        {
            one: f"write({five!r}, figures={FIGURES}); write({sixteen!r}, error='out of memory'); "
            "print('a log'); sys.exit('illegal access')",
            two: "import os; os.kill(os.getpid(), 11)",
            three: f"write({rows_of(three, FULL)[0]!r}, figures={{'steps/s': {spread([1.0])}}})",
        },
        tmp_path,
    )
    assert outcome.figures == {five: FIGURES, rows_of(three, FULL)[0]: {"steps/s": spread([1.0])}}
    assert outcome.missing[sixteen] == "out of memory"
    assert outcome.missing[thirty_six] == "its process ended with exit code 1: illegal access"
    assert {outcome.missing[row] for row in rows_of(two, FULL)} == {
        "its process ended with exit code -11: it wrote nothing"
    }
    assert sum("not measured" in text for text in said) == 5


def test_a_job_is_stopped_at_the_deadline_and_one_that_does_not_fit_is_not_started(tmp_path):
    one, two = model("bfloat16"), model("bfloat16", 500, compiled=True)
    five, *others = rows_of(one, FULL)
    child = tmp_path / "child"
    start = f"import os; open({str(child)!r}, 'w').write(str(os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '100')))"
    begun = time.monotonic()
    programs = {one: f"{start}; write({five!r}, figures={FIGURES}); time.sleep(100)", two: ""}
    outcome, _ = jobs_of(programs, tmp_path, seconds=10)
    assert time.monotonic() - begun < 60
    assert list(outcome.figures) == [five], "what was measured before counts"
    assert {outcome.missing[row] for row in others} == {"stopped after the 10 s that all rows together have"}
    assert all(outcome.missing[row].endswith("it takes about 500") for row in rows_of(two, FULL))
    end = time.monotonic() + 20  # it gets its signal when it is next given a processor
    while is_running(int(child.read_text())):
        assert time.monotonic() < end, "processes that it started are stopped, too"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Not ended; a process that was killed but not waited for has ended."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_aims_are_compared_with_the_best_row():
    rows = {name: {aim.figure: spread([value])} for aim in AIMS for name, value in
            ((f"{aim.rows[0]}, {aim.rows[1]}", aim.at_least / 2), (f"{aim.rows[0]}, {aim.rows[1]}, b", aim.at_least),
             (f"{aim.rows[0]}, float32", 9 * aim.at_least))}  # fmt: skip
    assert [aim["measured"] for aim in gpu.aims_of(rows)] == [1500, 300, 0.85]
    assert [aim["measured"] for aim in gpu.aims_of({})] == [None, None, None]


def test_the_docs_have_a_row_for_every_row_of_the_program():
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    for row in (row for job in JOBS for row in rows_of(job, FULL)):
        assert f"| {row} | " in text, row
    measured = Outcome({row: FIGURES for row in rows_of(JOBS[0], FULL)})
    assert f"| {rows_of(JOBS[0], FULL)[0]} | 2000 frames/s |" in table(FULL, measured)
    assert table(FULL, Outcome()).count("not measured") == sum(len(rows_of(job, FULL)) for job in JOBS)
    assert sum(job.seconds for job in JOBS) < 60 * gpu.MINUTES


def run(job: Job, tmp_path: Path, plan: gpu.Plan = SMALL) -> dict[str, dict]:
    """The lines of a job on the CPU, by row."""
    run_job(job, plan, CPU, tmp_path / "lines.jsonl")
    lines = map(json.loads, (tmp_path / "lines.jsonl").read_text().splitlines())
    return {line["row"]: line for line in lines}


def test_a_model_and_a_video_are_measured(tmp_path, monkeypatch):
    use_fake(monkeypatch)
    lines = run(Job("model", "float32", False, 1), tmp_path, replace(SMALL, clips=(2,)))
    figures = lines["model alone, 2 frames, float32"]["figures"]
    assert list(figures) == ["frames/s", "first pass, s", "peak memory, MB"]
    assert all(value["median"] > 0 for value in figures.values())
    lines = run(Job("video", "float32", False, 1), tmp_path)
    for decoder in ("pyav", "torchcodec"):
        figures = lines[f"file to results.json, 96x64, float32, {decoder}"]["figures"]
        assert 0 < figures["end to end, frames/s"]["median"] < figures["decode, frames/s"]["median"]


def test_an_error_costs_one_row(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    lines = run(Job("video", "float32", False, 1), tmp_path)
    assert "figures" in lines["file to results.json, 96x64, float32, pyav"]
    assert "it needs the package torchcodec" in lines["file to results.json, 96x64, float32, torchcodec"]["error"]


def test_a_model_that_was_not_compiled_is_not_measured_as_one_that_was(tmp_path, monkeypatch):
    monkeypatch.setattr("tevit.inference.predictor.Predictor.warnings", ("compiling failed (x)",))
    lines = run(Job("model", "float32", False, 1), tmp_path, replace(SMALL, clips=(2,)))
    assert lines["model alone, 2 frames, float32"]["error"] == "compiling failed (x)"


def test_training_is_measured_in_a_process_of_its_own(tmp_path, monkeypatch):
    result = {"seconds a step": 0.5, "clips a second": 4, "waiting for data": "1.0 %", "peak memory, GB": 2}
    commands = []

    def done(command: list[str], **options: object) -> object:
        commands.append(command)
        Path(command[command.index("--json") + 1]).write_text(json.dumps(result))
        return type("Done", (), {"returncode": 0, "stderr": ""})

    job = Job("training", "bfloat16", False, 1)
    with monkeypatch.context() as patch:
        patch.setattr(gpu.subprocess, "run", done)
        (line,) = run(job, tmp_path).values()
    assert line["figures"]["steps/s"]["median"] == 2 and line["figures"]["peak memory, MB"]["median"] == 2000
    assert commands[0][1:4] == ["-m", "train.benchmark", "demo"] and "bfloat16" in commands[0]

    def failed(command: list[str], **options: object) -> object:
        return type("Done", (), {"returncode": 2, "stderr": "a warning\ntrain.benchmark: no memory\n"})

    monkeypatch.setattr(gpu.subprocess, "run", failed)
    (tmp_path / "lines.jsonl").unlink()
    (line,) = run(job, tmp_path).values()
    assert line["error"] == "train.benchmark: no memory"


@pytest.mark.parametrize("plan", [FULL, SMALL])
def test_the_arguments_of_training_parse(plan):
    from train.benchmark import parser
    from train.recipes import override, recipe_named

    args = parser().parse_args([*plan.training, "--data", "x"])
    recipe = override(recipe_named(args.recipe), args)
    assert plan.batch == f"{recipe.slots * recipe.clips_per_slot} clips of {recipe.frames} frames"
    assert recipe.precision == "bfloat16"


def test_the_result_has_figures_aims_and_reasons(tmp_path, monkeypatch, capsys):
    def jobs(jobs, plan, command, begun, seconds, say):
        assert not any(job.compiled for job in jobs) and plan == SMALL and seconds == 120
        words = command(jobs[0], tmp_path / "x")
        assert words[1:3] == ["-m", "tevit.benchmarks.gpu"] and jobs[0].name in words
        row, other = rows_of(jobs[0], plan)
        return Outcome({row: FIGURES}, {other: "out of memory"})

    monkeypatch.setattr(gpu, "run_jobs", jobs)
    assert gpu.main(["--device", "cpu", "--minutes", "2", "--out", str(tmp_path / "gpu.json")]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["figures"] == {"model alone, 2 frames, bfloat16: frames/s": FIGURES["frames/s"]}
    assert result["not measured"] == {"model alone, 3 frames, bfloat16": "out of memory"}
    assert result["aims"][0] == {"aim": "model alone in bfloat16, frames/s", "at least": 1500, "measured": 2000}
    assert result["benchmark"] == "gpu" and result["command"].startswith("python -m tevit.benchmarks.gpu --device cpu")
    assert "| model alone, 2 frames, bfloat16 | 2000 frames/s |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0", "--device", "cpu"], "--minutes: expected more than 0, got 0"),
        (["--device", "abacus"], "device: expected auto, cpu, cuda or mps, got 'abacus'"),
        pytest.param([], "device 'cuda': this machine has none that PyTorch can use",
                     marks=pytest.mark.skipif(torch.cuda.is_available(), reason="the device exists here")),
    ],
)  # fmt: skip
def test_wrong_input_is_one_sentence(arguments, words, capsys):
    assert gpu.main(arguments) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
