"""Association of the tracks of successive windows: soft IoU, assignment, keyframes, saved states, bounded memory."""

import msgspec
import numpy as np
import pytest
import torch

from tevit.inference.association import MAX_ACTIVE, SIDE, AssociationOptions, FrameMasks, TrackAssociator, soft_iou
from tevit.inference.postprocess import Detections

CATEGORIES = (5, 9)
EMPTY, SOLID = -9.0, 9.0


def detections(boxes, *, labels=None, features=None, logits=None, scores=None) -> Detections:
    """N tracks in a window of T frames. boxes: (T, N, 4). logits: of the whole mask, (T, N) or one for all."""
    boxes = torch.tensor(boxes, dtype=torch.float32)
    length, count = boxes.shape[:2]
    masks = torch.as_tensor(SOLID if logits is None else logits, dtype=torch.float32).expand(length, count)
    frame_scores = torch.as_tensor(0.9 if scores is None else scores, dtype=torch.float32).expand(length, count).clone()
    return Detections(
        scores=frame_scores.mean(0),
        frame_scores=frame_scores,
        labels=torch.tensor(labels or [0] * count),
        queries=torch.arange(count),
        boxes_xyxy=boxes,
        mask_logits=masks[..., None, None].expand(-1, -1, SIDE, SIDE).clone(),
        features=torch.tensor(features or [[1.0, 0.0]] * count),
    )


def box(x, y=0, size=10):
    return [x, y, x + size, y + size]


def frame_masks(boxes, maps=1.0) -> FrameMasks:
    boxes = np.array(boxes, np.float32)
    full = np.full((*boxes.shape[:2], SIDE, SIDE), maps, np.float32)
    return FrameMasks(boxes, full, np.ones(boxes.shape[:2], bool))


@pytest.mark.parametrize("shift", [0, 3, 5, 10, 30])
def test_soft_iou_of_solid_boxes_is_their_iou(shift):
    ious = soft_iou(frame_masks([[box(100, 50, 40)]]), frame_masks([[box(100 + shift, 50, 40)]]))
    assert ious[0, 0] == pytest.approx((40 - shift) / (40 + shift), abs=0.03)


def test_soft_iou_sums_over_the_frames_known_to_both():
    one, other = frame_masks([[box(0, 0, 40), box(0, 0, 40)]]), frame_masks([[box(0, 0, 40), box(40, 0, 40)]])
    assert soft_iou(one, other)[0, 0] == pytest.approx(1 / 3, abs=0.03)  # 1600 of 1600 + 2 * 1600 pixels
    other.known[0, 1] = False
    assert soft_iou(one, other)[0, 0] == pytest.approx(1)
    other.known[:] = False
    assert soft_iou(one, other)[0, 0] == 0


def test_soft_iou_of_half_probabilities():
    assert soft_iou(frame_masks([[box(0)]], 0.5), frame_masks([[box(0)]], 1.0))[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_tracks_are_extended_where_masks_overlap_in_any_order():
    associator = TrackAssociator(AssociationOptions(overlap=2, keyframes=0), 10)
    first = associator.add([0, 1, 2], detections([[box(0), box(100)]] * 3), CATEGORIES)
    second = associator.add([1, 2, 3], detections([[box(101), box(1), box(200)]] * 3), CATEGORIES)
    assert first == [1, 2] and second == [2, 1, 3] and associator.length == 4


def test_equal_masks_are_matched_by_class():
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=0), 10)
    one = associator.add([0, 1], detections([[box(0), box(0)]] * 2, labels=[0, 1]), CATEGORIES)
    other = associator.add([1, 2], detections([[box(0), box(0)]] * 2, labels=[1, 0]), CATEGORIES)
    assert other == one[::-1]
    assert [track.category_id for track in associator.best] == [5, 9]


def test_an_absent_object_is_reidentified_by_class_and_features():
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=0), 10)
    associator.add([0, 1], detections([[box(0), box(50)]] * 2, features=[[1.0, 0.0], [0.0, 1.0]]), CATEGORIES)
    # The first leaves; the second stays.
    associator.add(
        [1, 2], detections([[box(0), box(50)]] * 2, features=[[1.0, 0.0], [0.0, 1.0]], logits=[[9, 9], [-9, 9]]), (5, 9)
    )
    last = detections([[box(50), box(90)]] * 2, features=[[0.0, 1.0], [0.97, 0.1]])
    assert associator.add([2, 3], last, CATEGORIES) == [2, 1]


@pytest.mark.parametrize(("label", "feature"), [(1, [0.97, 0.1]), (0, [0.6, 0.8])])
def test_another_class_or_other_features_start_a_new_track(label, feature):
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=0), 10)
    associator.add([0, 1], detections([[box(0)]] * 2, logits=[[9], [-9]]), CATEGORIES)
    assert associator.add([1, 2], detections([[box(90)]] * 2, labels=[label], features=[feature]), CATEGORIES) == [2]


def test_keyframes_have_the_highest_score_of_every_object():
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=2), 10)
    scores = [[0.2, 0.9], [0.9, 0.2], [0.5, 0.5], [0.1, 0.1]]
    associator.add(range(4), detections([[box(0), box(50)]] * 4, scores=scores), CATEGORIES)
    assert associator.keyframes == [0, 1]


def test_a_frame_with_an_empty_mask_is_no_keyframe_whatever_its_score():
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=1), 10)
    scores, logits = [[0.9], [0.3], [0.1]], [[EMPTY], [SOLID], [SOLID]]
    associator.add(range(3), detections([[box(0)]] * 3, scores=scores, logits=logits), CATEGORIES)
    assert associator.keyframes == [1]


def test_the_best_tracks_have_the_highest_sums_ordered_by_mean():
    associator = TrackAssociator(AssociationOptions(overlap=0, keyframes=0), 2)
    associator.add(range(4), detections([[box(0), box(50), box(90)]] * 4, scores=[[0.5, 0.6, 0.1]] * 4), CATEGORIES)
    assert [(item.id, round(item.score, 3)) for item in associator.best] == [(2, 0.6), (1, 0.5)]


def test_after_a_cut_all_tracks_are_new_and_earlier_ones_are_kept():
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=1), 10)
    objects = detections([[box(0), box(50)]] * 3)
    assert associator.add([0, 1, 2], objects, CATEGORIES) == [1, 2] and len(associator.keyframes) == 1
    associator.cut()
    assert associator.keyframes == []
    assert associator.add([3, 4, 5], objects, CATEGORIES) == [3, 4]
    assert {track.id for track in associator.best} == {1, 2, 3, 4} == associator.ids


def test_the_number_of_tracks_grows_with_the_video_up_to_a_hundred():
    associator, counts = TrackAssociator(AssociationOptions(overlap=4, min_iou=2.0, reid_threshold=2.0), 2), []
    for first in range(0, 60 * 48, 24):
        frames = range(max(first - 4, 0), first + 24)
        associator.add(frames, detections([[box(at) for at in range(0, 300, 60)]] * len(frames)), CATEGORIES)
        counts.append(len(associator.best))
    assert counts[:5] == [2, 2, 4, 4, 6] and counts[-1] == 100


def test_a_dumped_state_resumes_identically():
    windows = [([0, 1, 2], [[box(0), box(60)]] * 3), ([1, 2, 3], [[box(61), box(2)]] * 3), ([2, 3, 4], [[box(3)]] * 3)]
    whole, stopped = TrackAssociator(AssociationOptions(2, 1), 5), TrackAssociator(AssociationOptions(2, 1), 5)
    for frames, boxes in windows:
        ids = whole.add(frames, detections(boxes), CATEGORIES)
        resumed = TrackAssociator(AssociationOptions(2, 1), 5)
        resumed.load(stopped.dump())
        assert resumed.add(frames, detections(boxes), CATEGORIES) == ids
        assert resumed.dump() == whole.dump()
        stopped = resumed


def test_a_state_saved_by_an_earlier_version_is_read():
    """Field names as in the files of that version: an active track with one observation, and a finished one."""
    observation = {"box": [0.0, 0.0, 10.0, 10.0], "probabilities": b"\xff" * SIDE**2, "score": 0.9}
    track = {
        "id": 2,
        "frames": 2,
        "score_sum": 1.8,
        "votes": {5: 1.8},
        "feature": [1.0, 0.0],
        "looks": {1: observation},
    }
    ended = track | {"id": 1, "score_sum": 1.0, "votes": {9: 1.0}, "feature": [], "looks": {}}
    saved = {"length": 2, "born": 2, "keyframes": [1], "live": [track], "gone": [ended]}
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=1), 10)
    associator.load(msgspec.msgpack.encode(saved))
    assert msgspec.msgpack.decode(associator.dump()) == saved
    assert [(item.id, item.category_id) for item in associator.best] == [(2, 5), (1, 9)]
    assert associator.add([1, 2], detections([[box(90), box(0)]] * 2), CATEGORIES) == [3, 2]


def test_memory_is_bounded_over_many_windows():
    """Every window has ten objects that are in no other one."""
    associator = TrackAssociator(AssociationOptions(overlap=1, keyframes=2), 10)
    sizes = []
    for number in range(40):
        boxes = [[box(1000 * number + 20 * place) for place in range(10)]] * 4
        features = [[np.cos(at), np.sin(at)] for at in 0.3 * np.arange(10) + number]
        associator.add(range(3 * number, 3 * number + 4), detections(boxes, features=features), CATEGORIES)
        sizes.append(len(associator.dump()))
    assert len(associator.ids) <= MAX_ACTIVE + 10
    assert max(sizes[20:]) <= 1.05 * max(sizes[:20])
