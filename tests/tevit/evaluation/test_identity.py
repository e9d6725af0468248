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
from tevit.evaluation.identity import ALPHAS, IDENTITY_FIGURES, NUMBERS, Identity, Switch, measure_identity
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
    found = [prediction(1, 1, score, masks) for score, masks in results]
    return measure_identity(measured(folder, data_set({1: FRAMES}, [1], tracks, SIZE), found))


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
    width, height = rng.integers(4, 11, 2)
    x, y, step = rng.integers(0, 14), rng.integers(0, 10), rng.integers(-1, 2)
    places = np.clip(x + step * np.arange(length), 0, SIZE[1] - width)
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
    wanted = [metrics.HOTA(), metrics.CLEAR(quiet), metrics.Identity(quiet)]
    names = ["PRINT_RESULTS", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES"]
    settings = quiet | dict.fromkeys(names, False) | {"LOG_ON_ERROR": None}
    files = {"GT_FOLDER": f"{folder}/", "TRACKERS_FOLDER": f"{folder}/", "TRACKERS_TO_EVAL": ["ours"]}
    with contextlib.redirect_stdout(io.StringIO()):
        data = reference.datasets.YouTubeVIS(quiet | files | {"SPLIT_TO_EVAL": "val"})
        found = reference.Evaluator(settings).evaluate([data], wanted)[0]["YouTubeVIS"]["ours"]["COMBINED_SEQ"]
    by_class = {name: found[name] for name in (category["name"] for category in gt["categories"])}
    means = {
        metric.get_name(): metric.combine_classes_class_averaged(
            {name: value[metric.get_name()] for name, value in by_class.items()}, ignore_empty_classes=True
        )
        for metric in wanted
    }
    return by_class, found["cls_comb_det_av"], means


def differences(ours: Mapping[str, float], theirs: Mapping[str, Any]) -> Iterator[float]:
    for name, metric in TRACKEVAL.items():
        yield abs(ours[name] - float(np.mean(theirs[metric][THEIR_NAMES.get(name, name)])))


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
