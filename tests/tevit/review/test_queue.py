"""The queue ranks planted label errors first; the command line applies decisions."""

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import annotations as make
from tevit.cli.main import main
from tevit.evaluation.api import evaluate
from tevit.io.validate import validate
from tevit.io.ytvis import Dataset, Results, open_dataset, read_results, write_results
from tevit.masks import ops as masks
from tevit.results import Track
from tevit.review import Decision, apply, content_hash, correct, decide, read_log, write_log
from tevit.review import decisions as do
from tevit.review.decisions import PredictionRef, to_mask
from tevit.review.queue import ReviewItem, all_labels, likely_answers, review_queue
from tevit.synthetic import dataset as shapes

SHAPES = Path(__file__).parents[3] / "assets" / "shapes"
LABELS, RESULTS = SHAPES / "valid_with_errors.json", SHAPES / "predictions" / "tevit_demo.json"


def reference(path: Path, place: int) -> PredictionRef:
    return PredictionRef(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), place)


def truth(clean: Dataset, error: dict[str, Any], place: int = 0) -> Track:
    tracks = clean.video(error["video_id"]).tracks
    return next(track for track in tracks if track.id == error["track_ids"][place])


def is_about(item: ReviewItem, error: dict[str, Any], clean: Dataset, results: Results) -> bool:
    """Whether an item names a label of a planted error, or shows the object that lost its label."""
    if item.video_id != error["video_id"]:
        return False
    if error["kind"] != "missing":
        return bool({*item.annotation_ids} & {*error["track_ids"]})
    if item.annotation_ids or item.prediction is None:
        return False
    tracks = results.video(clean.videos[item.video_id], clean.categories).tracks
    predicted = next(track for track in tracks if track.id == item.prediction)
    return masks.track_iou(predicted.rles, truth(clean, error).rles) >= 0.4


def errors_in_queue(folder: Path, labels: Path, predictions: Path, first: int = 30) -> int:
    clean, results = open_dataset(folder / "valid.json"), read_results(predictions)
    errors = json.loads((folder / "label_errors.json").read_text())
    items = review_queue(labels, predictions)[:first]
    return sum(any(is_about(item, error, clean, results) for item in items) for error in errors)


def test_of_twelve_planted_errors_eleven_are_among_the_first_thirty():
    assert errors_in_queue(SHAPES, LABELS, RESULTS) >= 11


@pytest.mark.parametrize("seed", [31, 32])
def test_other_data_and_another_model(tmp_path, seed):
    """The predictions are disturbed labels."""
    shapes.write(tmp_path, 12, seed, "valid", 8)
    rng = np.random.default_rng(seed)
    clean = open_dataset(tmp_path / "valid.json")
    videos = [replace(v, tracks=tuple(disturbed(rng, t) for t in v.tracks)) for v in clean.results()]
    write_results(tmp_path / "results.json", videos)
    assert errors_in_queue(tmp_path, tmp_path / "valid_with_errors.json", tmp_path / "results.json") >= 7


def disturbed(rng: np.random.Generator, track: Track) -> Track:
    """Moved by a few pixels in every frame, removed in some, with a score."""

    def moved_rle(rle: Any) -> Any:
        if rle is None or rng.random() < 0.05:
            return None
        moved = np.roll(masks.decode(rle), rng.integers(-2, 3, 2), (0, 1))
        return masks.encode(moved)

    return replace(track, score=float(rng.uniform(0.3, 0.8)), rles=tuple(map(moved_rle, track.rles)))


def test_items_are_unique_and_in_order():
    items = review_queue(LABELS, RESULTS)
    assert [item.priority for item in items] == sorted((item.priority for item in items), reverse=True)
    labels = [(item.video_id, item.annotation_ids) for item in items if item.annotation_ids]
    assert len(set(labels)) == len(labels)
    dataset = open_dataset(LABELS)
    for item in items:
        assert 0 <= item.priority <= 1 and 0 <= item.frame < dataset.videos[item.video_id].length
        assert item.question[0].isupper() and "{" not in item.question and "\n" not in item.question
        assert item.annotation_ids or item.prediction


def test_no_likely_errors_where_labels_and_predictions_agree(tmp_path):
    clean = open_dataset(SHAPES / "valid.json")
    write_results(tmp_path / "same.json", clean.results())
    unlikely = [item for item in review_queue(clean, tmp_path / "same.json") if item.priority > 0.3]
    assert not unlikely


def test_queue_without_labels_or_without_predictions(tmp_path):
    bare = make.save(tmp_path, "bare.json", make.data_set([make.video(8, 2), make.video(5, 3)], []))
    predictions = make.save(tmp_path, "predictions.json", make.submission())
    items = review_queue(bare, predictions)
    assert [(item.kind, item.prediction) for item in items] == [("missing", 1), ("missing", 3)]  # 2 has no pixel
    gt = make.save(tmp_path, "gt.json", make.sample())
    nothing = make.save(tmp_path, "nothing.json", [])
    assert {item.kind for item in review_queue(gt, nothing)} <= {"unpredicted", "missed", "identity"}


def test_all_labels_lists_every_label_once():
    dataset = open_dataset(LABELS)
    items = all_labels(dataset)
    assert [item.annotation_ids for item in items] == [
        (a.id,) for v in dataset.videos for a in dataset.annotations_of(v)
    ]
    assert items[0].question == "Is label 1 a cross, with the right masks in every frame?"


def test_likely_answers_are_applicable_decisions(tmp_path):
    dataset, results, data = open_dataset(LABELS), read_results(RESULTS), LABELS.read_bytes()
    version = content_hash(data)
    kinds = set()
    for item in {item.kind: item for item in review_queue(dataset, results)}.values():  # of every kind one
        kinds.add(item.kind)
        predicted = reference(RESULTS, item.prediction) if item.prediction else None
        answers = likely_answers(item, dataset, results, predicted)
        assert answers[-1].verdict == "unclear" and len({answer.label for answer in answers}) == len(answers)
        for answer in answers:
            decision = answer.decision(version, "ann", "a note")
            assert decision.prediction == predicted and decision.note == "a note"
            (tmp_path / "c.json").write_bytes(correct(data, [decision]).data)
            assert not validate(tmp_path / "c.json").faults
    assert {"class", "missing", "misplaced", "duplicate", "identity", "unpredicted"} <= kinds


# --- correcting, from the command line


def corrections() -> list[Decision]:
    """Decisions that correct the planted errors."""
    clean, version = open_dataset(SHAPES / "valid.json"), content_hash(LABELS.read_bytes())
    log = []
    for error in json.loads((SHAPES / "label_errors.json").read_text()):
        ids, kind = error["track_ids"], error["kind"]
        track = truth(clean, error)
        correct_masks = tuple(map(to_mask, track.rles))
        action: dict[str, Any] = {
            "class": lambda ids=ids, track=track: do.ChangeClass(ids[0], track.category_id),
            "missing": lambda track=track, new=correct_masks: do.AddTrack(track.category_id, new),
            "duplicate": lambda ids=ids: do.DeleteTrack(ids[1]),
            "shifted": lambda ids=ids, new=correct_masks: do.AcceptMasks(ids[0], 0, new),
            "identity": lambda ids=ids, error=error: do.SwapIdentities(ids[0], ids[1], error["frames"][0]),
        }
        log.append(decide(version, error["video_id"], "label is wrong", action[kind](), "ann", note="<b>seen</b>"))
    return log


def test_corrections_restore_ap(tmp_path, capsys):
    write_log(tmp_path / "log.jsonl", corrections())
    before = LABELS.read_bytes()
    out = tmp_path / "corrected.json"
    assert main(["review", "apply", str(tmp_path / "log.jsonl"), str(LABELS), "--out", str(out)]) == 0
    assert "12 of 12 decisions applied" in capsys.readouterr().out
    assert not validate(out).faults and LABELS.read_bytes() == before
    right, corrected = (evaluate(path, RESULTS).figures for path in (SHAPES / "valid.json", out))
    assert corrected == pytest.approx(right) and evaluate(LABELS, RESULTS).figures["AP"] < right["AP"] - 0.05


def test_the_report_shows_what_changed(tmp_path, capsys):
    log = corrections()
    keep = decide(log[0].dataset, 1, "label is right", do.Keep(), "ann", tracks=[3])
    delete = decide(log[0].dataset, 1, "label is wrong", do.DeleteTrack(3), "ben")
    write_log(tmp_path / "log.jsonl", [*log, keep, delete])
    out = tmp_path / "report"
    arguments = ["review", "report", str(tmp_path / "log.jsonl"), str(LABELS), "--out", str(out)]
    assert main([*arguments, "--frames", str(SHAPES), "--predictions", str(RESULTS), "--json"]) == 1
    output = capsys.readouterr()
    assert "reviewers disagree, the label stays as it was: video 1: ann says" in output.err
    summary = json.loads(output.out)
    before, after = summary["models"]["tevit_demo.json"]["AP"]
    assert summary["applied"] == 12 and summary["changes"] == 14 and after > before + 0.05
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 28 and "<b>seen" not in page and "&lt;b&gt;seen" in page
    assert "http://" not in page and "https://" not in page and "[[" not in page
    rows = list(csv.DictReader((out / "changes.csv").open()))
    assert len(rows) == 14 and {row["change"] for row in rows} == {"added", "deleted", "changed"}
    assert next(row for row in rows if row["annotation_id"] == "68")["class_after"] == "star"


def test_a_report_without_frames_or_changes(tmp_path, capsys):
    write_log(tmp_path / "log.jsonl", corrections()[:1])
    arguments = ["review", "report", str(tmp_path / "log.jsonl"), str(LABELS), "--out", str(tmp_path / "a")]
    assert main([*arguments, "--frames", str(tmp_path / "nowhere")]) == 0
    output = capsys.readouterr()
    assert "none of its frames" in output.err and "1 track differs" in output.out
    write_log(tmp_path / "log.jsonl", [])
    assert main(arguments) == 0
    assert "No label was changed." in (tmp_path / "a" / "report.html").read_text()
    assert (tmp_path / "a" / "corrected.json").read_bytes() == LABELS.read_bytes()


def test_a_log_for_other_labels(tmp_path, capsys):
    log, other = str(tmp_path / "log.jsonl"), str(SHAPES / "valid.json")
    write_log(log, corrections())
    out = tmp_path / "corrected.json"
    assert main(["review", "apply", log, other, "--out", str(out)]) == 2
    assert "12 of 12 decisions were made for another version of the labels" in capsys.readouterr().err
    assert not out.exists()
    assert main(["review", "check", log, other]) == 1
    assert "there is no annotation 100" in (output := capsys.readouterr().out) and "10 fit" in output
    assert main(["review", "check", log, str(LABELS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unfit"] == []
    assert main(["review", "apply", log, other, "--out", str(out), "--only-fitting"]) == 1
    assert "left out: decision" in capsys.readouterr().err and out.exists()


def test_nothing_is_overwritten_and_faults_are_sentences(tmp_path, capsys):
    gt = make.save(tmp_path, "gt.json", make.sample())
    log = tmp_path / "log.jsonl"
    write_log(log, [])
    for target in (gt, log):
        before = target.read_bytes()
        assert main(["review", "apply", str(log), str(gt), "--out", str(target)]) == 2
        assert f"cannot take the place of {target} itself" in capsys.readouterr().err
        assert target.read_bytes() == before
    log.write_text("{}\n")
    assert main(["review", "check", str(log), str(gt)]) == 2
    assert f"{log}, line 1: object missing required field id" in capsys.readouterr().err


def test_the_queue_as_text_and_as_json(capsys):
    assert main(["review", "queue", str(LABELS), str(RESULTS), "--limit", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("   1  1.00  identity") and lines[3].endswith("--limit 0 shows all")
    assert main(["review", "queue", str(LABELS), str(RESULTS), "--json"]) == 0
    items = json.loads(capsys.readouterr().out)
    assert len(items) == 30 and items[0]["annotation_ids"] == [88, 89] and items[0]["at"] == 11


def test_predictions_become_annotations(tmp_path):
    """Every confident track accepted, starting without labels: then the model agrees with itself."""
    content = json.loads((SHAPES / "valid.json").read_text()) | {"annotations": []}
    bare = make.save(tmp_path, "bare.json", content)
    dataset, results, version = open_dataset(bare), read_results(RESULTS), content_hash(bare.read_bytes())
    log = []
    for item in [item for item in review_queue(dataset, results) if item.kind == "missing"][:40]:
        assert item.prediction
        add = likely_answers(item, dataset, results, reference(RESULTS, item.prediction))[0]
        log.append(add.decision(version, "ann"))
    out = make.save(tmp_path, "new.json", apply(bare.read_bytes(), log))
    assert len(log) == 40 and not validate(out).faults
    assert [a.id for a in open_dataset(out).annotations] == list(range(1, 41))
    assert evaluate(out, RESULTS).figures["AP"] > 0.5
    write_log(tmp_path / "log.jsonl", log)
    assert read_log(tmp_path / "log.jsonl") == log
