"""tevit evaluate, tevit errors and tevit benchmark as people and programs use them."""

import csv
import json
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.tevit.evaluation import sets
from tevit.cli import main as cli

ROOT = Path(__file__).parents[3]
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


@pytest.fixture
def small(tmp_path) -> tuple[str, str]:
    return written(tmp_path, "small")


def written(folder: Path, name: str) -> tuple[str, str]:
    content = sets.recorded("eval_sets")[name]
    gt, results = sets.write(folder, content["gt"], content["results"])
    return str(gt), str(results)


def run(capsys, *arguments: str, code: int = 0) -> tuple[str, str]:
    assert cli.main([*arguments]) == code
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_json_is_one_object_with_the_official_figures(small, capsys):
    output = json.loads(run(capsys, "evaluate", *small, "--json")[0])
    assert list(output) == [*NAMES, "per_class"]
    assert [output[name] for name in NAMES] == pytest.approx(sets.official()["small/stats"].tolist(), abs=1e-12)
    precision, recall = sets.official()["small/precision"], sets.official()["small/recall"]
    assert list(output["per_class"]) == ["2", "5", "9"]
    for k, entry in enumerate(output["per_class"].values()):
        assert list(entry) == ["name", "AP", "AP50", "AP75", "AR1", "AR10"]
        known = precision[0, 0, k, 0, 2] > -1
        assert entry["AP"] == pytest.approx(precision[:, :, k, 0, 2].mean(), abs=1e-12)
        assert entry["AP75"] == pytest.approx(precision[5, :, k, 0, 2].mean(), abs=1e-12)
        assert entry["AR1"] == pytest.approx(recall[:, k, 0, 0].mean(), abs=1e-12)
        assert known or entry["AP"] == -1


def test_json_of_several_results_is_a_list_with_their_files(small, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text("[]")
    output = json.loads(run(capsys, "evaluate", *small, str(other), "--json")[0])
    assert [item["file"] for item in output] == [small[1], str(other)]
    assert output[0]["AP"] > output[1]["AP"] == 0


def test_json_of_parts_on_request(small, capsys):
    output = json.loads(run(capsys, "evaluate", *small, "--json", "--per-size", "--per-length", "--per-video")[0])
    assert output["per_size"]["small"]["AP"] == output["APs"]
    assert sum(part["truths"] for part in output["per_length"].values()) == 14
    assert len(output["per_video"]) == 5


def test_json_of_a_bootstrap(small, capsys):
    first = run(capsys, "evaluate", *small, small[1], "--json", "--bootstrap", "20")[0]
    assert first == run(capsys, "evaluate", *small, small[1], "--json", "--bootstrap", "20")[0]
    output = json.loads(first)
    low, high = output[0]["bootstrap"]["intervals"]["AP"]
    assert 0 <= low < output[0]["AP"] < high
    assert output[1]["bootstrap"]["difference_to_first"]["AP"]["high"] == 0
    assert "difference_to_first" not in output[0]["bootstrap"]


def test_json_with_identity_metrics(small, capsys):
    output = json.loads(run(capsys, "evaluate", *small, "--json", "--metrics", "hota,id", "--per-video")[0])
    added = ["HOTA", "DetA", "AssA", "LocA", "IDF1", "IDP", "IDR", "switches", "fragments"]
    assert list(output) == [*NAMES, *added, "per_class", "identity", "per_video"]
    assert [output[name] for name in NAMES] == pytest.approx(sets.official()["small/stats"].tolist(), abs=1e-12)
    for part in (*output["per_class"].values(), *output["per_video"].values()):
        assert [name for name in part if name in added] == added
    assert type(output["switches"]) is int and 0 < output["HOTA"] < 1
    identity = output["identity"]
    assert identity["best"]["HOTA"] == max(identity["curve"]["HOTA"]) >= output["HOTA"] == identity["curve"]["HOTA"][0]
    least = str(identity["best"]["score_threshold"])
    cut = json.loads(run(capsys, "evaluate", *small, "--json", "--metrics", "hota", "--score-threshold", least)[0])
    assert cut["HOTA"] == pytest.approx(identity["best"]["HOTA"])
    assert "switches" not in cut and cut["AR100"] <= output["AR100"]


def test_tables_with_identity_metrics(small, capsys):
    table = run(capsys, "evaluate", *small, "--metrics", "hota,id", "--per-class", "--per-score")[0]
    assert re.search(r"^HOTA +\d+\.\d  ", table, re.MULTILINE)
    assert re.search(r"^switches +\d+  ", table, re.MULTILINE)
    assert re.search(r"^results.json: HOTA is highest, \d+\.\d, with the predictions of score ", table, re.MULTILINE)
    assert len(re.findall(r" best ", table)) == 1


def test_short_and_long_videos_apart(tmp_path, capsys):
    """As for YouTube-VIS 2022: the long videos are those of more than 36 frames."""
    mask, other = sets.rectangle(8, 9, 1, 1, 4, 4), sets.rectangle(8, 9, 5, 4, 4, 4)
    tracks = [sets.annotation(id, id, 1, [mask] * length) for id, length in ((1, 36), (2, 37))]
    results = [sets.prediction(1, 1, 0.9, [mask] * 36), sets.prediction(2, 1, 0.8, [other] * 37)]
    files = sets.write(tmp_path, sets.data_set({1: 36, 2: 37}, [1], tracks, (8, 9)), results)
    printed = run(capsys, "evaluate", *map(str, files), "--per-video-length", "--json")[0]
    parts = json.loads(printed)["per_video_length"]
    assert {name: (part["truths"], part["AP"]) for name, part in parts.items()} == {
        "short": (1, pytest.approx(1)),
        "long": (1, 0),
    }
    table = run(capsys, "evaluate", *map(str, files), "--per-video-length")[0]
    assert re.search(r"^short +1 +100.0", table, re.MULTILINE) and re.search(r"^long +1 +0.0", table, re.MULTILINE)


def test_wrong_metrics_are_said(small, capsys):
    assert "expected names of ap, hota, id, got mota" in run(capsys, "evaluate", *small, "--metrics", "mota", code=2)[1]
    assert "--per-score: expected --metrics" in run(capsys, "evaluate", *small, "--per-score", code=2)[1]


def test_the_table_without_ground_truth_has_words(tmp_path, capsys):
    table = run(capsys, "evaluate", *written(tmp_path, "no_annotations"))[0]
    assert table.count("no ground truth") == 12
    assert not re.search(r"\s-\d", table)
    assert (
        json.loads(run(capsys, "evaluate", str(tmp_path / "gt.json"), str(tmp_path / "results.json"), "--json")[0])[
            "AP"
        ]
        == -1
    )


def test_tables(small, capsys):
    table = run(
        capsys, "evaluate", *small, "--per-class", "--per-size", "--per-length", "--per-video", "--bootstrap", "20"
    )[0]
    assert re.search(r"AP50 +31\.4  \[\d+\.\d, \d+\.\d\]", table)
    assert "5 videos, 3 classes, 14 tracks and 2 crowds" in table
    for row in ("2 cat2", "up to 16 frames", "medium", "v0010"):
        assert row in table
    assert all(len(line) <= 120 for line in table.splitlines()[1:])


def test_two_models_side_by_side(small, tmp_path, capsys):
    other = tmp_path / "other" / "results.json"
    other.parent.mkdir()
    other.write_text(Path(small[1]).read_text())
    table = run(capsys, "evaluate", *small, str(other), "--bootstrap", "20")[0]
    assert "other/results.json" in table
    assert "+0.0  [+0.0, +0.0]  undecided" in table


def test_a_submission_zip(small, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "sub.zip", "w") as archive:
        archive.write(small[1], "results.json")
    plain, zipped = (
        run(capsys, "evaluate", small[0], path, "--json")[0] for path in (small[1], str(tmp_path / "sub.zip"))
    )
    assert plain == zipped


def change(path: str, edit) -> None:
    content = json.loads(Path(path).read_text())
    edit(content)
    Path(path).write_text(json.dumps(content))


def test_results_for_other_videos_are_refused_with_their_ids(small, capsys):
    change(small[1], lambda results: [item.update(video_id=77) for item in results[:3]])
    out, error = run(capsys, "evaluate", *small, code=2)
    assert "1 videos that the ground truth does not have (ids 77)" in error
    assert not out


def test_an_unlisted_category_is_left_out_with_a_warning(small, capsys):
    before = run(capsys, "evaluate", *small, "--json")[0]
    change(small[1], lambda results: results.append(dict(results[0], category_id=99)))
    out, error = run(capsys, "evaluate", *small, "--json")
    assert out == before
    assert "1 predictions left out" in error
    assert "(ids 99)" in error


def test_other_sizes_and_lengths_are_warnings(tmp_path, capsys):
    assert "another size" in run(capsys, "evaluate", *written(tmp_path, "mask_size_mismatch"))[1]
    assert "more or fewer frames" in run(capsys, "evaluate", *written(tmp_path, "sequence_length"))[1]


def test_no_predictions_are_a_warning_and_score_nothing(tmp_path, capsys):
    out, error = run(capsys, "evaluate", *written(tmp_path, "no_predictions"))
    assert "no prediction at all" in error
    assert re.search(r"AP +0\.0 ", out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("[{]", "line 1, column 3"),
        ('[\n {"video_id": 1,', "line 2"),
        ('{"annotations": []}', "expected"),
        ('[{"video_id": 1, "category_id": 2, "score": NaN, "segmentations": []}]', "NaN"),
        ('[{"video_id": 1, "category_id": 2, "segmentations": []}]', "score"),
    ],
)
def test_results_that_cannot_be_read(small, capsys, text, message):
    Path(small[1]).write_text(text)
    error = run(capsys, "evaluate", *small, code=2)[1]
    assert message in error
    assert "results.json" in error


def test_bad_run_lengths_are_refused_with_their_place(small, capsys):
    def spoil(results: list) -> None:
        where = next(t for t, mask in enumerate(results[4]["segmentations"]) if mask)
        results[4]["segmentations"][where]["counts"] = "0"

    change(small[1], spoil)
    error = run(capsys, "evaluate", *small, code=2)[1]
    assert re.search(
        r"results\.json: prediction 5 \(video \d+\), frame \d: the run lengths sum to 0, expected \d+ pixels", error
    )


def test_a_missing_file(small, capsys):
    assert "nowhere.json" in run(capsys, "evaluate", small[0], "nowhere.json", code=2)[1]


def test_errors_writes_all_three_files(small, tmp_path, capsys):
    out = run(capsys, "errors", *small, "--out", str(tmp_path / "report"))[0]
    content = json.loads((tmp_path / "report" / "errors.json").read_text())
    assert content["figures"]["AP50"] == pytest.approx(content["ap"], abs=1e-12)
    assert content["mended"] == pytest.approx(1, abs=1e-9)
    assert len(content["records"]) == 110 + 16
    assert re.search(rf"both +4 +\+{100 * content['dap']['both']:.1f}", out)
    with (tmp_path / "report" / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["records"])
    assert [row["type"] for row in rows] == [record["type"] for record in content["records"]]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "[[" not in page.split("<script>")[0]
    assert not re.search(r'(?:src|href)="?(?:https?:)?//', page.split("<script>")[0])


def test_errors_as_json(small, capsys):
    output = json.loads(run(capsys, "errors", *small, "--json", "--positive", "0.75")[0])
    assert output["limits"]["positive"] == 0.75
    assert output["ap"] == pytest.approx(output["figures"]["AP75"], abs=1e-12)
    assert output["gaps"]["all"]["ap"] == pytest.approx(output["figures"]["AP"], abs=1e-12)


def test_names_cannot_break_out_of_the_report(small, tmp_path, capsys):
    name = "</script><script>alert(1)</script>"
    change(small[0], lambda gt: [item.update(name=name) for item in gt["categories"]])
    run(capsys, "errors", *small, "--out", str(tmp_path / "report"))
    assert name not in (tmp_path / "report" / "report.html").read_text()


def test_the_way_to_the_figures_imports_nothing_heavy(small):
    program = (
        "import sys; from tevit.cli import main as cli; cli.main(['evaluate', *sys.argv[1:]]);"
        "heavy = {'torch', 'torchvision', 'timm', 'plotly', 'cv2', 'av', 'scipy', 'tqdm'} & sys.modules.keys();"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program, *small], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def test_evaluate_as_json_imports_no_more_than_it_needs(small):
    program = (
        "import sys; from tevit.cli import main as cli; cli.main();"
        "slow = {'multiprocessing', 'concurrent'};"
        "sys.exit(str(slow & sys.modules.keys()) if slow & sys.modules.keys() else 0)"
    )
    command = [sys.executable, "-c", program, "evaluate", *small, "--json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def test_the_example_runs(small):
    command = [sys.executable, str(ROOT / "examples" / "evaluate.py"), *small]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert "AP50   0.3141" in output
    assert "error type of highest ΔAP: both" in output


def test_the_benchmark_measures_all_programs(tmp_path):
    # In a process of its own: a child's peak memory is never below what its parent had when it forked.
    command = [sys.executable, "-m", "tevit", "benchmark", "evaluate", "--videos", "2", "--rounds", "1"]
    command += ["--out", str(tmp_path / "b.json")]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    best = json.loads((tmp_path / "b.json").read_text())["best"]
    names = ["tevit evaluate", "… --metrics hota,id", "tevit errors --out", "json.load of both files"]
    names += ["joining masks and hotcoco", "hotcoco, masks joined"] if find_spec("hotcoco") else []
    assert list(best) == names
    for name in names:
        assert name in out
        assert 0 < best[name]["seconds"] < 60
        assert 5 < best[name]["megabytes"] < 300


def in_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.argv[1:] = {list(arguments)!r}; from tevit.cli.main import console, main; {code}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_the_console_script_ends_with_the_whole_output_and_the_code(small, capsys):
    ended = in_process("console()", "evaluate", *small, "--json", "--per-video")
    assert (ended.stdout, ended.returncode) == (run(capsys, "evaluate", *small, "--json", "--per-video")[0], 0)
    ended = in_process("console()", "evaluate", small[0], "missing.json")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "tevit: missing.json: no such file or folder\n", 2)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_evaluate_has_one_thread(small):
    ended = in_process("main(); import os; print(*os.listdir('/proc/self/task'))", "evaluate", *small, "--json")
    assert len(ended.stdout.splitlines()[-1].split()) == 1
