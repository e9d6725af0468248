"""Decisions, the state of a log, and the corrected labels."""

import copy
import json
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import annotations as make
from tevit.cli import main as cli
from tevit.io.validate import validate
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.review import (
    Decision,
    LogState,
    apply,
    check_applicable,
    content_hash,
    correct,
    decide,
    from_line,
    parse_log,
    to_line,
)
from tevit.review import decisions as do
from tevit.review.decisions import Mask, PredictionRef, to_mask
from tevit.review.log import summary

SIZE, LENGTH = (6, 9), 5


def labels() -> dict[str, Any]:
    """Two videos; tracks of all forms, with unknown keys, odd areas, and one track in the other video."""
    square, bar = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)
    dot = make.rectangle(5, 0, 6, 1)
    first = make.annotation(11, 5, 4, [square, square, None, bar, square])
    first |= {"areas": [1.5, 2, None, 3e1, 4], "mine": {"deep": [1.0, 2]}}
    tracks = [
        first,
        make.annotation(12, 5, 2, [None, bar, bar, dot, dot], form=make.compressed),
        make.annotation(15, 5, 2, [dot, dot, None, None, bar]),
        make.annotation(3, 8, 4, [bar, square]),
    ]
    return make.data_set([make.video(8, 2), make.video(5, LENGTH)], tracks) | {"more": [1e400 > 0, 0.1]}


def as_bytes(content: object) -> bytes:
    return json.dumps(content, indent=1).encode()


HASH = content_hash(labels())


def decision(action: do.Action, reviewer: str = "ann", verdict: Any = "label is wrong", **more: Any) -> Decision:
    if isinstance(action, do.Keep) and verdict == "label is wrong":
        verdict = "label is right"
    if isinstance(action, do.LogAction):
        verdict = None
    return decide(HASH, more.pop("video", 5), verdict, action, reviewer, **more)


def track(content: dict, id: int) -> dict | None:
    return next((a for a in content["annotations"] if a["id"] == id), None)


def pixels(content: dict, video: int = 5) -> np.ndarray:
    """bool (T, H, W): the union of all tracks of the video."""
    union = np.zeros((LENGTH, *SIZE), bool)
    for annotation in content["annotations"]:
        if annotation["video_id"] == video:
            for t, segmentation in enumerate(annotation["segmentations"]):
                rle = segmentations.from_json(segmentation, SIZE)
                union[t] |= masks.decode(rle).astype(bool) if rle else False
    return union


# --- random logs

mask = st.integers(0, 2**54 - 1).map(
    lambda bits: to_mask(masks.encode(np.array([bits >> i & 1 for i in range(54)], bool).reshape(SIZE)))
)
ref = st.sampled_from([11, 12, 15, 3, 99])
frame = st.integers(0, LENGTH)
two = st.tuples(ref, ref).filter(lambda pair: pair[0] != pair[1])
edits = st.one_of(
    st.just(do.Keep()),
    st.builds(
        lambda track, first, new: do.AcceptMasks(track, first, tuple(new)),
        ref,
        frame,
        st.lists(st.none() | mask, min_size=1, max_size=3),
    ),
    st.builds(lambda id, mask: do.AddTrack(id, (mask,) * LENGTH), st.sampled_from([4, 2, 9]), mask),
    st.builds(do.DeleteTrack, ref),
    st.builds(lambda track, a, b: do.DeleteFrames(track, min(a, b), max(a, b)), ref, frame, frame),
    st.builds(do.ChangeClass, ref, st.sampled_from([4, 2, 9])),
    st.builds(lambda pair: do.MergeTracks(pair[0], pair[1]), two),
    st.builds(do.SplitTrack, ref, st.integers(1, LENGTH)),
    st.builds(lambda pair, at: do.SwapIdentities(pair[0], pair[1], at), two, frame),
    st.builds(do.ReplaceMask, ref, frame, mask),
    st.builds(do.MarkCrowd, ref, st.booleans()),
)


@st.composite
def logs(draw: st.DrawFn, edit: st.SearchStrategy = edits) -> list[Decision]:
    """Decisions of three reviewers, with undo, redo and resolve among them."""
    log: list[Decision] = []
    for _ in range(draw(st.integers(0, 10))):
        reviewer = draw(st.sampled_from(["ann", "ben", "eve"]))
        earlier = st.sampled_from([d.id for d in log]) if log else st.just("none")
        kind = draw(st.sampled_from(["edit"] * 6 + ["undo", "redo", "resolve"]))
        action = {
            "edit": edit,
            "undo": st.builds(do.Undo, earlier),
            "redo": st.builds(do.Redo, earlier),
            "resolve": st.builds(lambda id: do.Resolve(None, (id,)), earlier),
        }[kind]
        log.append(decision(draw(action), reviewer))
    return log


@settings(max_examples=100, deadline=None)
@given(logs())
def test_apply_is_deterministic_pure_and_valid(tmp_path_factory, log):
    content = labels()
    before, data = copy.deepcopy(content), as_bytes(labels())
    first = apply(content, log, only_fitting=True)
    assert content == before
    second = correct(data, log, only_fitting=True)
    assert correct(data, log, only_fitting=True).data == second.data
    assert json.loads(second.data) == json.loads(msgspec.json.encode(first))
    path = tmp_path_factory.mktemp("review") / "corrected.json"
    path.write_bytes(second.data)
    # The areas of annotation 11 contradict its masks already in the original.
    assert not [fault for fault in validate(path).faults if fault.id != 11]
    ids = [a["id"] for a in first["annotations"]]
    assert len(set(ids)) == len(ids)


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_undoing_everything_in_any_order_restores_the_labels(log, data):
    undone = LogState(log).undone
    left = [d for d in log if not isinstance(d.action, do.Undo | do.Redo) and d.id not in undone]
    order = data.draw(st.permutations(left))
    log = [*log, *(decision(do.Undo(d.id)) for d in order)]
    original = as_bytes(labels())
    assert correct(original, log, only_fitting=True).data == original
    assert apply(labels(), log, only_fitting=True) == labels()


@settings(max_examples=30, deadline=None)
@given(logs())
def test_redo_restores_what_undo_cancelled(log):
    original = as_bytes(labels())
    once = correct(original, log, only_fitting=True).data
    last = LogState(log).undoable("ann")
    if last is not None:
        log = [*log, decision(do.Undo(last.id), "ann")]
        assert LogState(log).redoable("ann") == last
        log = [*log, decision(do.Redo(last.id), "ann")]
        assert LogState(log).undoable("ann") == last != LogState(log).redoable("ann")
        assert correct(original, log, only_fitting=True).data == once


def outcome(state: LogState) -> tuple:
    logs = state.effective, state.disagreements, state.repeated
    users = [(state.undoable(name), state.redoable(name)) for name in ("ann", "ben", "eve")]
    counts = {name: +counts for name, counts in state.verdict_counts.items()}
    return *logs, state.undone, state.dropped, state.faults, counts, users


@settings(max_examples=150, deadline=None)
@given(logs(), st.lists(st.booleans(), min_size=10, max_size=10))
def test_an_incremental_state_equals_one_of_the_whole_log(log, reads):
    state = LogState()
    for place, d in enumerate(log):
        state.add([d])
        if reads[place]:  # results read in between must not change later ones
            assert outcome(state) == outcome(LogState(log[: place + 1]))
    assert outcome(state) == outcome(LogState(log))


movers = st.one_of(
    st.builds(lambda pair: do.MergeTracks(pair[0], pair[1]), two),
    st.builds(do.SplitTrack, ref, st.integers(1, LENGTH)),
    st.builds(lambda pair, at: do.SwapIdentities(pair[0], pair[1], at), two, frame),
)


@settings(max_examples=60, deadline=None)
@given(logs(movers))
def test_merge_split_and_swap_keep_every_pixel(log):
    assert np.array_equal(pixels(apply(labels(), log, only_fitting=True)), pixels(labels()))


@settings(max_examples=25, deadline=None)
@given(logs())
def test_lines_are_read_as_they_were_written(log):
    text = "".join(to_line(d) + "\n" for d in log)
    assert parse_log(text.encode(), "log") == log
    assert "".join(to_line(d) + "\n" for d in parse_log(text.encode(), "log")) == text


# --- each action


def test_an_empty_log_gives_the_original_bytes():
    data = as_bytes(labels())
    assert correct(data, []).data == data and apply(labels(), []) == labels()
    assert correct(data, [decision(do.Keep(), tracks=[11])]).data == data


def test_untouched_annotations_stay_byte_for_byte():
    data = as_bytes(labels())
    corrected = correct(data, [decision(do.ChangeClass(15, 4))]).data
    content, original = json.loads(corrected), labels()
    original["annotations"][2]["category_id"] = 4
    assert content == original and list(content) == list(original)
    assert b'"areas": [\n    1.5,\n    2,\n    null,\n    30.0,' in corrected


def test_areas_and_boxes_of_touched_tracks_are_those_of_their_masks():
    content = apply(labels(), [decision(do.DeleteFrames(11, 4, 4))])
    changed = track(content, 11)
    assert changed and changed["areas"] == [9, 9, None, 12, None] and changed["mine"] == {"deep": [1.0, 2]}
    assert changed["bboxes"][3] == [6.0, 0.0, 2.0, 6.0] and changed["bboxes"][4] is None
    assert changed["segmentations"][:4] == labels()["annotations"][0]["segmentations"][:4]


def test_accept_add_and_replace_set_masks():
    new = to_mask(masks.encode(make.rectangle(2, 2, 4, 4)))
    assert new
    log = [
        decision(do.AcceptMasks(12, 0, (new, None))),
        decision(do.AddTrack(4, (None, new, new, None, None))),
        decision(do.ReplaceMask(15, 2, new)),
    ]
    content = apply(labels(), log)
    assert (track(content, 12) or {})["areas"] == [4, None, 12, 1, 1]
    assert (track(content, 15) or {})["areas"] == [1, 1, 4, None, 12]
    added = content["annotations"][-1]
    assert added["id"] == 16 and added["areas"] == [None, 4, 4, None, None] and added["iscrowd"] == 0
    assert (added["height"], added["width"], added["length"]) == (6, 9, 5)


def test_merging_a_split_track_restores_its_masks():
    split = decision(do.SplitTrack(12, 3))
    content = apply(labels(), [split])
    assert (track(content, 12) or {})["areas"] == [None, 12, 12, None, None]
    assert (track(content, 16) or {})["areas"] == [None, None, None, 1, 1]
    content = apply(labels(), [split, decision(do.MergeTracks(12, split.id))])
    assert track(content, 12) == {**labels()["annotations"][1], "areas": [None, 12, 12, 1, 1]}
    assert track(content, 16) is None


def test_swapping_from_a_frame_on():
    content = apply(labels(), [decision(do.SwapIdentities(11, 12, 3))])
    one, two = labels()["annotations"][:2]
    assert (track(content, 11) or {})["segmentations"] == one["segmentations"][:3] + two["segmentations"][3:]
    assert (track(content, 12) or {})["segmentations"] == two["segmentations"][:3] + one["segmentations"][3:]


def test_deleting_and_marking():
    content = apply(
        labels(), [decision(do.DeleteTrack(11)), decision(do.MarkCrowd(12)), decision(do.DeleteFrames(15, 0, 4))]
    )
    assert [a["id"] for a in content["annotations"]] == [12, 3]  # 15 has no mask left
    assert (track(content, 12) or {})["iscrowd"] == 1


def test_ids_of_new_tracks_do_not_change_when_others_are_undone():
    new = to_mask(masks.encode(make.rectangle(2, 2, 4, 4)))
    first, second = (decision(do.AddTrack(4, (new,) * LENGTH)) for _ in range(2))
    assert apply(labels(), [first, second])["annotations"][-1]["id"] == 17
    content = apply(labels(), [first, second, decision(do.Undo(first.id))])
    assert [a["id"] for a in content["annotations"]][3:] == [3, 17]


@pytest.mark.parametrize("place", [0, 2])
def test_annotation_0_is_never_written(place, tmp_path, capsys):
    """Decisions name it by 0, the corrected labels have the next free id, before those of new tracks."""
    content = labels()
    content["annotations"][place]["id"] = 0
    highest = max(a["id"] for a in content["annotations"])
    new = to_mask(masks.encode(make.rectangle(2, 2, 4, 4)))
    version = content_hash(content)
    log = [decide(version, 5, "label is wrong", do.ChangeClass(0, 7), "ann"),
           decide(version, 5, "label is wrong", do.AddTrack(4, (new,) * LENGTH), "ann")]  # fmt: skip
    corrected = correct(as_bytes(content), log)
    ids = [a["id"] for a in json.loads(corrected.data)["annotations"]]
    assert ids[place] == highest + 1 and ids[-1] == highest + 2 == corrected.new_ids[log[1].id] and 0 not in ids
    assert json.loads(corrected.data)["annotations"][place]["category_id"] == 7
    assert apply(content, [])["annotations"][place]["id"] == highest + 1

    gt, file, out = tmp_path / "gt.json", tmp_path / "log.jsonl", tmp_path / "out"
    gt.write_bytes(as_bytes(content))
    file.write_text("".join(to_line(d) + "\n" for d in log))
    assert cli.main(["review", "report", str(file), str(gt), "--out", str(out)]) == 0
    note = f"annotation 0 became {highest + 1}: the official evaluation can never match the id 0"
    assert f"tevit: {gt}: {note}\n" in capsys.readouterr().err
    table = pd.read_csv(out / "changes.csv")
    assert table[["annotation_id", "change"]].values.tolist() == [[0, "changed"], [highest + 2, "added"]]
    assert note[1:] in (out / "report.html").read_text()


@pytest.mark.parametrize("annotations", [[], None, "none"])
def test_labels_without_annotations(annotations, tmp_path):
    content = labels() | {"annotations": annotations}
    if annotations == "none":
        del content["annotations"]
    new = to_mask(masks.encode(make.rectangle(2, 2, 4, 4)))
    other = content_hash(content)
    log = [decide(other, 5, "label is wrong", do.AddTrack(4, (new, None, new, new, None)), "ann")]
    log.append(decide(other, 5, "label is wrong", do.ChangeClass(log[0].id, 2), "ann"))
    path = tmp_path / "new.json"
    path.write_bytes(correct(as_bytes(content), log).data)
    corrected = json.loads(path.read_bytes())
    assert [(a["id"], a["category_id"]) for a in corrected["annotations"]] == [(1, 2)]
    assert not validate(path).faults
    assert correct(as_bytes(content), []).data == as_bytes(content)


# --- decisions that are not applicable

WRONG: list[tuple[do.Action, int, str]] = [
    (do.DeleteTrack(99), 5, "there is no annotation 99"),
    (do.DeleteTrack("gone"), 5, "there is no track made by decision gone"),
    (do.DeleteTrack(3), 5, "track 3 is of video 8, not of video 5"),
    (do.DeleteTrack(3), 77, "there is no video 77"),
    (do.ChangeClass(11, 9), 5, "there is no category 9"),
    (do.DeleteFrames(11, 3, 5), 5, "frame 5 is beyond the video's 5 frames"),
    (do.SplitTrack(12, 5), 5, "frame 5 is beyond the video's 5 frames"),
    (do.SplitTrack(12, 1), 5, "track 12 has no mask on one side of frame 1"),
    (do.AddTrack(4, (Mask((1, 1), "01"),)), 5, "the track has 1 masks, expected 5, one a frame of its video"),
    (
        do.AcceptMasks(11, 0, (Mask((1, 1), "01"),)),
        5,
        "its masks are of (1, 1) pixels (height, width), the video is of (6, 9)",
    ),
    (do.Undo("gone"), 5, "there is no decision gone before it"),
]


@pytest.mark.parametrize(("action", "video", "sentence"), WRONG)
def test_inapplicable_decisions_are_reported_and_refused(action, video, sentence):
    good, bad = decision(do.DeleteTrack(15)), decision(action, video=video)
    assert [item.reason for item in check_applicable([good, bad], labels())] == ["", sentence]
    with pytest.raises(ValueError, match="1 of 2 decisions do not fit the labels") as error:
        apply(labels(), [good, bad])
    assert sentence in str(error.value)
    assert track(apply(labels(), [good, bad], only_fitting=True), 15) is None


def test_a_log_for_another_version_is_refused_unless_only_fitting():
    log = [decision(do.DeleteTrack(15)), decision(do.DeleteTrack(12))]
    other = labels()
    other["annotations"] = [a for a in other["annotations"] if a["id"] != 12]
    with pytest.raises(ValueError, match=r"2 of 2 decisions were made for another version .* 1 of all 2 fit"):
        apply(other, log)
    assert [a["id"] for a in apply(other, log, only_fitting=True)["annotations"]] == [11, 3]
    assert [a["id"] for a in apply(labels(), log)["annotations"]] == [11, 3]


def test_the_hash_is_of_the_content_not_of_its_spelling():
    assert content_hash(as_bytes(labels())) == content_hash(labels()) == content_hash(json.dumps(labels()).encode())
    other = labels()
    other["annotations"][0]["areas"][0] = 1.25
    assert content_hash(other) != HASH


def test_duplicate_ids_and_wrong_lengths_are_inapplicable():
    content = labels()
    content["annotations"][1]["id"] = 11
    content["annotations"][2]["segmentations"].pop()
    log = [decision(do.DeleteTrack(11)), decision(do.SwapIdentities(15, 11, 1))]
    reasons = [item.reason for item in check_applicable(log, content)]
    assert reasons[0] == "more than one annotation has the id 11"
    assert check_applicable([decision(do.DeleteFrames(15, 0, 0))], content)[0].reason == (
        "the track has 4 segmentations, expected 5, one a frame of its video"
    )


# --- several reviewers


def test_a_disagreement_leaves_the_label_until_it_is_resolved():
    keep, delete = decision(do.Keep(), "ann", tracks=[15]), decision(do.DeleteTrack(15), "ben")
    disagreements = LogState([keep, delete]).disagreements
    assert len(disagreements) == 1 and disagreements[0].decisions == (keep, delete)
    expected = "video 5: ann says 'label is right, track 15' (decision {}); ben says 'label is wrong, delete track 15'"
    assert str(disagreements[0]).startswith(expected.format(keep.id))
    assert apply(labels(), [keep, delete]) == labels()
    for winner, loser, left in ((keep, delete, True), (delete, keep, False)):
        resolve = decision(do.Resolve(winner.id, (loser.id,)), "eve")
        log = [keep, delete, resolve]
        assert not LogState(log).disagreements
        assert (track(apply(labels(), log), 15) is not None) == left
        assert LogState([*log, decision(do.Undo(resolve.id), "eve")]).disagreements == disagreements
    assert apply(labels(), [keep, delete, decision(do.Resolve(None, (keep.id, delete.id)), "eve")]) == labels()


def test_the_last_resolve_counts():
    one, two = decision(do.ChangeClass(11, 2), "ann"), decision(do.ChangeClass(11, 7), "ben")
    log = [one, two, decision(do.Resolve(one.id, (two.id,)), "ann"), decision(do.Resolve(two.id, (one.id,)), "ben")]
    assert (track(apply(labels(), log), 11) or {})["category_id"] == 7


PAIRS: list[tuple[do.Action, do.Action, bool]] = [
    (do.ChangeClass(11, 2), do.ChangeClass(11, 7), True),
    (do.ChangeClass(11, 2), do.ChangeClass(12, 4), False),
    (do.ChangeClass(11, 2), do.DeleteFrames(11, 0, 0), False),
    (do.DeleteFrames(11, 0, 1), do.DeleteFrames(11, 1, 2), True),
    (do.DeleteFrames(11, 0, 1), do.DeleteFrames(11, 3, 4), False),
    (do.DeleteTrack(11), do.MarkCrowd(11), True),
    (do.SwapIdentities(11, 12, 3), do.SwapIdentities(12, 11, 3), False),
    (do.SwapIdentities(11, 12, 3), do.SwapIdentities(12, 11, 2), True),
    (do.MergeTracks(11, 12), do.DeleteTrack(12), True),
]


@pytest.mark.parametrize(("first", "second", "opposed"), PAIRS)
def test_which_actions_disagree(first, second, opposed):
    log = [decision(first, "ann"), decision(second, "ben")]
    assert bool(LogState(log).disagreements) == opposed
    assert not LogState([decision(first, "ann"), decision(second, "ann")]).disagreements
    assert not LogState([log[0], log[1], decision(do.Undo(log[0].id), "ann")]).disagreements


def test_the_same_action_of_two_reviewers_is_applied_once():
    log = [decision(do.SwapIdentities(11, 12, 3), "ann"), decision(do.SwapIdentities(12, 11, 3), "ben")]
    assert apply(labels(), log) == apply(labels(), log[:1]) and LogState(log).repeated == (log[1],)


def test_one_object_added_twice_is_a_disagreement():
    a, b, far = (to_mask(masks.encode(make.rectangle(*box))) for box in ((0, 0, 4, 4), (0, 0, 4, 5), (4, 6, 6, 9)))
    adds = [decision(do.AddTrack(4, (m,) * LENGTH), who) for m, who in ((a, "ann"), (b, "ben"), (far, "eve"))]
    assert LogState(adds).disagreements[0].decisions == tuple(adds[:2])
    assert len(apply(labels(), adds)["annotations"]) == 5


def test_adding_and_refusing_a_prediction_disagree():
    seen = PredictionRef("r.json", "a" * 64, 3)
    new = to_mask(masks.encode(make.rectangle(2, 2, 4, 4)))
    log = [
        decision(do.Keep(), "ann", prediction=seen),
        decision(do.AddTrack(4, (new,) * LENGTH), "ben", prediction=seen),
    ]
    assert LogState(log).disagreements and apply(labels(), log) == labels()
    unclear = decision(do.Keep(), "eve", verdict="unclear", prediction=seen)
    assert not LogState([unclear, log[1]]).disagreements


def test_a_later_decision_revokes_ones_own_keep():
    log = [
        decision(do.Keep(), "ann", tracks=[15]),
        decision(do.DeleteTrack(15), "ann"),
        decision(do.DeleteTrack(15), "ben"),
    ]
    assert not LogState(log).disagreements and track(apply(labels(), log), 15) is None


def test_verdict_counts_exclude_undone_decisions():
    log = [decision(do.Keep(), "ben"), decision(do.DeleteTrack(11), "ann"), decision(do.DeleteTrack(12), "ann")]
    log.append(decision(do.Undo(log[1].id), "ann"))
    counts = LogState(log).verdict_counts
    assert counts == {"ann": {"label is wrong": 1}, "ben": {"label is right": 1}} and list(counts) == ["ann", "ben"]


# --- lines

GOOD = json.loads(to_line(decision(do.DeleteTrack(11))))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"verdict": "maybe"}, "log, line 2: invalid enum value 'maybe' in verdict"),
        ({"verdict": None}, "log, line 2: expected a verdict with 'delete track', got None"),
        ({"verdict": "unclear"}, "log, line 2: expected the action 'keep' where 'unclear', got 'delete track'"),
        (
            {"action": {"do": "undo", "decision": "x"}},
            "log, line 2: expected no verdict with 'undo', got 'label is wrong'",
        ),
        ({"action": {"do": "explode"}}, "log, line 2: invalid value 'explode' in action.do"),
        ({"action": {"do": "delete track"}}, "log, line 2: object missing required field track in action"),
        (
            {"action": {"do": "delete track", "track": 1, "x": 2}},
            "log, line 2: object contains unknown field x in action",
        ),
        (
            {"time": "yesterday"},
            "log, line 2: expected a time in ISO 8601 and UTC like 2026-01-31T12:00:00Z, got 'yesterday'",
        ),
        ({"time": "2026-02-31T12:00:00Z"}, "log, line 2: expected a time in ISO 8601 and UTC"),
        ({"time": "2026-01-31T12:00:00+02:00"}, "log, line 2: expected a time in ISO 8601 and UTC"),
        ({"reviewer": " "}, "log, line 2: expected a reviewer's name, got none"),
        ({"dataset": "abc"}, "log, line 2: expected dataset as a SHA-256, 64 hexadecimal digits, got 'abc'"),
        ({"id": "a b"}, "log, line 2: expected an id of up to 64 letters, digits, - and _, got 'a b'"),
        ({"frames": [3, 2]}, "log, line 2: expected a first frame from 0 on and a last one not before it, got 3 to 2"),
        ({"action": {"do": "merge tracks", "track": 1, "other": 1}}, "expected two different tracks, got 1 twice"),
        (
            {
                "action": {
                    "do": "accept masks",
                    "track": 1,
                    "first": 0,
                    "masks": [None, {"size": [2, 2], "counts": "99"}],
                }
            },
            "mask 2 of 2: ",
        ),
        ({"id": "same"}, "log, line 2: there is a decision same before"),
    ],
)
def test_a_faulty_line_is_one_sentence(change, sentence):
    lines = [json.dumps({**GOOD, "id": "same"}), json.dumps({**GOOD, "id": "other", **change})]
    with pytest.raises(ValueError) as error:
        parse_log("\n".join(lines).encode(), "log")
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_all_faulty_lines_are_reported():
    with pytest.raises(ValueError) as error:
        parse_log(b"\n".join([b"{", b"", to_line(decision(do.DeleteTrack(1))).encode(), b"[]"] + [b"x"] * 20), "log")
    lines = str(error.value).split("\n")
    assert len(lines) == 11 and lines[1].startswith("log, line 4:")
    assert lines[0].startswith("log, line 1: malformed JSON")
    assert lines[-1] == "and 12 more faulty lines"


def test_a_cut_off_line_is_a_fault():
    line = to_line(decision(do.DeleteTrack(1)))
    with pytest.raises(ValueError, match="here: malformed JSON"):
        from_line(line[:-5], "here")


def test_every_action_has_a_summary():
    mask = Mask((1, 1), "01")
    actions = [
        do.Keep(), do.AcceptMasks(1, 2, (mask, None)), do.AddTrack(4, (mask,)), do.DeleteTrack(1),
        do.DeleteFrames(1, 2, 3), do.ChangeClass(1, 2), do.MergeTracks(1, 2), do.SplitTrack(1, 3),
        do.SwapIdentities(1, 2, 3), do.ReplaceMask(1, 2, mask), do.MarkCrowd(1), do.Undo("x"), do.Redo("x"),
        do.Resolve(None, ("x", "y")),
    ]  # fmt: skip
    words = [summary(decision(action), {2: "earless_seal"}) for action in actions]
    assert words[1] == "label is wrong, take other masks for track 1, frames 2 to 3"
    assert words[5] == "label is wrong, change the class of track 1 to earless seal"
    assert all(words) and not any("{" in text for text in words)
