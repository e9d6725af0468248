"""The benchmark of findings runs, says what it measured and whether that is what was promised."""

import json
import subprocess
from types import SimpleNamespace

from app.benchmark import GOALS, main
from tests.processes import run_python


def test_it_measures_every_goal(tmp_path, capsys, monkeypatch):
    """Its processes are forks, which need not import the large packages."""

    def run(command: list[str], env: dict[str, str], stdout: int, check: bool) -> subprocess.CompletedProcess[str]:
        done = run_python(*command[1:], folder=tmp_path, variables=env)
        assert check and done.returncode == 0, done.stderr
        return done

    monkeypatch.setattr("app.benchmark.subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE))
    code = main(["findings", "--videos", "2", "--out", str(tmp_path / "out.json")])
    result = json.loads((tmp_path / "out.json").read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert set(result["measured"]) == set(result["goals"]) == set(GOALS)
    assert result["tracks"] == 20 and all(value > 0 for value in result["measured"].values())
    assert code == int(not all(result["met"].values()))


def test_a_video_that_browsers_play_costs_a_small_share_of_a_run(capsys):
    assert main(["player", "--frames", "8"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert 0 < measured["as_it_is_share"] < measured["copy_share"] < 1
