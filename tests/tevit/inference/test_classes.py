"""Classes of a model and of a data set are matched by name."""

import json

import numpy as np
import pytest

from tevit.inference.dataset import match_classes
from tevit.io.categories import read_class_map
from tevit.masks import ops
from tevit.results import Track, VideoResult

MODEL = {1: "disc", 2: "earless seal", 3: "Giant_Panda"}


def result(*categories: int) -> VideoResult:
    rle = ops.encode(np.ones((2, 3), np.uint8))
    tracks = tuple(
        Track(n, category, 0.5, (rle,), ops.to_boxes_xyxy([rle]), ops.areas([rle]))
        for n, category in enumerate(categories, 1)
    )
    return VideoResult(1, "v", (2, 3), np.zeros(1), MODEL, tracks)


@pytest.mark.parametrize(
    ("dataset", "ids", "notes"),
    [
        (MODEL, {1: 1, 2: 2, 3: 3}, []),
        (
            {4: "Disc", 100: "earless_seal", 7: "giant panda"},
            {1: 4, 2: 100, 3: 7},
            ["classes are matched by name, not by number: disc 1 -> 4, earless seal 2 -> 100, Giant_Panda 3 -> 7"],
        ),
        (
            {1: "giant-panda", 3: "zebra"},
            {3: 1, 2: 2},
            [
                "classes are matched by name, not by number: Giant_Panda 3 -> 1",
                "classes of the model left out, since their numbers are other classes of the data set: disc",
                "classes of the model that the data set does not have: earless seal",
                "classes of the data set that the model does not have: zebra",
            ],
        ),
        (
            {2: "2", 9: "9"},
            {1: 1, 2: 2, 3: 3},
            [
                "no class of the model has a name of the data set (disc, earless seal, Giant_Panda against 2, 9): "
                "classes are matched by number, 1 of 3 agree"
            ],
        ),
    ],
)
def test_classes_are_matched_by_name(dataset, ids, notes):
    mapped = match_classes(MODEL, dataset)
    assert mapped.ids == ids and list(mapped.notes) == notes
    tracks = mapped.apply(result(1, 2, 3, 2)).tracks
    assert [(track.id, track.category_id) for track in tracks] == [
        (n, ids[category]) for n, category in enumerate((1, 2, 3, 2), 1) if category in ids
    ]
    assert mapped.apply(result()).categories.items() >= dataset.items()


def test_names_that_differ_in_case_alone_are_told_apart_or_named():
    dataset = {4: "Disc", 7: "disc", 9: "earless-seal"}
    mapped = match_classes(MODEL, dataset)
    assert mapped.ids[1] == 7 and mapped.ids[2] == 9  # written the same; folded
    assert "classes of the data set with one name, of which only one is written: Disc 4, disc 7" in mapped.notes
    assert match_classes({1: "DISC"}, dataset).ids == {1: 4}  # none is written the same: the first
    mapped = match_classes({1: "disc", 2: "Disc"}, {5: "disc"})
    assert mapped.ids == {1: 5, 2: 5}
    assert "classes of the model with one name, which become one class: disc 1, Disc 2" in mapped.notes


def test_a_class_map_overrides_names(tmp_path):
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"Disc": "wheel", "earless seal": 8}))
    mapped = match_classes(MODEL, {5: "wheel", 8: "animal", 9: "disc"}, read_class_map(file))
    assert mapped.ids == {1: 5, 2: 8, 3: 3}
    assert "classes of other names, by the class map: disc as wheel, earless seal as animal" in mapped.notes
    with pytest.raises(ValueError, match="the model has no class 'cat'; it has disc, earless seal, Giant_Panda"):
        match_classes(MODEL, {5: "wheel"}, {"cat": "wheel"})
    with pytest.raises(ValueError, match="the data set has no class 6; it has wheel"):
        match_classes(MODEL, {5: "wheel"}, {"disc": 6})
    file.write_text("[1]")
    with pytest.raises(ValueError, match="expected object, got array"):
        read_class_map(file)
