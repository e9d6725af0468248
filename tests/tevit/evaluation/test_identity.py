"""HOTA, IDF1, switches and fragments: small sets for each case, and equality with TrackEval on random sets."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tevit.evaluation import sets
from tests.tevit.evaluation.sets import annotation, data_set, prediction
from tevit.evaluation.api import evaluate
from tevit.evaluation.identity import (
    IDENTITY_FIGURES,
    NUMBERS,
    Identity,
    Switch,
    measure_identity,
    video_events,
)
from tevit.evaluation.inputs import read_inputs
from tevit.evaluation.overlaps import Overlaps, compute_overlaps, filter_scores

SIZE, FRAMES = (20, 24), 6
TRACKEVAL = {
    **dict.fromkeys(IDENTITY_FIGURES["hota"], "HOTA"),
    **dict.fromkeys(("IDF1", "IDP", "IDR"), "Identity"),
    **dict.fromkeys(NUMBERS, "CLEAR"),
}
THEIR_NAMES = {"switches": "IDSW", "fragments": "Frag"}


def measured(folder: Path, gt: dict, results: list, agnostic: bool = False) -> Overlaps:
    return compute_overlaps(read_inputs(*sets.write(folder, gt, results)), agnostic, all_pairs=True)


def whole(folder: Path, truths: list[list], results: list[tuple[float, list]]) -> Identity:
    """One video, one class."""
    tracks = [annotation(i, 1, 1, masks) for i, masks in enumerate(truths, start=1)]
    predictions = [prediction(1, 1, score, masks) for score, masks in results]
    return measure_identity(measured(folder, data_set({1: FRAMES}, [1], tracks, SIZE), predictions))


def square(x: int, y: int = 2, side: int = 6) -> np.ndarray:
    return sets.rectangle(*SIZE, x, y, side, side)


LEFT, RIGHT = [square(1)] * FRAMES, [square(14)] * FRAMES


# --- equality with TrackEval


def random_set(seed: int) -> tuple[dict, list]:
    """Moving rectangles; predictions with gaps, swapped identities, duplicates, wrong classes, and some on nothing."""
    rng = np.random.default_rng(seed)
    lengths = {id: int(rng.integers(1, 13)) for id in range(1, int(rng.integers(2, 5)))}
    annotations, results = [], []
    for video, length in lengths.items():
        tracks = [_moving(rng, length) for _ in range(rng.integers(0, 5))]
        kinds = rng.integers(1, 4, len(tracks)).tolist()
        for kind, masks in zip(kinds, tracks, strict=True):
            crowd = int(rng.random() < 0.1)
            annotations.append(annotation(len(annotations) + 1, video, kind, masks, crowd))
        for kind, masks in zip(kinds, tracks, strict=True):
            for _ in range(rng.integers(0, 3)):
                other = tracks[rng.integers(len(tracks))] if rng.random() < 0.4 else masks
                cut = int(rng.integers(0, length + 1))
                own = [_disturbed(rng, mask) for mask in masks[:cut] + other[cut:]]
                category = int(rng.integers(1, 4)) if rng.random() < 0.15 else kind
                results.append(prediction(video, category, round(float(rng.random()), 1), own))
        for _ in range(rng.integers(0, 3)):
            results.append(prediction(video, int(rng.integers(1, 4)), float(rng.random()), _moving(rng, length)))
    order = rng.permutation(len(results))
    return data_set(lengths, [1, 2, 3, 4], annotations, SIZE), [results[i] for i in order]


def _moving(rng: np.random.Generator, length: int) -> list[np.ndarray | None]:
    width, height = rng.integers(4, 11, 2).tolist()
    x, y, step = int(rng.integers(0, 14)), int(rng.integers(0, 10)), int(rng.integers(-1, 2))
    places = np.clip(x + step * np.arange(length), 0, SIZE[1] - width).tolist()
    return [None if rng.random() < 0.2 else sets.rectangle(*SIZE, place, y, width, height) for place in places]


def _disturbed(rng: np.random.Generator, mask: np.ndarray | None) -> np.ndarray | None:
    return None if mask is None or rng.random() < 0.15 else np.roll(mask, rng.integers(-1, 2, 2), (0, 1))


def trackeval(folder: Path, gt: dict, results: list) -> tuple[Any, Any, Any]:
    """Its figures of all classes, and those of the classes combined by detections and averaged over those not empty."""
    reference = pytest.importorskip("trackeval", reason="the reference trackeval is not installed")
    sizes = {video["id"]: video for video in gt["videos"]}
    for track in gt["annotations"]:  # its reader takes the size from there
        track |= {name: sizes[track["video_id"]][name] for name in ("height", "width")}
    for path, content in (("youtube_vis_val/gt.json", gt), ("youtube_vis_val/ours/data/results.json", results)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    quiet = {"PRINT_CONFIG": False}
    metrics = reference.metrics
    reference_metrics = [metrics.HOTA(), metrics.CLEAR(quiet), metrics.Identity(quiet)]
    names = ["PRINT_RESULTS", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES"]
    settings = quiet | dict.fromkeys(names, False) | {"LOG_ON_ERROR": None}
    files = {"GT_FOLDER": f"{folder}/", "TRACKERS_FOLDER": f"{folder}/", "TRACKERS_TO_EVAL": ["ours"]}
    with contextlib.redirect_stdout(io.StringIO()):
        data = reference.datasets.YouTubeVIS(quiet | files | {"SPLIT_TO_EVAL": "val"})
        scores = reference.Evaluator(settings).evaluate([data], reference_metrics)[0]["YouTubeVIS"]["ours"][
            "COMBINED_SEQ"
        ]
    by_class = {name: scores[name] for name in (category["name"] for category in gt["categories"])}
    means = {
        metric.get_name(): metric.combine_classes_class_averaged(
            {name: value[metric.get_name()] for name, value in by_class.items()}, ignore_empty_classes=True
        )
        for metric in reference_metrics
    }
    return by_class, scores["cls_comb_det_av"], means


def differences(ours: Mapping[str, float], theirs: Mapping[str, Any]) -> Iterator[float]:
    for name, value in ours.items():
        yield abs(value - float(np.mean(theirs[TRACKEVAL[name]][THEIR_NAMES.get(name, name)])))


@pytest.mark.parametrize("chunk", range(4))
@pytest.mark.filterwarnings("ignore::RuntimeWarning:trackeval", "ignore::RuntimeWarning:numpy")
def test_all_figures_equal_those_of_trackeval_on_random_sets(tmp_path: Path, chunk: int):
    for seed in range(chunk, 60, 4):
        gt, results = random_set(seed)
        ours = measure_identity(measured(tmp_path, gt, results))
        by_class, combined, means = trackeval(tmp_path, gt, results)
        for k, theirs in enumerate(by_class.values()):
            if ours.per_class[k]["HOTA"] >= 0:
                assert max(differences(ours.per_class[k], theirs)) < 1e-9, (seed, k)
            else:
                assert theirs["HOTA"]["HOTA_FN"].sum() == theirs["HOTA"]["HOTA_FP"].sum() == 0
        assert max(differences(ours.figures, combined)) < 1e-9, seed
        if ours.class_means["HOTA"] >= 0:
            assert max(differences(ours.class_means, means)) < 1e-9, seed


# --- what the figures say


def test_tracks_that_swap_identities_are_detected_but_not_associated(tmp_path: Path):
    swapped = [LEFT[:3] + RIGHT[3:], RIGHT[:3] + LEFT[3:]]
    actual = whole(tmp_path, [LEFT, RIGHT], [(0.9, swapped[0]), (0.8, swapped[1])])
    # Each detection's pair of tracks has 3 frames in common, of 6 + 6 - 3.
    expected = {"HOTA": (1 / 3) ** 0.5, "DetA": 1, "AssA": 1 / 3, "LocA": 1, "IDF1": 0.5, "IDP": 0.5, "IDR": 0.5}
    assert actual.figures == pytest.approx(expected | {"switches": 2, "fragments": 0})
    assert actual.switches[0] == [Switch(3, 0, 0, 1), Switch(3, 1, 1, 0)]
    assert actual.per_video[0] == actual.per_class[0] == actual.figures


def test_a_track_that_is_lost_and_found_is_a_fragment_without_a_switch(tmp_path: Path):
    actual = whole(tmp_path, [LEFT], [(0.9, [*LEFT[:2], None, None, *LEFT[4:]])]).figures
    assert (actual["fragments"], actual["switches"]) == (0, 0)  # without any prediction in a frame nothing changes
    actual = whole(tmp_path, [LEFT], [(0.9, [*LEFT[:2], None, None, *LEFT[4:]]), (0.5, RIGHT)]).figures
    assert (actual["fragments"], actual["switches"]) == (1, 0)


def test_events_of_the_videos_are_those_of_the_figures(tmp_path: Path):
    counted = 0
    for seed in range(20):
        overlaps = measured(tmp_path, *random_set(seed))
        actual, events = measure_identity(overlaps), [video_events(overlaps, pairs) for pairs in overlaps.pairs]
        assert sum(len(fragments) for _, fragments in events) == actual.figures["fragments"]
        assert [switches for switches, _ in events] == [actual.switches[pairs.video] for pairs in overlaps.pairs]
        counted += actual.figures["fragments"] > 0 < actual.figures["switches"]
    assert counted > 3, "sets with both"


def test_a_matched_prediction_is_kept_although_another_becomes_better(tmp_path: Path):
    near = [square(2)] * FRAMES  # IoU 5/7
    actual = whole(tmp_path, [LEFT], [(0.9, near), (0.8, [None] * 3 + LEFT[3:])])
    assert actual.figures["switches"] == 0
    actual = whole(tmp_path, [LEFT], [(0.9, near[:3] + [None] * 3), (0.8, [None] * 3 + LEFT[3:])])
    assert actual.figures["switches"] == 1


def test_a_mask_without_pixels_is_no_detection(tmp_path: Path):
    empty = np.zeros(SIZE, np.uint8)
    with_empty = whole(tmp_path, [[*LEFT[:4], empty, None]], [(0.9, [*LEFT[:4], empty, empty])])
    assert with_empty.figures["HOTA"] == with_empty.figures["IDF1"] == 1


def test_frames_behind_the_end_of_the_video_do_not_count(tmp_path: Path):
    longer = whole(tmp_path, [LEFT], [(0.9, LEFT + LEFT)])
    assert longer.figures["HOTA"] == 1


def test_a_class_of_predictions_alone_has_0_and_one_without_detections_has_minus_1(tmp_path: Path):
    gt = data_set({1: FRAMES}, [1, 2, 3], [annotation(1, 1, 1, LEFT)], SIZE)
    results = [prediction(1, 1, 0.9, LEFT), prediction(1, 2, 0.9, RIGHT)]
    actual = measure_identity(measured(tmp_path, gt, results))
    assert [actual.per_class[k]["HOTA"] for k in range(3)] == [1, 0, -1]
    assert [actual.per_class[k]["LocA"] for k in range(3)] == [1, 1, -1]
    assert actual.per_class[2]["switches"] == 0
    assert actual.class_means["HOTA"] == 0.5
    assert actual.figures["HOTA"] == pytest.approx(0.5**0.5)


def test_pooled_classes_are_one_class(tmp_path: Path):
    gt = data_set({1: FRAMES}, [1, 2], [annotation(1, 1, 1, LEFT)], SIZE)
    actual = measure_identity(measured(tmp_path, gt, [prediction(1, 2, 0.9, LEFT)], agnostic=True))
    assert list(actual.per_class) == [0] and actual.figures["HOTA"] == 1


# --- over the score


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_has_the_figures_of_each_score_threshold(tmp_path: Path, seed: int):
    overlaps = measured(tmp_path, *random_set(seed))
    actual = measure_identity(overlaps)
    for k, threshold in enumerate(actual.thresholds):
        own = measure_identity(filter_scores(overlaps, threshold)).figures
        assert own == pytest.approx({name: values[k] for name, values in actual.curve.items()}), threshold
    threshold, figure = actual.best()
    assert figure == actual.curve["HOTA"].max()
    assert actual.thresholds[0] == overlaps.inputs.predictions.scores.min() or len(actual.thresholds) == 1
    assert measure_identity(filter_scores(overlaps, threshold)).figures["HOTA"] == pytest.approx(figure)


def test_the_best_threshold_leaves_a_wrong_prediction_out(tmp_path: Path):
    actual = whole(tmp_path, [LEFT], [(0.7, LEFT), (0.2, RIGHT)])
    assert actual.best() == (0.7, 1.0)
    assert actual.thresholds.tolist() == [0.2, 0.7]
    assert actual.curve["HOTA"] == pytest.approx([0.5**0.5, 1])


def test_processes_that_share_the_work_get_the_same(tmp_path: Path):
    gt, results = random_set(7)
    copies = [{**video, "id": 100 * k + video["id"]} for k in range(8) for video in gt["videos"]]
    tracks = [{**track, "video_id": 100 * k + track["video_id"]} for k in range(8) for track in gt["annotations"]]
    tracks = [{**track, "id": id} for id, track in enumerate(tracks, start=1)]
    actual = [{**item, "video_id": 100 * k + item["video_id"]} for k in range(8) for item in results]
    overlaps = measured(tmp_path, {**gt, "videos": copies, "annotations": tracks}, actual)
    assert len(copies) >= 16  # fewer are measured in one process
    alone, shared = measure_identity(overlaps), measure_identity(overlaps, processes=2)
    assert alone.figures == shared.figures and alone.switches == shared.switches


# --- evaluate


def test_evaluate_has_the_figures_of_the_metrics_it_was_called_with(tmp_path: Path):
    files = sets.write(tmp_path, *random_set(3))
    plain, both = evaluate(*files), evaluate(*files, metrics="hota,id", score_threshold=0.4)
    assert plain.identity is None and "HOTA" not in plain.figures
    for name in (*IDENTITY_FIGURES["hota"], *IDENTITY_FIGURES["id"]):
        assert both.identity and both.figures[name] == both.identity.figures[name]
        assert both.per_class[2][name] == both.identity.per_class[1][name]
    cut = filter_scores(measured(tmp_path, *random_set(3)), 0.4)
    assert both.figures["HOTA"] == measure_identity(cut).figures["HOTA"]
    assert "IDF1" not in evaluate(*files, metrics=["hota"]).figures
    assert evaluate(*files, metrics="ap").figures == plain.figures


def test_an_unknown_metric_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="metrics: expected names of ap, hota, id, got hotta"):
        evaluate(*sets.write(tmp_path, *random_set(3)), metrics="hotta,id")


def test_overlaps_of_one_class_each_are_not_enough(tmp_path: Path):
    overlaps = compute_overlaps(read_inputs(*sets.write(tmp_path, *random_set(3))))
    with pytest.raises(ValueError, match="all_pairs=True"):
        measure_identity(overlaps)
