"""`python -m train.benchmark`: it trains, measures and leaves nothing but its result."""

import json
import tempfile

from tevit.synthetic import dataset as shapes
from train.benchmark import main
from train.recipes import DEMO_RECIPE

SMALL = ("--scales", "96x64", "--frames", "2", "--slots", "2", "--clips-per-slot", "1", "--workers", "0")


def test_it_measures_the_real_loop(tmp_path, capsys, monkeypatch):
    shapes.write(tmp_path / "data", 2, 5, "train")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    by_onednn = []
    monkeypatch.setattr("train.setup.is_faster", lambda: True)
    monkeypatch.setattr("train.setup.use_onednn", by_onednn.append)
    argv = ["demo", "--data", str(tmp_path / "data"), *SMALL, "--steps", "2", "--device", "cpu"]
    assert main([*argv, "--json", str(tmp_path / "result.json")]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert len(by_onednn) == 1  # the model
    assert result["batch"] == "2 clips of 2 frames" and result["steps"] == 2
    assert 0 < result["clips a second"] < result["clips a second, data alone"]
    assert 0 < result["seconds a step"] < 60 and 0.05 < result["peak memory, GB"] < 20
    phases = [float(result[f"{name}, seconds"].split()[0]) for name in ("forward", "backward", "optimiser")]
    assert min(phases) > 0 and 0.5 < sum(phases) / result["seconds a step"] < 1.5
    assert 0 <= float(result["waiting for data"].removesuffix(" %")) <= 100
    assert "clips a second" in capsys.readouterr().out
    assert not list(tmp_path.glob("train-benchmark-*"))


def test_wrong_input_is_one_sentence(tmp_path, capsys):
    assert main([DEMO_RECIPE.name, "--data", str(tmp_path), "--steps", "0"]) == 2
    assert capsys.readouterr().err == "train.benchmark: --steps: expected at least 1, got 0\n"
    assert main(["demmo", "--data", str(tmp_path)]) == 2
    assert "demo" in capsys.readouterr().err
