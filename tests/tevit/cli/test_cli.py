"""The command line end to end: files, output, errors, interruption."""

import json
import os
import signal
import subprocess
import sys
import zipfile

import av
import numpy as np
import pytest
import torch

from tests import oracle
from tests.fakes import squares, write_frames
from tevit import checkpoint
from tevit.checkpoint import to_original
from tevit.cli.main import main
from tevit.io.ytvis import read_results
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.video import overlay as render


def path(t):
    return 5 + t, 10


@pytest.fixture(scope="session")
def weights(tiny_model, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save_model(file, tiny_model)
    return str(file)


@pytest.fixture
def clip(tmp_path):
    return write_frames(tmp_path / "clip", squares(5, (64, 96), (path, path, path)))


def sentence(capsys) -> str:
    """What the user reads on standard error: exactly one line."""
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tevit: ") and err.count("\n") == 1, err
    return err


def test_predict_writes_results_overlay_and_table(weights, clip, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", str(clip), "--checkpoint", weights, "--out", str(out), "--max-tracks", "4"]) == 0
    assert sorted(item.name for item in (out / "clip").iterdir()) == ["overlay.mp4", "results.json", "tracks.csv"]
    results = json.loads((out / "clip" / "results.json").read_text())
    assert len(results) == 4
    for entry in results:
        assert entry.keys() == {"video_id", "score", "category_id", "segmentations"} and entry["video_id"] == 1
        assert len(entry["segmentations"]) == 5
        assert all(mask["size"] == [64, 96] and isinstance(mask["counts"], str) for mask in entry["segmentations"])
    with av.open(str(out / "clip" / "overlay.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.frames) == ("h264", "yuv420p", 5)
    rows = (out / "clip" / "tracks.csv").read_text().splitlines()
    assert rows[0].startswith("video,track,category_id") and len(rows) > 1
    assert "4 tracks in 5 frames" in capsys.readouterr().out


def test_same_stem_gets_a_number_and_json_tells_everything(weights, clip, tmp_path, capsys):
    other = write_frames(tmp_path / "other" / "clip", squares(3, (64, 96), (path, path, path)))
    argv = ["predict", str(clip), str(other), "--checkpoint", weights, "--out", str(tmp_path / "out"), "--json"]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert [video["out"] for video in report["videos"]] == [str(tmp_path / "out" / name) for name in ("clip", "clip-2")]
    assert [video["frames"] for video in report["videos"]] == [5, 3] and report["failed"] == []


def test_a_batch_goes_on_past_a_bad_video_and_ends_non_zero(weights, clip, tmp_path, capsys):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    argv = ["predict", str(bad), str(clip), "--checkpoint", weights, "--out", str(tmp_path / "out")]
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert "bad.mp4: not a readable video" in err and "1 of 2 failed" in out
    assert (tmp_path / "out" / "clip" / "results.json").exists() and not (tmp_path / "out" / "bad").exists()


def test_masks_and_scores_of_results_are_the_predictors(weights, clip, tmp_path):
    from tevit.inference.predictor import load

    main(["predict", str(clip), "--checkpoint", weights, "--out", str(tmp_path / "out"), "--window", "0"])
    expected = load(weights)(clip, window=0).tracks
    results = json.loads((tmp_path / "out" / "clip" / "results.json").read_text())
    for entry, track in zip(results, expected, strict=True):
        assert entry["score"] == pytest.approx(track.score, abs=1e-6) and entry["category_id"] == track.category_id
        for given, rle in zip(entry["segmentations"], track.rles, strict=True):
            assert given["counts"].encode() == (rle or masks.empty((64, 96)))["counts"]


def make_dataset(root, orders):
    """valid.json and frames of tiny videos; orders: for each video the order of its frames in the JSON."""
    videos = []
    for number, order in enumerate(orders, 1):
        write_frames(root / "JPEGImages" / f"v{number}", squares(len(order), (64, 96), (path, path, path)))
        names = [f"v{number}/{index:05d}.png" for index in order]
        videos.append({"id": number, "width": 96, "height": 64, "length": len(order), "file_names": names})
    categories = [{"id": 1, "name": "person"}]
    (root / "valid.json").write_text(json.dumps({"videos": videos, "categories": categories, "annotations": None}))
    return ["--dataset", str(root / "valid.json"), "--frames", str(root / "JPEGImages")]


def test_a_data_set_in_one_pass_each_with_zip(weights, tmp_path, capsys):
    data = make_dataset(tmp_path, [(0, 1, 2), (1, 0, 2, 3)])
    out = tmp_path / "out"
    assert main(["predict", *data, "--checkpoint", weights, "--out", str(out), "--zip"]) == 0
    err = capsys.readouterr().err
    assert "video 2" in err and "order" in err and "video 1" not in err
    results = json.loads((out / "results.json").read_text())
    assert [entry["video_id"] for entry in results] == [1] * 10 + [2] * 10
    assert len(results[0]["segmentations"]) == 3 and len(results[10]["segmentations"]) == 4
    with zipfile.ZipFile(out / "submission.zip") as archive:
        assert archive.namelist() == ["results.json"]
        assert archive.read("results.json") == (out / "results.json").read_bytes()
    assert len(read_results(out / "submission.zip").predictions) == 20


def test_a_data_set_with_a_missing_frame_goes_on(weights, tmp_path, capsys):
    data = make_dataset(tmp_path, [(0, 1), (0, 1)])
    (tmp_path / "JPEGImages" / "v1" / "00001.png").unlink()
    assert main(["predict", *data, "--checkpoint", weights, "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert "00001.png" in err and "1 of 2" in out
    assert {entry["video_id"] for entry in json.loads((tmp_path / "out" / "results.json").read_text())} == {2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.mp4"], "nothing.mp4: no such file or folder"),
        ([], "expected either sources or --dataset, got neither"),
        (["a.mp4", "--zip"], "--frames and --zip go with --dataset"),
        (["--dataset", "valid.json"], "--dataset needs --frames"),
        (["clip", "--window", "1"], "window: expected 0 (the whole video) or at least 2 frames, got 1"),
        (["clip", "--size", "10x20"], "got 10x20"),
        (["clip", "--max-tracks", "0"], "max_tracks: expected at least 1, got 0"),
        (["clip", "--score-threshold", "7"], "score_threshold: expected a probability from 0 to 1, got 7.0"),
        (
            ["-", "--stream", "--decoder", "torchcodec"],
            "--decoder goes with video files, not with --dataset or standard",
        ),
        (["clip", "--device", "gpu"], "device: expected auto, cpu, cuda or mps, got 'gpu'"),
        (["clip", "--model", "tevit_r5"], "did you mean 'tevit_r50'"),
        (["clip", "--model", "tevit_r50"], "expected tevit_r50, got the architecture of tiny"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(arguments, words, weights, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *arguments, "--checkpoint", weights, "--out", "out"]) == 2
    assert words in sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_wrong_checkpoints_are_one_sentence(clip, tmp_path, capsys):
    (tmp_path / "bad.pth").write_text("hello")
    for name, words in {"none.pth": "no such checkpoint", "bad.pth": "not a PyTorch checkpoint"}.items():
        assert main(["predict", str(clip), "--checkpoint", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert words in sentence(capsys)


def test_models_lists_figures_and_places(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEVIT_HOME", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "tevit_r50.pth").write_bytes(b"x")
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["tevit_swin_l_mst"]["AP"] == 56.8 and not rows["tevit_swin_l_mst"]["present"]
    assert rows["tevit_r50"]["present"] and rows["tevit_r50"]["weights"].startswith(str(tmp_path))
    start = rows["queryinst_pvtv2b1_coco"]
    assert start["kind"] == "start file" and not start["present"] and start["url"].endswith("_3x_coco.pth")
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "tevit_msgshift_mst" in printed and "queryinst_pvtv2b1_coco, a start file for training" in printed
    monkeypatch.setenv("TEVIT_MODELS", "mine=my_package.model:create")
    assert main(["models", "--json"]) == 0
    others = {row["name"]: row for row in json.loads(capsys.readouterr().out) if row["kind"] == "other model"}
    assert others["motion"]["weights"] == "none" and "bring_your_model.md" in others["videomt"]["card"]
    assert others["mine"]["target"] == "my_package.model:create" and others["mine"]["origin"] == "from TEVIT_MODELS"
    assert main(["models"]) == 0
    assert "from TEVIT_MODELS: my_package.model:create" in capsys.readouterr().out
    assert main(["models", "--get", "tevit_r51"]) == 2


def test_convert_there_and_back(tiny_model, weights, tmp_path, capsys):
    lean = tmp_path / "lean.safetensors"
    assert main(["convert", weights, str(lean), "--inference", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "tiny" and report["dropped"] > 0 and lean.exists()
    assert main(["convert", weights, str(tmp_path / "back.pth")]) == 0
    state = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    expected = to_original(dict(tiny_model.state_dict()), "pvt_v2")
    assert state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in expected)
    assert "tiny, 40 classes" in capsys.readouterr().out
    assert main(["convert", str(lean), str(tmp_path / "no.pth")]) == 2
    assert main(["convert", weights, str(tmp_path / "no.txt")]) == 2
    assert main(["convert", weights, str(tmp_path / "no.pth"), "--inference"]) == 2
    assert not (tmp_path / "no.pth").exists() and not (tmp_path / "no.txt").exists()


def run(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "tevit", *arguments], text=True, **options)


def test_help_imports_nothing_heavy():
    code = "import sys; from tevit.cli.main import parser; parser(); print([m for m in ('torch', 'cv2', 'av', 'scipy', "
    code += "'plotly', 'timm', 'torchvision', 'gradio') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_reader_that_has_enough_is_no_error():
    """`tevit … | head -1`"""
    process = run("models", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() in (0, 141)


def test_interrupt_leaves_no_half_written_file(weights, clip, tmp_path, monkeypatch, capsys):
    """Ctrl-C while the overlay is being written: no overlay, nothing temporary, code 130, no traceback."""
    out, drawn = tmp_path / "out", render.overlay

    def interrupted(frame_rgb, result, index, **look):
        if index == 3:
            assert list(out.glob("*/.*")), "it is being written"
            signal.raise_signal(signal.SIGINT)
        return drawn(frame_rgb, result, index, **look)

    monkeypatch.setattr(render, "overlay", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["predict", str(clip), "--checkpoint", weights, "--out", str(out)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    error = capsys.readouterr().err
    assert "Traceback" not in error and "stopped" in error
    assert not list(out.glob("*/.*")) and not list(out.glob("*/*.part*")) and not list(out.glob("*/overlay*"))
    for file in out.glob("*/*.json"):
        json.loads(file.read_text())


def test_the_originals_checkpoint_gives_the_originals_results(tmp_path):
    """A folder of PNG frames and a checkpoint in the original's form: the recorded results.json of the original."""
    golden = np.load(oracle.GOLDENS / "model_msgshift_odd.npz")
    meta = json.loads(str(golden["meta"]))
    video = oracle.make_video(meta["seed"], meta["T"], meta["H"], meta["W"])
    clip = write_frames(tmp_path / "clip", video)
    state = {key: torch.from_numpy(value) for key, value in oracle.state_arrays(oracle.manifest("msgshift")).items()}
    torch.save({"meta": {"epoch": 1}, "state_dict": state, "optimizer": {}}, tmp_path / "original.pth")
    del state
    argv = ["predict", str(clip), "--checkpoint", str(tmp_path / "original.pth"), "--model", "tevit_msgshift"]
    assert main([*argv, "--out", str(tmp_path / "out"), "--size", "180x320"]) == 0
    os.unlink(tmp_path / "original.pth")
    results = json.loads((tmp_path / "out" / "clip" / "results.json").read_text())
    assert [entry["category_id"] - 1 for entry in results] == golden["det_labels"][0].tolist()
    np.testing.assert_allclose([entry["score"] for entry in results], golden["det_bboxes"][0, :, 4], atol=2e-5)
    shape = golden["masks_shape"]
    expected = np.unpackbits(golden["masks_packed"])[: np.prod(shape)].reshape(shape)  # (T, 10, H, W)
    ours = [
        [
            masks.decode(segmentations.from_json(mask, mask["size"]) or masks.empty(mask["size"]))
            for mask in entry["segmentations"]
        ]
        for entry in results
    ]
    assert (np.array(ours).swapaxes(0, 1) != expected).sum() <= 1e-4 * expected.sum() + 5
