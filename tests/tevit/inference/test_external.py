"""Models that are not TeViT's: what they may return, what is refused with which sentence, and what becomes of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.fakes import squares, write_frames
from tevit.inference import external
from tevit.inference.external import CategoryIds, ExternalPredictor, Instance, read_output
from tevit.masks import ops
from tevit.progress import Cancelled, ResumeState
from tevit.video.reader import open_video

SIZE = (32, 48)
PATHS = [lambda t: (2 + t // 2, 4), lambda t: (30, 16) if t % 3 else None]


@pytest.fixture(scope="session")
def video(tmp_path_factory):
    """60 frames: a red square that moves, a green one that is there in two frames of three."""
    return open_video(write_frames(tmp_path_factory.mktemp("external") / "clip", squares(60, SIZE, PATHS)))


class Colours:
    """Finds the squares; red is "thing", with a rising score, green is "other"."""

    classes = ("thing", "other")

    def __init__(self) -> None:
        self.closed = 0

    def predict(self, frames: Iterator[np.ndarray]) -> Iterator[dict[int, Instance]]:
        try:
            for count, frame in enumerate(frames):
                masks = {id: frame[..., id] > 128 for id in (0, 1)}
                yield {id: Instance(self.classes[id], 0.5 + count / 200, mask) for id, mask in masks.items()}
        finally:
            self.closed += 1


def predictor(predict, **attributes) -> ExternalPredictor:
    model: Any = type("Model", (), {"predict": staticmethod(predict), **attributes})()
    return ExternalPredictor(model, "my_model")


def test_tracks_have_the_masks_of_the_model_and_the_mean_score(video):
    result = ExternalPredictor(Colours(), "colours")(video)
    assert result.categories == {1: "thing", 2: "other"} and result.length == 60
    first, second = sorted(result.tracks, key=lambda track: track.id)
    assert [track.category_id for track in (first, second)] == [1, 2]
    assert first.present.all() and second.present.sum() == 40
    for t, frame in enumerate(video.frames()):
        rle = first.rles[t]
        assert rle is not None and np.array_equal(ops.decode(rle), frame.rgb[..., 0] > 128)
    assert first.score == pytest.approx(np.mean([0.5 + t / 200 for t in range(60)]))
    present = [t for t in range(60) if t % 3]
    assert second.score == pytest.approx(np.mean([0.5 + t / 200 for t in present]))
    scores = second.frame_scores
    assert scores is not None and np.isnan(scores[0]) and scores[1] == pytest.approx(0.505)
    assert second.boxes_xyxy[1].tolist() == [30, 16, 42, 28] and np.isnan(second.boxes_xyxy[0]).all()


def test_the_class_is_that_of_the_highest_summed_score(video):
    def predict(frames):
        for count, _ in enumerate(frames):
            name, score = ("rare", 0.9) if count % 10 == 0 else ("usual", 0.2)
            yield {7: Instance(name, score, np.ones(SIZE, bool))}

    result = predictor(predict)(video)
    assert result.categories == {1: "rare", 2: "usual"}
    assert result.tracks[0].category_id == 2 and result.tracks[0].score == pytest.approx((6 * 0.9 + 54 * 0.2) / 60)


def test_late_results_belong_to_their_frames(video):
    def late(frames):
        waiting = []
        for frame in frames:
            waiting.append({1: Instance("red", 1.0, frame[..., 0] > 128)})
            if len(waiting) > 5:
                yield waiting.pop(0)
        yield from waiting

    def whole(frames):
        return [{1: Instance("red", 1.0, frame[..., 0] > 128)} for frame in list(frames)]

    expected = ExternalPredictor(Colours(), "colours")(video).tracks
    red = next(track for track in expected if track.id == 0)
    for model in (predictor(late, delay=5), predictor(late), predictor(whole)):
        assert model(video).tracks[0].rles == red.rles


def test_run_lengths_are_accepted_and_checked():
    mask = np.zeros(SIZE, np.uint8)
    mask[3:9, 5:20] = 1
    rle = ops.encode(mask)
    runs = {
        "size": list(SIZE),
        "counts": np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0)), prepend=0).tolist(),
    }
    runs["counts"].append(mask.size - sum(runs["counts"]))
    for form in (mask, mask.astype(bool), rle, ops.to_json(rle), runs):
        assert read_output({3: Instance(0, 1, form)}, SIZE, CategoryIds(["a"])) == [(3, 1, 1.0, rle)]
    assert read_output({3: Instance(0, 1, mask * 0)}, SIZE, CategoryIds(["a"])) == []
    with pytest.raises(ValueError, match="track 3: expected a mask of"):
        read_output({3: Instance(0, 1, {**rle, "size": [48, 32]})}, SIZE, CategoryIds(["a"]))


@pytest.mark.parametrize(
    ("instance", "sentence"),
    [
        (Instance("a", 1.5, np.ones(SIZE, bool)), "track 4: expected a score from 0 to 1, got 1.5"),
        (Instance("a", float("nan"), np.ones(SIZE, bool)), "track 4: expected a score from 0 to 1, got nan"),
        (Instance("dog", 1, np.ones(SIZE, bool)), "track 4: the model has no class 'dog'; its classes are a, b"),
        (Instance(2, 1, np.ones(SIZE, bool)), "track 4: expected a class id of 0 to 1, got 2"),
        (
            Instance("a", 1, np.ones((32, 47), bool)),
            r"track 4: expected a mask of the frame's size \(32, 48\), got \(32, 47\)",
        ),
        (
            Instance("a", 1, np.ones(SIZE)),
            "track 4: expected a mask of bool or uint8, or an RLE, got an array of float64",
        ),
        ((1, 2, 3), "track 4: expected a whole number as track id and an Instance with category, score and mask"),
    ],
)
def test_a_wrong_instance_is_refused_with_a_sentence(instance, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_output({4: instance}, SIZE, CategoryIds(["a", "b"]))


def test_a_wrong_output_names_the_frame(video):
    def predict(frames):
        for count, frame in enumerate(frames):
            yield {1: Instance("a", 1, frame[: 16 if count == 7 else None, :, 0] > 0)} if count != 9 else None

    with pytest.raises(ValueError, match=r"my_model: frame 7, track 1: expected a mask of the frame's size"):
        predictor(predict)(video)


@pytest.mark.parametrize(
    ("predict", "sentence"),
    [
        (lambda frames: iter([{}]), "it returned 1 results for 0 frames"),
        (lambda frames: ({} for _ in zip(range(10), frames, strict=False)), "ended after the results of 10 frames"),
        (
            lambda frames: ({} for _ in list(frames)[:-1]),
            "ended after the results of 59 frames, the video has at least 60",
        ),
        (lambda frames: ({} for _ in [*list(frames), 1]), "it returned 61 results for 60 frames"),
        (
            lambda frames: (1 / 0 for _ in frames),
            r"division by zero \(ZeroDivisionError in test_external.py, line \d+\)",
        ),
        (lambda frames: None, r"not iterable \(TypeError"),
    ],
)
def test_a_model_that_breaks_the_interface_is_refused_with_a_sentence(video, predict, sentence):
    with pytest.raises(ValueError, match=f"my_model: .*{sentence}"):
        predictor(predict)(video)


def test_a_model_that_is_later_than_it_says_is_refused(video):
    def predict(frames):
        for _ in list(frames):
            yield {}

    with pytest.raises(
        ValueError, match=r"at most 3 frames late \(its delay\): frame 4 was requested before the result of"
    ):
        predictor(predict, delay=3)(video)


def test_a_model_that_catches_a_cancel_is_stopped_all_the_same(video):
    def predict(frames):
        while True:
            try:
                next(frames)
            except BaseException:
                pass
            yield {}

    def progress(stage, done, total):
        if done == 5:
            raise Cancelled

    with pytest.raises(Cancelled):
        predictor(predict)(video, progress=progress)


def test_cancel_closes_the_generator_and_resume_continues(video):
    model, resume = Colours(), ResumeState()
    runner = ExternalPredictor(model, "colours")

    def progress(stage, done, total):
        if done == 40 and not model.closed:
            raise Cancelled

    parts = []
    with pytest.raises(Cancelled):
        for part in runner.stream(video, progress=progress, resume=resume):
            parts.append(part)
    assert model.closed == 1 and [part.length for part in parts] == [24] and resume.length == 24
    *_, resumed = runner.stream(video, progress=progress, resume=resume)
    whole = runner(video)
    for a, b in zip(resumed.tracks, whole.tracks, strict=True):
        assert (a.id, a.score, a.rles) == (b.id, b.score, b.rles)


def test_the_best_tracks_are_returned(video):
    def predict(frames):
        for count, _ in enumerate(frames):
            yield {id: Instance("a", id / 10, np.ones(SIZE, bool)) for id in range(1, 6) if id < 5 or count < 2}

    assert [track.id for track in predictor(predict)(video, max_tracks=2).tracks] == [4, 3]
    result = predictor(predict)(video, max_tracks=9, score_threshold=0.25)
    assert [track.id for track in result.tracks] == [5, 4, 3]


def test_known_tracks_are_bounded(video, monkeypatch):
    monkeypatch.setattr(external, "MAX_KNOWN", 10)

    def predict(frames):
        for count, _ in enumerate(frames):
            yield {count: Instance("a", 0.1, np.ones(SIZE, bool)), 1000: Instance("a", 0.2, np.ones(SIZE, bool))}

    tracks = predictor(predict)(video, max_tracks=100).tracks
    assert len(tracks) == 10 and tracks[0].id == 1000 and tracks[0].present.all()


def test_names_without_classes_are_numbered_and_ids_kept():
    ids = CategoryIds(None)
    assert [ids.id_of(name) for name in ("dog", "cat", "Dog")] == [1, 2, 1] and not ids.numbered
    with pytest.raises(ValueError, match="expected class names in all instances or ids in all, got 3"):
        ids.id_of(3)
    numbers = CategoryIds(None)
    assert numbers.id_of(17) == 17 and numbers.names == {17: "class 17"} and numbers.numbered
    with pytest.raises(ValueError, match="expected class names in all"):
        numbers.id_of("dog")
    wrong: Any
    for wrong in ("dog", [1, 2]):
        with pytest.raises(ValueError, match="classes: expected a list of names or a mapping"):
            CategoryIds(wrong)


def test_detections_of_supervision_are_read():
    from supervision import Detections

    masks = np.zeros((3, *SIZE), bool)
    for index in range(3):
        masks[index, 2 : 6 + index, 3:9] = True
    facts: dict[str, Any] = {
        "xyxy": np.array([[3, 2, 9, 6 + index] for index in range(3)], float),
        "mask": masks,
        "confidence": np.array([0.5, 0.75, 0.25]),
        "class_id": np.array([1, 0, 1]),
    }
    numbered = Detections(**facts, tracker_id=np.array([7, 8, -1]))  # -1: not confirmed by the tracker
    expected = [(7, 2, 0.5, ops.encode(masks[0])), (8, 1, 0.75, ops.encode(masks[1]))]
    assert read_output(numbered, SIZE, CategoryIds(["a", "b"])) == expected
    names: dict[str, Any] = {"class_name": np.array(["b", "a", "b"])}
    unnumbered: dict[str, Any] = {**facts, "class_id": None}
    named = Detections(**unnumbered, tracker_id=np.array([7, 8, -1]), data=names)
    assert read_output(named, SIZE, CategoryIds(["a", "b"])) == expected
    assert read_output(Detections.empty(), SIZE, CategoryIds(None)) == []
    with pytest.raises(ValueError, match="Detections of 3 objects: expected tracker_id to be set, got None"):
        read_output(Detections(**facts), SIZE, CategoryIds(["a", "b"]))


@pytest.mark.parametrize(
    ("id", "mask", "sentence"),
    [
        (1, {"counts": [9]}, "track 1: expected an RLE with size and counts, got one with counts"),
        (1, {}, "track 1: expected an RLE with size and counts, got one with neither"),
        (2**70, np.ones((4, 5), bool), f"track {2**70}: expected a track id of at most 64 bits"),
    ],
)
def test_incomplete_masks_and_huge_ids_are_named(id, mask, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        read_output({id: Instance("a", 0.5, mask)}, (4, 5), CategoryIds(None))
