"""Figures of parts of a data set and of samples of its videos."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.tevit.evaluation import literal, sets
from tests.tevit.evaluation.sets import annotation, data_set, prediction
from tevit.evaluation.api import differences, draw_weights, interval, intervals, resample
from tevit.evaluation.matching import FIGURES

SIZE = 40, 60


def square(x: int) -> np.ndarray:
    return sets.rectangle(*SIZE, x, 5, 10, 10)


def small() -> tuple[dict, list]:
    content = sets.recorded("eval_sets")["small"]
    return content["gt"], content["results"]


def test_the_parts_by_size_are_the_official_figures():
    evaluation = sets.evaluate(*small())
    by_size = evaluation.by_size()
    for name, part in zip(("APs", "APm", "APl"), ("small", "medium", "large"), strict=True):
        assert by_size[part].AP == evaluation.figures[name]
    assert by_size["all"].AR10 == evaluation.figures["AR10"]
    assert by_size["all"].truths == sum(not a["iscrowd"] for a in small()[0]["annotations"])


def test_tracks_count_in_the_range_of_their_own_length():
    lengths = {1: 16, 2: 17, 3: 32, 4: 33}
    truths = [annotation(v, v, 1, [square(5)] * n) for v, n in lengths.items()]
    results = [prediction(v, 1, 0.5, [square(5)] * n) for v, n in lengths.items() if v != 3]
    # A false positive of 20 frames: it harms the middle range alone.
    results.append(prediction(4, 1, 0.9, [square(40)] * 20 + [None] * 13))
    parts = sets.evaluate(data_set(lengths, [1], truths, SIZE), results).by_length()
    assert [part.truths for part in parts.values()] == [1, 2, 1]
    assert [part.AP for part in parts.values()] == pytest.approx([1, 0.5 * 51 / 101, 1])
    assert [part.AR10 for part in parts.values()] == [1, 0.5, 1]


@settings(max_examples=60, deadline=None)
@given(sets.random_sets())
def test_a_video_has_the_figures_of_the_data_set_that_it_alone_is(random_set):
    gt, results = random_set
    by_video = sets.evaluate(gt, results).by_video()
    for video in gt["videos"]:
        alone = dict(gt, videos=[video], annotations=[a for a in gt["annotations"] if a["video_id"] == video["id"]])
        stats = literal.evaluate(alone, [r for r in results if r["video_id"] == video["id"]]).stats
        part = by_video[video["id"]]
        figures = part.AP, part.AP50, part.AP75, part.AR1, part.AR10, part.AR100
        np.testing.assert_allclose(figures, stats[[0, 1, 2, 6, 7, 8]], rtol=0, atol=1e-12)


def test_frame_ious_of_a_pair():
    truth = annotation(7, 1, 1, [square(5), square(5), None, None])
    results = [
        prediction(1, 1, 0.9, [square(5), square(10), square(5), None, None]),
        prediction(2, 1, 0.9, [square(5)]),
    ]
    evaluation = sets.evaluate(data_set({1: 4, 2: 1}, [1], [truth], SIZE), results)
    np.testing.assert_allclose(evaluation.frame_ious(1, 7), [1, 1 / 3, 0, np.nan])
    with pytest.raises(ValueError, match="different videos"):
        evaluation.frame_ious(2, 7)
    with pytest.raises(ValueError, match="no annotation 8"):
        evaluation.frame_ious(1, 8)


@settings(max_examples=60, deadline=None)
@given(sets.random_sets(official_only=False))
def test_a_sample_has_the_figures_of_the_videos_that_it_repeats(random_set):
    """Against the literal version on a data set in which each video stands as often as the sample says."""
    gt, results = random_set
    results = [dict(r, score=r["score"] + i * 1e-6) for i, r in enumerate(results)]  # copies of a track stand together
    evaluation = sets.evaluate(gt, results)
    order = sorted(video["id"] for video in gt["videos"])
    weights = draw_weights(len(order), 3, seed=len(results))
    samples = resample(evaluation.overlaps, evaluation.matches, weights)
    for i, sample in enumerate(weights):
        repeated_gt, repeated_results = repeat(gt, results, dict(zip(order, sample.tolist(), strict=True)))
        expected = [np.nan if value < 0 else value for value in literal.evaluate(repeated_gt, repeated_results).stats]
        np.testing.assert_allclose([samples[name][i] for name in FIGURES], expected, rtol=0, atol=1e-12)


def repeat(gt: dict, results: list, times: dict[int, int]) -> tuple[dict, list]:
    """Copies get ids 100 apart: equal scores then stand in the order of the videos, copies side by side."""
    copies = [(id * 100 + copy, id) for id, count in times.items() for copy in range(count)]
    videos = {video["id"]: video for video in gt["videos"]}
    annotations = [dict(a, video_id=new) for new, old in copies for a in gt["annotations"] if a["video_id"] == old]
    for id, item in enumerate(annotations, start=1):
        item["id"] = id
    repeated_results = [dict(r, video_id=new) for new, old in copies for r in results if r["video_id"] == old]
    listed = [dict(videos[old], id=new) for new, old in copies]
    return dict(gt, videos=listed, annotations=annotations), repeated_results


def test_an_interval_is_the_spread_of_the_samples_round_the_figure():
    samples = np.array([0.5, 0.6, 0.7, np.nan])
    limits = interval(0.4, samples)
    assert limits is not None
    assert (limits.low, limits.high) == pytest.approx((0.305, 0.495))
    assert interval(-1, np.array([np.nan])) is None


def test_intervals_hold_their_figures():
    evaluation = sets.evaluate(**medium())
    weights = draw_weights(len(evaluation.overlaps.inputs.videos), 200)
    limits = intervals(evaluation.figures, resample(evaluation.overlaps, evaluation.matches, weights))
    for name, value in evaluation.figures.items():
        spread = limits[name]
        assert spread is not None
        assert 0 <= spread.low < value < spread.high <= 1
    assert limits["AP"] is not None
    assert 0.02 < limits["AP"].high - limits["AP"].low < 0.4


def medium() -> dict:
    content = sets.recorded("eval_medium")["medium"]
    return {"gt": content["gt"], "results": content["results"]}


def test_a_difference_is_paired():
    """A model against itself with one class spoilt: the samples agree on all that is common."""
    gt, results = medium()["gt"], medium()["results"]
    better = sets.evaluate(gt, results)
    worse = sets.evaluate(gt, [r for i, r in enumerate(results) if i % 10])
    weights = draw_weights(len(gt["videos"]), 200)
    samples = [resample(e.overlaps, e.matches, weights) for e in (better, worse)]
    difference = differences(better.figures, samples[0], worse.figures, samples[1])["AP"]
    alone = intervals(better.figures, samples[0])["AP"]
    assert difference is not None
    assert alone is not None
    assert difference.low < better.figures["AP"] - worse.figures["AP"] < difference.high
    assert difference.high - difference.low < 0.7 * (alone.high - alone.low)
    same = differences(better.figures, samples[0], better.figures, samples[0])["AP"]
    assert same is not None
    assert (same.low, same.high) == (0, 0)


def test_samples_repeat_with_their_seed():
    assert (draw_weights(9, 5, 1) == draw_weights(9, 5, 1)).all()
    assert (draw_weights(9, 5, 1) != draw_weights(9, 5, 2)).any()
    assert (draw_weights(9, 5, 1).sum(axis=1) == 9).all()
