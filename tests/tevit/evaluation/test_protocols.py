"""Files of other benchmarks, by their documented layouts, evaluated: LV-VIS, BURST, SA-Co/VEval."""

import json
from pathlib import Path

import pytest

from tests.tevit.evaluation import sets
from tevit.cli import main as cli
from tevit.evaluation.api import evaluate

SIZE, FRAMES = (12, 15), 3
MASKS = [sets.rectangle(*SIZE, 2 + t, 3, 5, 6) for t in range(FRAMES)]
OTHER = [sets.rectangle(*SIZE, 3 + t, 3, 5, 6) for t in range(FRAMES)]  # IoU 2/3 with MASKS
METRICS = {"AP50": 1, "HOTA": (13 / 19), "IDF1": 1, "switches": 0}
"""Of OTHER against MASKS: 13 of HOTA's thresholds are up to 0.65."""


def texts(masks: list) -> list[dict | None]:
    return [sets.text(mask) for mask in masks]


def save(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def test_saco_veval(tmp_path: Path):
    """Noun phrases are the categories; sizes stand in each annotation, compressed text in the labels, too; a phrase
    may have no masklets; results state boxes and areas, and have masks without pixels where the object is absent."""
    names = [f"sav_000001/{4 * t:05d}.jpg" for t in range(FRAMES)]
    size = {"height": SIZE[0], "width": SIZE[1]}
    truth = {
        "info": {"version": "v1", "date": "2025-09-24", "description": "SA-Co/VEval"},
        "videos": [{"id": 0, "video_name": "sav_000001", "file_names": names, **size, "length": FRAMES}],
        "annotations": [
            {
                "id": 7,
                "segmentations": [*texts(MASKS[:2]), None],
                "bboxes": [[2, 3, 5, 6], [3, 3, 5, 6], None],
                "areas": [30, 30, None],
                "iscrowd": 0,
                "video_id": 0,
                **size,
                "category_id": 1390,
                "noun_phrase": "a braid",
            }
        ],
        "categories": [{"id": 1390, "name": "a braid"}, {"id": 50554, "name": "thick gold chain"}],
        "video_np_pairs": [
            {"id": 977, "video_id": 0, "category_id": 1390, "noun_phrase": "a braid", "num_masklets": 1},
            {"id": 123, "video_id": 0, "category_id": 50554, "noun_phrase": "thick gold chain", "num_masklets": 0},
        ],
    }
    empty = {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}
    result = {
        "video_id": 0,
        "category_id": 1390,
        "bboxes": [[3, 3, 5, 6], [4, 3, 5, 6], [0, 0, 0, 0]],
        "score": 0.7,
        "segmentations": [*texts(OTHER[:2]), sets.text(sets.rectangle(*SIZE, 0, 0, 0, 0)) or empty],
        "areas": [30, 30, 0],
    }
    files = save(tmp_path, "gt.json", truth), save(tmp_path, "results.json", [result])
    output = evaluate(*files, metrics="hota,id")
    assert {name: output.figures[name] for name in METRICS} == pytest.approx(METRICS)
    assert (output.per_class[1390]["HOTA"], output.per_class[50554]["HOTA"]) == (pytest.approx(13 / 19), -1)


def test_lv_vis(tmp_path: Path):
    """Categories of a large vocabulary with a partition, most of them without tracks; plain run lengths."""
    names = [f"00000/{t:05d}.jpg" for t in range(FRAMES)]
    truth = {
        "info": {"description": "LV-VIS", "version": "1.0"},
        "licenses": [],
        "videos": [{"id": 1, "width": SIZE[1], "height": SIZE[0], "length": FRAMES, "file_names": names}],
        "categories": [{"id": id, "name": f"thing_{id}", "frequency": "base"} for id in range(1, 1197)],
        "annotations": [{**sets.annotation(1, 1, 1196, MASKS), "width": SIZE[1], "height": SIZE[0], "length": 1}],
    }
    files = save(tmp_path, "gt.json", truth), save(tmp_path, "results.json", [sets.prediction(1, 1196, 0.5, OTHER)])
    output = evaluate(*files, metrics="hota,id")
    assert {name: output.figures[name] for name in METRICS} == pytest.approx(METRICS)


def test_burst_by_way_of_tevit_formats(tmp_path: Path, capsys: pytest.CaptureFixture):
    sequence = {
        "id": 3,
        "width": SIZE[1],
        "height": SIZE[0],
        "dataset": "YFCC100M",
        "seq_name": "v_1",
        "fps": 1,
        "annotated_image_paths": [f"frame{30 * t:04d}.jpg" for t in range(FRAMES)],
        "all_image_paths": [f"frame{t:04d}.jpg" for t in range(60)],
        "segmentations": [{"5": {"rle": (sets.text(mask) or {})["counts"], "is_gt": True}} for mask in MASKS],
        "track_category_ids": {"5": 805},
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
    }
    categories = [{"id": 805, "name": "person", "synonyms": ["person"], "synset": "person.n.01", "frequency": "f"}]
    source = save(tmp_path, "burst.json", {"split": "val", "sequences": [sequence], "categories": categories})
    target = tmp_path / "gt.json"
    assert cli.main(["formats", str(source), "--to", "ytvis", "--out", str(target)]) == 0
    video = json.loads(target.read_text())["videos"][0]["id"]
    results = save(tmp_path, "results.json", [sets.prediction(video, 805, 0.5, OTHER)])
    capsys.readouterr()
    assert cli.main(["evaluate", str(target), str(results), "--metrics", "hota,id", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert {name: output[name] for name in METRICS} == pytest.approx(METRICS)
