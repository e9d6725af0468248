"""Several reviewers: names, shared queues, agreement, disagreements; and predictions as a source of masks."""

import json
import math
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import annotations as make
from tests.tevit.review.test_review import HASH, LENGTH, decision, labels
from tevit.cli.main import main
from tevit.io.ytvis import open_dataset, read_results
from tevit.masks import ops as masks
from tevit.results import Track
from tevit.review import LogState, apply, check_applicable, from_line, to_line, write_log
from tevit.review import decisions as do
from tevit.review.decisions import PredictionRef, Subject, subject_of, to_mask
from tevit.review.labels import lies_beside, overlapping_predictions, predicted_masks, take_masks
from tevit.review.queue import likely_answers, review_queue
from tevit.review.reviewers import (
    Team,
    agreements,
    cohen_kappa,
    disagreement_item,
    mask_agreement,
    read_reviewers,
    resolve,
    resolving_answers,
)

SHAPES = Path(__file__).parents[3] / "assets" / "shapes"
LABELS, RESULTS = SHAPES / "valid_with_errors.json", SHAPES / "predictions" / "tevit_demo.json"
NAMES = ("ann", "ben", "eve", "zoë")
SUBJECTS: list[Subject] = [(video, (track,), "", 0) for video in range(10) for track in range(30)]


def test_names_are_one_a_line(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\ufeff# who may decide\nann\n\n  zoë \n", "utf-8")
    assert read_reviewers(file) == ("ann", "zoë")
    for text, sentence in (
        ("# nobody\n", "expected reviewers' names, one a line, got none"),
        ("ann\nann\n", "'ann' stands there 2 times"),
        ("a" * 61, "a name of at most 60 printable characters"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            read_reviewers(file)


def test_who_may_decide():
    Team(NAMES).check("ben")
    Team().check("anybody")
    for team, name, sentence in ((Team(), "", "Enter your name"), (Team(NAMES), "Ben", "'Ben' is not among")):
        with pytest.raises(ValueError, match=sentence):
            team.check(name)
    with pytest.raises(ValueError, match="expected 2 reviewers at least, got 1"):
        Team(("ann",), 2)


@pytest.mark.parametrize("count", [1, 2])
def test_a_queue_is_shared_out_evenly_and_the_same_everywhere(count):
    team = Team(NAMES, count)
    shared = [team.assigned(subject) for subject in SUBJECTS]
    assert all(len(set(names)) == count and set(names) <= set(NAMES) for names in shared)
    assert [set(Team(NAMES[::-1], count).assigned(subject)) for subject in SUBJECTS] == list(map(set, shared))
    parts = Counter(name for names in shared for name in names)
    assert all(abs(parts[name] - count * 75) < 35 for name in NAMES)
    # As `sha256sum` orders the lines "1:(7,)::0" and name: another version must not share out differently.
    assert Team(NAMES, 2).assigned((1, (7,), "", 0)) == ("ann", "zoë")


def test_a_new_reviewer_takes_over_only_their_own_part():
    before, after = Team(NAMES, 1), Team((*NAMES, "ian"), 1)
    moved = [after.assigned(s) for s in SUBJECTS if before.assigned(s) != after.assigned(s)]
    assert set(moved) == {("ian",)} and 30 < len(moved) < 90


def test_the_first_verdict_is_hidden_until_the_second_is_given():
    team = Team(("ann", "ben"), 2)
    first = decision(do.DeleteTrack(15), "ann", tracks=[15])
    decided = {subject_of(first): [first]}
    assert team.hidden(decided, "ben") == {first.id}
    assert team.hidden(decided, "ann") == team.hidden(decided, "eve") == frozenset()
    second = decision(do.Keep(), "ben", tracks=[15])
    assert team.hidden({subject_of(first): [first, second]}, "ben") == frozenset()
    assert Team(("ann", "ben"), 1).hidden(decided, "ben") == frozenset()


# --- agreement


def test_kappa_of_a_worked_example():
    """50 applications, read by two: (35 / 50 - 0.5) / (1 - 0.5) = 0.4."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([("a", "b"), ("b", "a")]) == -1 and cohen_kappa([("a", "a"), ("b", "b")]) == 1
    assert math.isnan(cohen_kappa([])) and math.isnan(cohen_kappa([("a", "a")] * 3))


@pytest.mark.skipif(find_spec("sklearn") is None, reason="compares with scikit-learn, which the project does not need")
@given(st.lists(st.tuples(st.sampled_from(do.VERDICTS), st.sampled_from(do.VERDICTS)), min_size=2, max_size=30))
def test_kappa_is_that_of_scikit_learn(pairs):
    if len({value for pair in pairs for value in pair}) > 1:
        expected = import_module("sklearn.metrics").cohen_kappa_score(*zip(*pairs, strict=True))
        assert cohen_kappa(pairs) == pytest.approx(expected)


def box(top: int, left: int, bottom: int, right: int) -> do.Mask:
    mask = to_mask(masks.encode(make.rectangle(top, left, bottom, right)))
    assert mask is not None
    return mask


def test_agreement_of_verdicts_and_masks():
    seen = PredictionRef("r.json", "a" * 64, 3)
    add = decision(do.AddTrack(4, (box(0, 0, 4, 4),) * LENGTH), "ann", prediction=seen)
    log = [
        decision(do.ReplaceMask(11, 1, box(0, 0, 2, 2)), "ann", tracks=[11]),
        decision(do.AcceptMasks(11, 0, (box(0, 0, 9, 9), box(0, 0, 2, 4))), "ben", tracks=[11]),  # frame 1: IoU 1/2
        decision(do.Keep(), "ann", tracks=[12]),
        decision(do.DeleteTrack(12), "ben", tracks=[12]),
        add,
        decision(do.ReplaceMask(add.id, 0, box(0, 0, 4, 2)), "ann", prediction=seen),
        decision(do.AddTrack(4, (box(0, 0, 4, 2),) + (None,) * (LENGTH - 1)), "ben", prediction=seen),
        decision(do.DeleteTrack(15), "ann", tracks=[15]),
        decision(do.Keep(), "eve", tracks=[3], video=8),
    ]
    (agreement,) = agreements(LogState(log))
    assert agreement.reviewers == ("ann", "ben") and (agreement.questions, agreement.same, agreement.tracks) == (
        3,
        2,
        2,
    )
    # ann: wrong, right, wrong; ben: wrong three times: observed 2/3, by chance 2/3.
    assert agreement.kappa == pytest.approx(0)
    added = 8 / (8 + 4 * 16)  # frame 0 the same 8 pixels; in the others ann's 16 against none
    assert agreement.iou == pytest.approx((0.5 + added) / 2)
    assert "same verdict on 2 of 3 questions, Cohen's kappa 0.00, mean IoU of the masks of 2 tracks" in str(agreement)
    undone = [*log, decision(do.Undo(log[3].id), "ben")]
    assert agreements(LogState(undone))[0].questions == 2
    resolved = [*log, decision(do.Resolve(log[2].id, (log[3].id,)), "eve")]
    assert agreements(LogState(resolved)) == [agreement]


# --- disagreements


def disagreeing() -> list[do.Decision]:
    return [
        decision(do.ChangeClass(15, 4), "ann", tracks=[15]),
        decision(do.DeleteFrames(15, 1, 1), "ann", tracks=[15]),
        decision(do.Keep(), "ben", tracks=[15]),
    ]


def test_a_disagreement_is_a_question_with_an_answer_for_each_side(tmp_path):
    log = disagreeing()
    (disagreement,) = LogState(log).disagreements
    item = disagreement_item(disagreement, open_dataset(make.save(tmp_path, "gt.json", labels())))
    assert item.annotation_ids == (15,) and item.frame == 1 and item.kind == "disagreement"
    assert item.question == "ann, ben disagree about label 15: which decision counts?"
    answers = resolving_answers(disagreement, item, {4: "dog"})
    assert [answer.label for answer in answers] == [
        "ann: label is wrong, change the class of track 15 to dog; label is wrong, delete frames 1 to 1 of track 15",
        "ben: label is right, track 15",
        "None of them: the label stays as it was",
    ]
    expected = ({log[0].id, log[1].id}, {log[2].id}, set())
    for answer, remaining in zip(answers, expected, strict=True):
        state = LogState([*log, answer.decision(HASH, "eve")])
        assert not state.disagreements and {d.id for d in state.effective} == remaining
    assert resolve(disagreement, log[0].id) == do.Resolve(log[0].id, (log[2].id,))


def test_two_corrections_of_one_range_disagree_with_the_iou_of_their_common_frames(tmp_path):
    """A correction decides every frame of its range; those that were not edited keep the label's masks."""
    label, wider, half = box(0, 0, 4, 4), box(0, 0, 4, 8), box(0, 0, 2, 4)
    one = decision(do.AcceptMasks(11, 0, (wider, label, label)), "ann", tracks=[11])  # frame 0 is edited
    two = decision(do.AcceptMasks(11, 1, (half, label, wider)), "ben", tracks=[11])  # frames 1 and 3
    (disagreement,) = LogState([one, two]).disagreements
    assert mask_agreement(disagreement) == (0.75, [1, 2])  # 1/2 and 1
    item = disagreement_item(disagreement, open_dataset(make.save(tmp_path, "gt.json", labels())))
    assert item.question.endswith("In the 2 frames that both have set, their masks have a mean IoU of 0.75.")
    apart = decision(do.ReplaceMask(11, 3, wider), "eve", tracks=[11])
    assert not LogState([one, apart]).disagreements


# --- merging


@pytest.mark.parametrize("overlap", ["union", "track", "other"])
def test_merged_tracks_where_both_have_a_mask(overlap):
    merge = decision(do.MergeTracks(11, 12, overlap))
    content = apply(labels(), [merge])
    (merged,) = [a for a in content["annotations"] if a["id"] == 11]
    assert len(content["annotations"]) == 3
    square, bar, dot = 9, 12, 1
    expected = {
        "union": [square, square + bar, bar, bar + dot, square + dot],
        "track": [square, square, bar, bar, square],
        "other": [square, bar, bar, dot, dot],
    }
    assert merged["areas"] == expected[overlap]
    assert from_line(to_line(merge), "it") == merge
    assert ('"overlap"' in to_line(merge)) == (overlap != "union")  # so that earlier versions read the log


def test_a_log_of_an_earlier_version_reads_and_writes_the_same():
    line = to_line(decision(do.MergeTracks(11, 12)))
    assert '"action":{"do":"merge tracks","track":11,"other":12}' in line and to_line(from_line(line, "it")) == line


# --- masks of predictions


def track_of(pixels: np.ndarray, category: int = 1) -> Track:
    """pixels: bool (T, H, W)."""
    rles = tuple(masks.encode(mask.astype(np.uint8)) if mask.any() else None for mask in pixels)
    return Track(1, category, 1.0, rles, masks.to_boxes_xyxy(rles), pixels.sum(axis=(1, 2)).astype(float))


def moving(top: int, left: int, speed: int = 3, size: int = 10, frames: int = 8) -> np.ndarray:
    pixels = np.zeros((frames, 80, 80), bool)
    for t in range(frames):
        pixels[t, top : top + size, left + speed * t : left + speed * t + size] = True
    return pixels


def test_a_label_beside_its_object():
    label = track_of(moving(10, 10))
    assert lies_beside(label, track_of(moving(14, 15)))
    assert lies_beside(label, track_of(moving(22, 10)))  # no common pixel
    assert not lies_beside(label, track_of(moving(14, 15), category=2))
    assert not lies_beside(label, track_of(moving(40, 10)))
    assert not lies_beside(label, track_of(moving(10, 20, speed=0)))  # another object, which stands still
    assert not lies_beside(label, track_of(moving(14, 15, size=24)))
    apart = moving(14, 15)
    apart[:6] = False
    assert not lies_beside(label, track_of(apart))


def test_both_sides_of_a_shifted_label_are_one_question():
    """Both planted shifts of the bundled labels, each with the prediction that shows the object."""
    planted = json.loads((SHAPES / "label_errors.json").read_text())
    shifted = {(e["video_id"], e["track_ids"][0]) for e in planted if e["kind"] == "shifted"}
    items, dataset, results = review_queue(LABELS, RESULTS), open_dataset(LABELS), read_results(RESULTS)
    beside = [item for item in items if item.annotation_ids and (item.video_id, item.annotation_ids[0]) in shifted]
    assert {(i.video_id, *i.annotation_ids) for i in beside} == shifted
    for item in beside:
        assert item.kind == "misplaced" and item.prediction and "without a label" in item.question
        assert not [other for other in items if other != item and other.prediction == item.prediction]
        reference = PredictionRef("r.json", "a" * 64, item.prediction)
        take, add = likely_answers(item, dataset, results, reference)[:2]
        assert isinstance(take.action, do.AcceptMasks) and isinstance(add.action, do.AddTrack)
        assert take.action.masks == add.action.masks and add.decision(HASH, "ann").tracks == item.annotation_ids


def test_the_masks_of_any_prediction_whole_or_over_a_range():
    dataset, results = open_dataset(LABELS), read_results(RESULTS)
    label = next(track for track in dataset.video(8).tracks if track.id == 39)
    overlapping = overlapping_predictions(label, results.video(dataset.videos[8], dataset.categories))
    assert len(overlapping) >= 3 and [p.iou for p in overlapping] == sorted((p.iou for p in overlapping), reverse=True)
    assert len({p.category_id for p in overlapping}) > 1  # of any class
    taken = [predicted_masks(dataset, results, 8, prediction.place) for prediction in overlapping]
    for prediction, its in zip(overlapping, taken, strict=True):
        assert masks.track_iou(label.rles, [mask and mask.rle for mask in its]) == pytest.approx(prediction.iou)
    predicted = taken[-1]
    whole, part = take_masks(39, predicted), take_masks(39, predicted, (5, 9))
    assert (whole.first, len(whole.masks)) == (0, len(predicted))
    assert (part.first, part.masks) == (5, predicted[5:10])
    log = [do.decide(HASH, 8, "label is wrong", part, "ann")]
    assert check_applicable(log, LABELS.read_bytes())[0].applicable
    with pytest.raises(ValueError, match="expected frames from 0 to"):
        take_masks(39, predicted, (0, len(predicted)))
    with pytest.raises(ValueError, match="video 8 has no prediction 1"):
        predicted_masks(dataset, results, 8, 1)


# --- the command line


def test_sharing_out_on_the_command_line(tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("ann\nben\neve\n")
    queue = ["review", "queue", str(LABELS), str(RESULTS), "--limit", "0", "--json"]
    assert main(queue) == 0
    everything = json.loads(capsys.readouterr().out)
    parts = []
    for name in ("ann", "ben", "eve"):
        assert main([*queue, "--reviewers", str(names), "--reviewer", name]) == 0
        parts += json.loads(capsys.readouterr().out)
    assert sorted(i["question"] for i in parts) == sorted(i["question"] for i in everything)
    assert main([*queue, "--reviewers", str(names), "--reviewers-per-question", "2"]) == 0
    assert all(len(item["reviewers"]) == 2 for item in json.loads(capsys.readouterr().out))
    assert main([*queue, "--reviewers", str(names), "--reviewer", "ian"]) == 2
    assert "'ian' is not in" in capsys.readouterr().err
    assert main([*queue, "--reviewer", "ann"]) == 2
    assert "--reviewer needs --reviewers" in capsys.readouterr().err


def test_agreement_and_counts_on_the_command_line(tmp_path, capsys):
    gt, names = make.save(tmp_path, "gt.json", labels()), tmp_path / "names.txt"
    names.write_text("ann\neve\n")
    log = [*disagreeing(), decision(do.ChangeClass(11, 2), "ann")]
    log += [decision(do.Undo(log[-1].id), "ann")]
    write_log(tmp_path / "log.jsonl", log)
    path = str(tmp_path / "log.jsonl")
    assert main(["review", "agreement", path]) == 0
    output = capsys.readouterr().out
    assert "ann and ben: the same verdict on 0 of 1 questions" in output and "not resolved: video 5" in output
    assert main(["review", "agreement", path, "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert pair["kappa"] == 0 and pair["iou"] is None
    assert main(["review", "check", path, str(gt), "--reviewers", str(names)]) == 1
    output = capsys.readouterr().out
    assert "5 lines: 4 decisions (1 of them undone), 1 undo; of the lines 5 fit, 1 disagreements" in output
    assert f"decision {log[2].id}: ben is not in {names}" in output
    out = tmp_path / "corrected.json"
    assert main(["review", "apply", path, str(gt), "--out", str(out)]) == 1
    assert "0 of 4 decisions applied (the log has 5 lines: 4 decisions" in capsys.readouterr().out
    assert main(["review", "report", path, str(gt), "--out", str(tmp_path / "report"), "--json"]) == 1
    counts = json.loads(capsys.readouterr().out)
    assert (counts["lines"], counts["decisions"], counts["undone"], counts["undo"]) == (5, 4, 1, 1)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "4 decisions on 1 video; the log has 5 lines" in page and "Ann and ben: the same verdict on 0 of 1" in page
