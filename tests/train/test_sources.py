"""Reading what training needs: layouts on disk, what is left out, and every mistake named."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.train.original import OriginalDraws, write_png
from tevit.masks import ops as masks
from tevit.synthetic import dataset as shapes
from train.data import SeededRng, TrainingData, open_training_data, slot_batch
from train.recipes import QUERYINST_RECIPE, TEVIT_MSGSHIFT_MST_RECIPE
from train.sources import annotation_file

RECIPE = replace(TEVIT_MSGSHIFT_MST_RECIPE, frames=3, clips_per_slot=4, slots=1, scales=((320, 192),))


def video(length: int = 4, **changes) -> dict:
    """A data set of one video, 64x48, with one square that every frame shows."""
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 20:40] = 1
    rle = {"size": [48, 64], "counts": masks.encode(mask)["counts"].decode()}
    content = {
        "videos": [
            {"id": 1, "width": 64, "height": 48, "length": length, "file_names": [f"a/{t}.png" for t in range(length)]}
        ],
        "categories": [{"id": 5, "name": "five"}, {"id": 2, "name": "two"}],
        "annotations": [
            {
                "id": 7,
                "video_id": 1,
                "category_id": 2,
                "iscrowd": 0,
                "segmentations": [rle] * length,
                "bboxes": [[20.0, 10.0, 20.0, 20.0]] * length,
                "areas": [400] * length,
            }
        ],
    }
    content["annotations"][0].update(changes)
    return content


def write(root: Path, content: dict, frames: str = "") -> Path:
    for info in content["videos"]:
        for name in info["file_names"]:
            write_png(root / frames / name, np.full((info["height"], info["width"], 3), 90, np.uint8))
    (root / "train.json").write_text(json.dumps(content))
    return root / "train.json"


def opened(root: Path, content: dict, **options) -> TrainingData:
    return open_training_data(write(root, content), root, **options)


@pytest.mark.parametrize("frames", ["", "JPEGImages", "train", "train/JPEGImages"])
def test_frames_are_found_where_releases_keep_them(tmp_path, frames):
    data = open_training_data(write(tmp_path, video(), frames), tmp_path)
    assert len(data) == 4 and data.sources[0].files[0] == tmp_path / frames / "a/0.png"
    assert data.categories == ((5, "five"), (2, "two"))
    clip = data.clip(0, RECIPE, SeededRng(0, 0, 0))
    assert clip.target.labels.tolist() == [1] and clip.target.ids.tolist() == [6]


@pytest.mark.parametrize(
    "name",
    [
        "train.json",
        "annotations/train.json",
        "train/instances.json",
        "annotations/instances_train2017.json",
        "annotations_train.json",
        "annotations/annotations_train.json",
    ],
)
def test_annotations_are_found_where_releases_keep_them(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert annotation_file(tmp_path, "train") == tmp_path / name


def test_both_names_of_the_validation_split_are_known(tmp_path):
    (tmp_path / "val.json").write_text("{}")
    assert annotation_file(tmp_path, "valid") == tmp_path / "val.json"


def test_a_folder_laid_out_wrongly_is_described(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such data folder"):
        annotation_file(tmp_path / "nowhere", "train")
    (tmp_path / "labels.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"one of train.json, annotations/train.json, .* found labels.txt"):
        annotation_file(tmp_path, "train")


def test_a_missing_frame_is_named_or_counted(tmp_path, caplog):
    file = write(tmp_path, video())
    (tmp_path / "a/1.png").unlink()
    (tmp_path / "a/3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a/1.png does not exist \(and 1 more are missing\); --skip-missing"):
        open_training_data(file, tmp_path)
    data = open_training_data(file, tmp_path, skip_missing=True)
    assert data.missing == 2 and data.frame_of.tolist() == [0, 2]
    assert "2 labelled frames are missing" in caplog.text


def test_no_frame_at_all_is_an_error_even_when_missing_ones_are_skipped(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(video()))
    with pytest.raises(FileNotFoundError, match=r"'a': the frame .*a/0.png does not exist \(and 3 more"):
        open_training_data(tmp_path / "train.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"looked in \., JPEGImages, images, .*; --skip-missing"):
        open_training_data(tmp_path / "train.json", tmp_path)
    with pytest.raises(ValueError, match="expected frames with boxes to train on, found none"):
        open_training_data(tmp_path / "train.json", tmp_path, skip_missing=True)
    with pytest.raises(FileNotFoundError, match="no such folder of frames"):
        open_training_data(tmp_path / "train.json", tmp_path / "nowhere")


def test_a_frame_that_vanishes_or_breaks_later_is_named(tmp_path):
    data = opened(tmp_path, video(1))
    (tmp_path / "a/0.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"a/0.png: not an image"):
        slot_batch(data, 0, 0, 0, RECIPE)
    write_png(tmp_path / "a/0.png", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a/0.png: expected 64x48 pixels as the annotations say, got 30x20"):
        slot_batch(data, 0, 0, 0, RECIPE)
    (tmp_path / "a/0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a/0.png: no such frame"):
        slot_batch(data, 0, 0, 0, RECIPE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category_id": 9}, "category 9, which the file does not list"),
        ({"bboxes": [None]}, "annotation 7: expected 4 bboxes, one a frame, got 1"),
        ({"areas": [3]}, "annotation 7: expected 4 areas, one a frame, got 1"),
    ],
)
def test_unusable_annotations_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, video(**changes))


def test_a_faulty_mask_is_named_when_it_is_drawn(tmp_path):
    faulty = {"size": [48, 64], "counts": [5, 3]}
    data = opened(tmp_path, video(segmentations=[None, faulty, None, None]))
    with pytest.raises(ValueError, match="'a', annotation 7, frame 1: "):
        slot_batch(data, 0, 0, 0, RECIPE)
    data = opened(tmp_path, video(segmentations=[None]))
    with pytest.raises(ValueError, match="annotation 7: expected 4 segmentations, one a frame, got 1"):
        slot_batch(data, 0, 0, 0, RECIPE)


def test_twice_the_same_annotation_id_is_an_error(tmp_path):
    content = video()
    content["annotations"] *= 2
    with pytest.raises(ValueError, match="every annotation id once, got 7 twice"):
        opened(tmp_path, content)


def test_a_box_without_a_mask_counts_as_absent(tmp_path):
    segmentations = video()["annotations"][0]["segmentations"]
    data = opened(tmp_path, video(segmentations=[*segmentations[:3], None]))
    target = data.clip(3, RECIPE, SeededRng(0, 0, 0)).target
    assert target.present[:, 0].tolist() == [False, True, True]


def test_without_areas_all_boxes_count(tmp_path):
    data = opened(tmp_path, video(areas=None))
    assert data.sources[0].usable.all()


def test_clips_of_data_with_short_videos_only_repeat_frames(tmp_path):
    data = opened(tmp_path, video(1))
    batch = slot_batch(data, 0, 3, 0, RECIPE)
    assert batch.frames.shape[1] == RECIPE.frames == 3
    assert (batch.frames[:, 0] == batch.frames[:, 1]).all()
    assert all(target.present.all() for target in batch.targets)


def test_frames_whose_objects_are_all_crowds_or_specks_have_no_instance(tmp_path):
    data = opened(tmp_path, video(iscrowd=1))
    batch = slot_batch(data, 0, 0, 0, RECIPE)
    assert [target.masks.shape[:2] for target in batch.targets] == [(3, 0)] * RECIPE.clips_per_slot
    data = opened(tmp_path, video(areas=[0, 0, 0, 0]))
    assert slot_batch(data, 0, 0, 0, RECIPE).targets[0].boxes_xyxy.shape == (3, 0, 4)


def test_the_shapes_data_set_is_training_data(tmp_path):
    shapes.write(tmp_path, 2, 4, split="train")
    data = open_training_data(annotation_file(tmp_path, "train"), tmp_path)
    batch = slot_batch(data, 0, 0, 0, RECIPE)
    assert list(batch.frames.shape) == [RECIPE.clips_per_slot, 3, 3, 192, 320]
    for target in batch.targets:
        assert target.present.any(0).all() and target.masks[target.present].any((1, 2)).all()


# --- COCO


def coco(root: Path) -> Path:
    crowd = {"size": [60, 80], "counts": [0, 4800]}
    content = {
        "images": [
            {"id": 9, "width": 80, "height": 60, "file_name": "b.png"},
            {"id": 4, "width": 50, "height": 70, "file_name": "a.png"},
            {"id": 5, "width": 50, "height": 70, "file_name": "empty.png"},
        ],
        "categories": [{"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            annotation(31, 9, 90, [10.0, 10.0, 20.0, 30.0]),
            annotation(30, 9, 3, [30.5, 20.0, 25.0, 10.0]),
            {**annotation(32, 9, 3, [0.0, 0.0, 80.0, 60.0]), "iscrowd": 1, "segmentation": crowd},
            annotation(33, 4, 3, [5.0, 5.0, 30.0, 40.0]),
            annotation(34, 4, 3, [60.0, 5.0, 30.0, 40.0]),
            annotation(35, 4, 3, [5.0, 5.0, 0.5, 40.0]),
        ],
    }
    for image in content["images"]:
        write_png(root / "train2017" / image["file_name"], np.full((image["height"], image["width"], 3), 7, np.uint8))
    file = root / "annotations" / "instances_train2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    return file


def annotation(id: int, image: int, category: int, box: list[float]) -> dict:
    x, y, width, height = box
    polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
    area = width * height
    return {"id": id, "image_id": image, "category_id": category, "bbox": box, "segmentation": [polygon], "area": area,
            "iscrowd": 0}  # fmt: skip


def test_coco_pictures_are_clips_of_one_frame(tmp_path):
    file = coco(tmp_path)
    assert annotation_file(tmp_path, "train") == file
    data = open_training_data(annotation_file(tmp_path, "train"), tmp_path, task="image")
    assert data.categories == ((3, "car"), (90, "toothbrush"))
    assert [source.files[0].name for source in data.sources] == ["b.png", "a.png"]
    clip = data.clip(0, QUERYINST_RECIPE, OriginalDraws(1))
    assert clip.target.labels.tolist() == [1, 0] and clip.target.ids.tolist() == [0, 1]
    height, width = clip.size_hw
    assert width == int(height * 80 / 60 + 0.5) and height in range(480, 801, 32)
    assert clip.target.masks.shape[:2] == (1, 2)
    factor = height / 60
    np.testing.assert_allclose(clip.target.masks[0].sum((1, 2)), np.array([600, 250]) * factor**2, rtol=0.05)
    assert data.clip(1, QUERYINST_RECIPE, OriginalDraws(1)).target.ids.tolist() == [0]


def test_coco_pictures_fill_slots(tmp_path):
    coco(tmp_path)
    data = open_training_data(annotation_file(tmp_path, "train"), tmp_path, task="image")
    batch = slot_batch(data, 0, 5, 2, QUERYINST_RECIPE)
    assert batch.frames.shape[:3] == (2, 1, 3) and len(batch.targets) == 2


def test_the_wrong_kind_of_file_is_said(tmp_path):
    with pytest.raises(ValueError, match="read as YouTube-VIS videos, see --task"):
        open_training_data(coco(tmp_path), tmp_path)
    with pytest.raises(ValueError, match="read as COCO pictures, see --task"):
        open_training_data(write(tmp_path, video()), tmp_path, task="image")


def test_exif_rotation_counts_before_the_size_is_compared(tmp_path):
    data = opened(tmp_path, video(1))
    picture = np.zeros((64, 48, 3), np.uint8)
    picture[:10] = 200
    good, jpeg = cv2.imencode(".jpg", picture)
    assert good
    rotated = bytes([0xFF, 0xD8]) + EXIF_6 + jpeg.tobytes()[2:]
    (tmp_path / "a/0.png").write_bytes(rotated)
    clip = data.clip(0, RECIPE, SeededRng(0, 0, 0))
    assert clip.size_hw == (192, 256)


_TIFF = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
EXIF_6 = b"\xff\xe1" + (len(_TIFF) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + _TIFF


@pytest.mark.parametrize("split", ["train", "instances_train"])
def test_gzip_and_backslashes_train_on_the_same_frames(tmp_path, split):
    """gzip beside nothing else; COCO and YouTube-VIS written on Windows."""
    content = video(2)
    write(tmp_path, content)
    if split == "train":
        content["videos"][0]["file_names"] = ["a\\0.png", "a\\1.png"]
    else:
        one, (info,) = content["annotations"][0], content["videos"]
        mask, box = one["segmentations"][0], one["bboxes"][0]
        content["images"] = [info | {"id": n + 1, "file_name": f"a\\{n}.png"} for n in range(2)]
        annotation = {"category_id": 2, "bbox": box, "segmentation": mask, "area": 400, "iscrowd": 0}
        content["annotations"] = [annotation | {"id": n, "image_id": n} for n in (1, 2)]
    (tmp_path / "train.json").unlink()
    file = tmp_path / "annotations" / f"{split}.json.gz"
    file.parent.mkdir()
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
    assert annotation_file(tmp_path, "train") == file
    data = open_training_data(file, tmp_path, task="video" if split == "train" else "image")
    names = sorted(str(frame.relative_to(tmp_path)) for source in data.sources for frame in source.files)
    assert names == ["a/0.png", "a/1.png"] and data.missing == 0


@pytest.mark.parametrize("annotations", [None, []])
def test_labels_without_annotations_are_refused(tmp_path, annotations):
    content = video() | {"annotations": annotations}
    with pytest.raises(ValueError, match=r"train\.json: expected annotations to train on, found none"):
        open_training_data(write(tmp_path, content), tmp_path)
