"""Round trips through DAVIS, MOTS, BURST, TAO, Label Studio and CVAT for video, and files as other tools write them."""

import gzip
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from tests import annotations as make
from tevit.cli import main as cli
from tevit.io import ytvis
from tevit.io.formats import convert, davis
from tevit.masks import ops
from tevit.results import Track, VideoResult

SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)
quick = settings(max_examples=30, deadline=None)


def track(id: int, category_id: int, masks: Sequence[np.ndarray | None], score: float = 1.0) -> Track:
    """A track of masks, with their boxes and areas."""
    rles = [None if mask is None or not mask.any() else ops.encode(mask.astype(np.uint8)) for mask in masks]
    return Track(id, category_id, score, tuple(rles), ops.to_boxes_xyxy(rles), ops.areas(rles))


def video(tracks: Sequence[Track], length: int = 3, id: int = 8) -> VideoResult:
    """A video of 6 x 9 pixels in which all tracks fit."""
    names = tuple(f"film{id}/{t:05d}.jpg" for t in range(length))
    return VideoResult(id, f"film{id}", make.SIZE, np.arange(length) / 6, make.CATEGORIES, tuple(tracks), names)


def round_trip(folder: Path, to: convert.Format, results: Sequence[VideoResult]) -> tuple[list[VideoResult], list[str]]:
    """The videos after writing and reading, and all notes."""
    files, losses = convert.write(folder / ("out" if to in ("davis", "mots") else "out.xml"), to, iter(results))
    read, notes = convert.read(files[0])
    return list(read), [*losses, *notes]


def present(results: Sequence[VideoResult]) -> dict[tuple[int, int], tuple]:
    """The masks of every track that has some, by video's position and track id."""
    return {
        (number, track.id): track.rles for number, result in enumerate(results) for track in result.tracks
        if track.present.any()
    }  # fmt: skip


def without_overlaps(result: VideoResult) -> VideoResult:
    """Every pixel belongs to the first track that has it."""
    taken = [np.zeros(result.size_hw, bool) for _ in range(result.length)]
    tracks = []
    for one in result.tracks:
        masks = [None if rle is None else (ops.decode(rle) > 0) & ~taken[t] for t, rle in enumerate(one.rles)]
        taken = [old if mask is None else old | mask for old, mask in zip(taken, masks, strict=True)]
        tracks.append(track(one.id, one.category_id, masks))
    return replace(result, tracks=tuple(tracks))


@quick
@given(make.results())
def test_davis_and_back(tmp_path_factory, results):
    results = [without_overlaps(result) for result in results]
    reread, notes = round_trip(tmp_path_factory.mktemp("davis"), "davis", results)
    by_name = {result.name: result for result in reread}
    assert present([by_name[result.name] for result in results]) == present(results)
    assert [by_name[result.name].length for result in results] == [result.length for result in results]
    assert notes == ["DAVIS states no classes: every object is of the class 'object'"]


def save_indices(path: Path, values: np.ndarray) -> None:
    image = Image.frombytes("P", (values.shape[1], values.shape[0]), values.tobytes())
    image.putpalette(davis.palette())
    image.save(path)


def test_davis_says_where_masks_overlap_and_void_is_no_object(tmp_path):
    files, losses = convert.write(
        tmp_path / "davis", "davis", iter([video([track(3, 4, [SQUARE] * 3), track(7, 4, [SQUARE] * 3)])])
    )
    assert losses == ["27 pixels of overlapping masks belong to the earlier track only"]
    image = Image.open(files[0] / "film8" / "00000.png")
    assert image.mode == "P" and np.array(image).max() == 3
    values = np.array(image)
    values[0] = 255
    save_indices(files[0] / "film8" / "00000.png", values)
    (reread,), _ = convert.read(files[0])
    assert [each.id for each in reread.tracks] == [3]
    assert ops.areas(reread.tracks[0].rles).tolist() == [9, 9, 9]


def test_davis_of_one_video_in_natural_order_and_the_releases_root(tmp_path):
    folder = tmp_path / "Annotations" / "480p" / "dog"
    folder.mkdir(parents=True)
    for name, left in (("1", 0), ("2", 2), ("10", 4)):
        values = make.rectangle(0, left, 2, left + 1) * 5
        save_indices(folder / f"{name}.png", values)
    for path in (tmp_path, folder):
        (result,), _ = convert.read(path)
        assert result.name == "dog" and result.tracks[0].id == 5
        assert result.tracks[0].boxes_xyxy[:, 0].tolist() == [0, 2, 4]


def test_davis_refuses_what_is_no_index_image_and_a_folder_that_is_not_empty(tmp_path):
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="expected a palette PNG with one index a pixel, got the mode RGB"):
        list(convert.read(tmp_path)[0])
    with pytest.raises(FileExistsError, match="expected a new or an empty folder"):
        convert.write(tmp_path, "davis", iter([video([])]))


@quick
@given(make.results())
def test_mots_and_back(tmp_path_factory, results):
    """Ids become class * 1000 + instance; frames move by one only where no video has a mask in its first frame."""
    with_masks = [result for result in results if any(one.present.any() for one in result.tracks)]
    if not with_masks:
        return
    reread, notes = round_trip(tmp_path_factory.mktemp("mots"), "mots", results)
    by_name = {result.name: result for result in reread}
    assert by_name.keys() == {result.name for result in with_masks}
    starts_later = not any(one.present[0] for result in results for one in result.tracks)
    for result in with_masks:
        counts: dict[int, int] = {}
        expected = {}
        for one in result.tracks:
            number = counts[one.category_id] = counts.get(one.category_id, 0) + 1
            if one.present.any():
                expected[one.category_id * 1000 + number] = [(t, rle) for t, rle in enumerate(one.rles) if rle]
        other = by_name[result.name]
        read = {one.id: [(t + starts_later, rle) for t, rle in enumerate(one.rles) if rle] for one in other.tracks}
        assert read == expected
    left_out = len(results) - len(with_masks)
    assert (f"{left_out} files without masks, which state no size, were left out" in notes) == bool(left_out)
    assert ("frames are counted from 1, since no file has a mask in a frame 0" in notes) == starts_later


def test_frames_of_mots_are_counted_alike_in_all_files(tmp_path):
    """One video of the folder has a mask in frame 0: the others count from 0, too, wherever their first mask is."""
    text = make.compressed(SQUARE)["counts"]
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.txt").write_bytes(f"\ufeff1 1001 1 6 9 {text}\r\n".encode())
    assert [one.tracks[0].present.tolist() for one in convert.read(tmp_path)[0]] == [[True]]
    (tmp_path / "c.txt").write_text(f"0 1001 1 6 9 {text}\n")
    results, notes = convert.read(tmp_path)
    assert [(one.name, one.tracks[0].present.tolist()) for one in results] == [("b", [False, True]), ("c", [True])]
    assert notes[1:] == ["1 files without masks, which state no size, were left out"]


def test_mots_as_the_challenge_writes_it(tmp_path):
    text = make.compressed(SQUARE)["counts"], make.compressed(BAR)["counts"]
    (tmp_path / "0002.txt").write_text(f"0 2001 2 6 9 {text[0]}\n2 2001 2 6 9 {text[1]}\n0 10000 10 6 9 {text[1]}\n")
    (result,), notes = convert.read(tmp_path / "0002.txt")
    assert (result.name, result.length, result.size_hw) == ("0002", 3, (6, 9))
    assert result.categories == {2: "pedestrian", 10: "class 10"}
    assert [(one.id, one.category_id, one.iscrowd, one.present.tolist()) for one in result.tracks] == [
        (2001, 2, False, [True, False, True]),
        (10000, 10, True, [True, False, False]),
    ]
    assert notes == ["MOTS text states no number of frames: each video ends with its last mask"]
    files, losses = convert.write(tmp_path / "out", "mots", iter([result]))
    assert losses == [] and sorted((files[0] / "0002.txt").read_text().splitlines()) == sorted(
        (tmp_path / "0002.txt").read_text().splitlines()
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 1001 1 6 9", "line 2: expected `frame id class height width rle`, got '0 1001 1 6 9'"),
        ("1 1001 1 6 8 0", r"line 2: expected a mask of \(6, 9\) as the first one, got \(6, 8\)"),
        ("1 1001 2 6 9 0", "line 2: track 1001: expected class 1, got 2"),
        ("1 1001 1 6 9 f1f1", "line 2: the runs sum to"),
    ],
)
def test_a_faulty_line_of_mots(tmp_path, line, message):
    (tmp_path / "a.txt").write_text(f"0 1001 1 6 9 {make.compressed(SQUARE)['counts']}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        list(convert.read(tmp_path / "a.txt")[0])


@quick
@given(make.results())
def test_burst_and_back(tmp_path_factory, results):
    results = [
        replace(result, tracks=tuple(replace(one, iscrowd=False) for one in result.tracks)) for result in results
    ]
    reread, notes = round_trip(tmp_path_factory.mktemp("burst"), "burst", results)
    assert notes == []
    for before, after in zip(results, reread, strict=True):
        make.same_tracks(make_scores(before, after), after, boxes=False)


def make_scores(before: VideoResult, after: VideoResult) -> VideoResult:
    """`before` with the scores of tracks without masks taken from `after`: BURST holds scores of masks."""
    pairs = zip(before.tracks, after.tracks, strict=True)
    return replace(before, tracks=tuple(a if a.present.any() else replace(a, score=b.score) for a, b in pairs))


def test_burst_as_the_benchmark_writes_it(tmp_path):
    content = {
        "sequences": [
            {
                "id": 7, "width": 9, "height": 6, "seq_name": "b1", "dataset": "BDD", "fps": 30,
                "all_image_paths": ["0.jpg", "1.jpg", "2.jpg"], "annotated_image_paths": ["0.jpg", "2.jpg"],
                "neg_category_ids": [], "not_exhaustive_category_ids": [], "track_category_ids": {"2": 4},
                "segmentations": [{}, {"2": {"rle": make.compressed(SQUARE)["counts"], "is_gt": True}}],
            }
        ],
        "categories": [{"id": 4, "name": "dog", "synset": "dog.n.01"}],
        "split": "val",
    }  # fmt: skip
    (result,), notes = convert.read(make.save(tmp_path, "burst.json", content))
    assert (result.video_id, result.name, result.file_names) == (7, "b1", ("BDD/b1/0.jpg", "BDD/b1/2.jpg"))
    assert [(one.id, one.category_id, one.present.tolist()) for one in result.tracks] == [(2, 4, [False, True])]
    assert notes == []
    content["sequences"][0]["segmentations"][0] = {"9": {"rle": ""}}
    with pytest.raises(ValueError, match="frame 0: track '9' is not in track_category_ids"):
        list(convert.read(make.save(tmp_path, "burst.json", content))[0])


@pytest.mark.parametrize("fps", [0, -1, 1e-300, 1e300])
def test_a_rate_that_gives_no_times_is_refused(tmp_path, fps):
    sequence = {"width": 9, "height": 6, "seq_name": "b1", "fps": fps, "track_category_ids": {}}
    sequence |= {"annotated_image_paths": ["0.jpg", "1.jpg"], "segmentations": [{}, {}]}
    file = make.save(tmp_path, "burst.json", {"sequences": [sequence], "categories": []})
    with pytest.raises(ValueError, match=r"burst\.json: sequence 'b1': expected 0\.001 to 1000000 frames per second"):
        list(convert.read(file)[0])


@quick
@given(make.results())
def test_tao_and_back(tmp_path_factory, results):
    reread, notes = round_trip(tmp_path_factory.mktemp("tao"), "tao", results)
    assert present(reread) == present(results) and notes == []
    assert [result.name for result in reread] == [result.name for result in results]


def test_tao_has_lists_of_videos_and_tracks_with_ids_of_its_own(tmp_path):
    two = [video([track(1, 4, [SQUARE] * 3)]), video([track(1, 2, [BAR] * 3)], id=5)]
    (file,), losses = convert.write(tmp_path / "tao.json", "tao", iter(two))
    content = json.loads(file.read_text())
    assert [(one["id"], one["video_id"]) for one in content["tracks"]] == [(1, 8), (2, 5)]
    assert [one["name"] for one in content["videos"]] == ["film8", "film5"]
    assert {one["track_id"] for one in content["annotations"]} == {1, 2}
    assert losses == ["1 track ids that are 0 or that an earlier video has were renumbered"]


def as_rectangles(result: VideoResult) -> VideoResult:
    """Every mask replaced by the rectangle around it."""
    tracks = []
    for one in result.tracks:
        boxes = [None if rle is None else ops.to_box_xyxy(rle).astype(int).tolist() for rle in one.rles]
        masks = [
            None if box is None else make.rectangle(box[1], box[0], box[3], box[2], result.size_hw) for box in boxes
        ]
        tracks.append(track(one.id, one.category_id, masks))
    return replace(result, tracks=tuple(tracks))


@quick
@given(make.results())
def test_label_studio_and_back(tmp_path_factory, results):
    """Boxes, identities, classes and ids of videos; a video without tracks states no size and is left out."""
    results = [as_rectangles(result) for result in results]
    with_tracks = [result for result in results if result.tracks]
    if not with_tracks:
        return
    reread, notes = round_trip(tmp_path_factory.mktemp("ls"), "label-studio", results)
    assert present(reread) == present(with_tracks)
    for before, after in zip(with_tracks, reread, strict=True):
        assert (after.video_id, after.name, after.length) == (before.video_id, before.name, before.length)
        names = [[one.categories[each.category_id] for each in one.tracks] for one in (before, after)]
        assert names[0] == names[1]
    left_out = len(results) - len(with_tracks)
    assert (f"{left_out} tasks without boxes, which state no size, were left out" in notes) == bool(left_out)


def test_label_studio_and_back_keeps_boxes_and_identities(tmp_path):
    gap = video([track(4, 2, [SQUARE, None, BAR]), track(9, 7, [None, BAR, BAR])])
    (reread,), notes = round_trip(tmp_path, "label-studio", [gap])
    assert (reread.video_id, reread.name, reread.length) == (8, "film8", 3)
    assert [(one.id, reread.categories[one.category_id]) for one in reread.tracks] == [
        (4, "earless_seal"),
        (9, make.CATEGORIES[7]),
    ]
    for before, after in zip(gap.tracks, reread.tracks, strict=True):
        assert before.rles == after.rles  # rectangles already
    assert notes == [
        "4 masks became their boxes",
        "4 boxes became masks of their whole rectangle: this format has no masks",
    ]


def test_label_studio_interpolates_between_keyframes(tmp_path):
    def keyframe(frame: int, x: float, enabled: bool = True) -> dict:
        return {"frame": frame, "enabled": enabled, "rotation": 0, "x": x, "y": 0, "width": 10, "height": 50, "time": 0}

    value = {"framesCount": 6, "sequence": [keyframe(1, 0), keyframe(5, 40, enabled=False)], "labels": ["car"]}
    result = {"type": "videorectangle", "value": value, "original_width": 100, "original_height": 10}
    task = {"id": 3, "data": {"video": "/data/upload/1/street.mp4"}, "annotations": [{"result": [result]}]}
    (reread,), _ = convert.read(make.save(tmp_path, "ls.json", [task]))
    assert reread.name == "street" and reread.length == 6
    assert reread.tracks[0].boxes_xyxy[:5, 0].tolist() == [0, 10, 20, 30, 40]
    assert reread.tracks[0].present.tolist() == [True] * 5 + [False]
    task["annotations"] = [{"result": [], "was_cancelled": True}, *task["annotations"]]
    assert next(convert.read(make.save(tmp_path, "ls.json", [task]))[0]).tracks
    del result["original_width"]
    with pytest.raises(ValueError, match="task 3: expected original_width and original_height in a result, found none"):
        convert.read(make.save(tmp_path, "ls.json", [task]))


@quick
@given(make.results())
def test_cvat_for_video_and_back(tmp_path_factory, results):
    reread, notes = round_trip(tmp_path_factory.mktemp("video"), "cvat-video", results[:1])
    assert present(reread) == present(results[:1])
    empty = sum(not one.present.any() for one in results[0].tracks)
    assert reread[0].length == results[0].length
    assert notes == ([f"{empty} tracks without a visible shape were left out"] if empty else [])
    names = {one.id: reread[0].categories[one.category_id] for one in reread[0].tracks}
    assert all(results[0].categories[one.category_id] == names[one.id] for one in results[0].tracks if one.id in names)


CVAT_VIDEO = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>street.mp4</name><size>6</size><mode>interpolation</mode>
<start_frame>0</start_frame><labels><label><name>car</name></label><label><name>dog</name></label></labels>
<original_size><width>9</width><height>6</height></original_size></task></meta>
<track id="0" label="car" source="manual">
<box frame="0" keyframe="1" outside="0" occluded="0" xtl="0" ytl="0" xbr="2" ybr="2" z_order="0"></box>
<box frame="4" keyframe="1" outside="0" occluded="0" xtl="4" ytl="4" xbr="6" ybr="6" z_order="0"></box>
<box frame="5" keyframe="1" outside="1" occluded="0" xtl="4" ytl="4" xbr="6" ybr="6" z_order="0"></box></track>
<track id="3" label="dog"><polygon frame="1" keyframe="1" outside="0" points="0,0;4,0;4,4;0,4"></polygon>
<polygon frame="3" keyframe="1" outside="0" points="4,0;8,0;8,4;4,4"></polygon>
<polygon frame="5" keyframe="1" outside="0" points="4,0;8,0;8,4"></polygon></track>
<track id="5" label="dog">
<mask frame="1" keyframe="1" outside="0" rle="0,4" left="1" top="1" width="2" height="2"></mask>
<mask frame="3" keyframe="1" outside="0" rle="0,4" left="2" top="1" width="2" height="2"></mask></track>
</annotations>"""


@pytest.mark.parametrize("packed", [False, True])
def test_cvat_for_video_with_keyframes(tmp_path, packed):
    path = tmp_path / ("task.zip" if packed else "task.xml")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("job_1/annotations.xml", CVAT_VIDEO)
            archive.writestr("job_1/images/frame_000000.png", b"")
    else:
        path.write_text(CVAT_VIDEO)
    (result,), notes = convert.read(path)
    assert (result.name, result.length, result.size_hw) == ("street.mp4", 6, (6, 9))
    box, polygon, mask = result.tracks
    assert [one.id for one in result.tracks] == [0, 3, 5]
    assert box.boxes_xyxy[:5, 0].tolist() == [0, 1, 2, 3, 4] and not box.present[5]
    assert polygon.boxes_xyxy[1:4, 0].tolist() == [0, 2, 4] and polygon.present.tolist() == [
        False,
        *[True] * 3,
        False,
        True,
    ]
    assert mask.present.tolist() == [False, True, False, True, False, False]
    assert notes == [
        "3 boxes became masks of their whole rectangle",
        "4 boxes and polygons between keyframes were interpolated linearly",
        "2 frames between keyframes of masks or unequal polygons were left empty",
        '1 tracks end before the video without outside="1": nothing was added behind their last shape',
    ]
    convert.write(tmp_path / "gt.json", "ytvis", iter([result]))
    assert [one["id"] for one in json.loads((tmp_path / "gt.json").read_text())["annotations"]] == [1, 3, 5]


def test_cvat_for_video_takes_frames_and_ids_of_the_data_set(tmp_path):
    like = make.data_set([make.video(8, 2), make.video(5, 3)], [])
    dataset = ytvis.open_dataset(make.save(tmp_path, "gt.json", like))
    files, _ = convert.write(tmp_path / "v.xml", "cvat-video", iter([video([track(6, 2, [SQUARE, None, BAR])], id=5)]))
    (reread,), _ = convert.read(files[0], like=dataset)
    assert (reread.video_id, reread.file_names) == (5, dataset.videos[5].file_names)
    assert [(one.id, one.category_id) for one in reread.tracks] == [(6, 2)]
    other = ytvis.open_dataset(make.save(tmp_path, "other.json", make.data_set([make.video(1, 3)], [])))
    with pytest.raises(ValueError, match="has no video of the task's name 'film5'"):
        convert.read(files[0], like=other)


def test_several_videos_get_a_cvat_file_each(tmp_path):
    files, _ = convert.write(tmp_path / "v.xml", "cvat-video", iter([video([]), video([], id=5)]))
    assert [file.name for file in files] == ["v.film8.xml", "v.film5.xml"] and not (tmp_path / "v.xml").exists()


# --- COCO of other tools


@quick
@given(make.results())
def test_identities_in_attributes_alone_come_back(tmp_path_factory, results):
    """As Datumaro leaves them when it reads and writes COCO: our own keys are dropped, attributes are kept."""
    folder = tmp_path_factory.mktemp("datumaro")
    subset = folder / "annotations" / "instances_default.json"
    convert.write(subset, "coco", iter(results))
    content = json.loads(subset.read_text())
    content["images"] = [{key: one[key] for key in ("id", "width", "height", "file_name")} for one in content["images"]]
    fields = ("id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "attributes")
    content["annotations"] = [{key: one[key] for key in fields} for one in content["annotations"]]
    subset.write_text(json.dumps(content))
    reread, notes = convert.read(folder)
    assert present(list(reread)) == present(results) and notes == []


def coco(annotations: list[dict], names: Sequence[str] = ("f_1.jpg", "f_2.jpg", "f_10.jpg")) -> dict:
    images = [{"id": n, "file_name": name, "height": 6, "width": 9} for n, name in enumerate(names, 1)]
    return {"images": images, "categories": [{"id": 4, "name": "dog"}], "annotations": annotations}


def shape(id: int, image: int, track_id: int | None = None, segmentation: object = None) -> dict:
    entry = {"id": id, "image_id": image, "category_id": 4, "segmentation": segmentation or make.compressed(SQUARE)}
    return entry if track_id is None else entry | {"attributes": {"track_id": track_id, "occluded": False}}


def test_identities_of_cvats_coco_and_its_zip(tmp_path):
    """Two objects in four frames, counted from 0, stay two tracks."""
    content = coco([shape(0, 1, 0), shape(1, 2, 0), shape(2, 3, 0), shape(3, 1, 1), shape(4, 2, 1), shape(5, 3, 1)])
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(content))
        archive.writestr("images/f_1.jpg", b"\xa4")
    for path in (make.save(tmp_path, "coco.json", content), tmp_path / "task.zip"):
        (result,), notes = convert.read(path)
        assert [(one.id, one.present.tolist()) for one in result.tracks] == [(0, [True] * 3), (1, [True] * 3)]
        assert notes == ["frames are in natural order ('f_2.jpg' is number 2), not alphabetical ('f_10.jpg' would be)"]


def test_parts_of_a_track_in_one_frame_are_united(tmp_path):
    bar = shape(2, 1, 7, make.compressed(BAR))
    (result,), _ = convert.read(make.save(tmp_path, "coco.json", coco([shape(1, 1, 7), bar], ["a.jpg"])))
    assert [(one.id, one.areas.tolist()) for one in result.tracks] == [(7, [21])]
    results, notes = convert.read(make.save(tmp_path, "coco.json", coco([shape(1, 1, 7), bar], ["a.jpg"])))
    assert len(list(results)) == 1
    assert notes == ["1 further annotations of a track in the same frame were united with the first"]


def test_degenerate_polygons_are_left_out_and_boxes_without_masks_counted(tmp_path):
    good = [1, 1, 5, 1, 5, 4, 1, 4]
    annotations = [
        shape(1, 1, 1, [good, [2, 2, 3, 3]]),
        shape(2, 2, 1, [good, []]),
        {"id": 3, "image_id": 1, "category_id": 4, "track_id": 2, "segmentation": [], "bbox": [1, 1, 3, 3]},
    ]
    results, notes = convert.read(make.save(tmp_path, "coco.json", coco(annotations, ["a.jpg", "b.jpg"])))
    (result,) = results
    assert result.tracks[0].areas.tolist() == [12, 12] and not result.tracks[1].present.any()
    assert notes == [
        "2 polygons of less than three points were left out",
        "1 annotations have a box but no mask, and were left out",
    ]


def test_where_nothing_has_a_mask_it_is_an_error(tmp_path):
    boxes = [{"id": 1, "image_id": 1, "category_id": 4, "segmentation": [], "bbox": [1, 1, 3, 3]}]
    results, _ = convert.read(make.save(tmp_path, "coco.json", coco(boxes)))
    with pytest.raises(ValueError, match="none of its 1 annotations has a mask"):
        convert.write(tmp_path / "gt.json", "ytvis", results)
    assert not (tmp_path / "gt.json").exists()


def test_backslashes_separate_folders(tmp_path):
    content = coco([shape(1, 1, 1), shape(2, 2, 2)], ["vid0\\a.jpg", "vid1\\a.jpg"])
    results, _ = convert.read(make.save(tmp_path, "coco.json", content))
    assert [(result.name, result.file_names) for result in results] == [
        ("vid0", ("vid0/a.jpg",)),
        ("vid1", ("vid1/a.jpg",)),
    ]
    data = make.data_set([make.video(8, 2)], [])
    data["videos"][0]["file_names"] = ["film8\\00000.jpg", "film8\\00005.jpg"]
    info = ytvis.open_dataset(make.save(tmp_path, "gt.json", data)).videos[8]
    assert (info.name, info.file_names) == ("film8", ("film8/00000.jpg", "film8/00005.jpg"))


@pytest.mark.parametrize("name", ["gt.json.gz", "gt.json"])
def test_gzip_is_read_everywhere_whatever_its_name(tmp_path, name):
    plain = make.save(tmp_path, "plain.json", make.sample())
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    for before, after in zip(ytvis.open_dataset(plain).results(), convert.read(tmp_path / name)[0], strict=True):
        make.same_tracks(before, after)
    (tmp_path / "results.json.gz").write_bytes(gzip.compress(json.dumps(make.submission()).encode()))
    assert len(ytvis.read_results(tmp_path / "results.json.gz").predictions) == 3
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes())[:-20])
    with pytest.raises(ValueError, match="cannot be read as gzip"):
        ytvis.open_dataset(tmp_path / name)


def test_like_that_fits_nothing_is_an_error(tmp_path):
    convert.write(tmp_path / "v.xml", "cvat", iter([video([track(1, 4, [SQUARE] * 3)])]))
    like = ytvis.open_dataset(make.save(tmp_path, "gt.json", make.data_set([make.video(1, 3)], [])))
    with pytest.raises(ValueError, match=r"none of its 3 images \(film8/00000.jpg, …\) is in .*gt.json"):
        convert.read(tmp_path / "v.xml", like=like)


def test_names_of_files_keep_every_video_and_frame_apart_and_inside_the_folder(tmp_path):
    """Frames of one stem, frames not in natural order, two videos of one name, and a name that is the folder above."""
    mask = [track(3, 4, [SQUARE, BAR, None])]
    names = [("a/1.jpg", "b/1.jpg", "c/1.jpg"), ("v/3.jpg", "v/2.jpg", "v/1.jpg"), ("v/1.jpg", "v/2.jpg", "v/3.jpg")]
    videos = [replace(video(mask, id=id), name=name, file_names=files) for id, name, files in
              zip((1, 2, 3), ("..", "v", "v"), names, strict=True)]  # fmt: skip
    files, _ = convert.write(tmp_path / "out", "davis", iter(videos))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    reread = {result.name: result for result in convert.read(files[0])[0]}
    assert reread.keys() == {"video 1", "v", "v-3"}
    assert all(result.tracks[0].rles == mask[0].rles for result in reread.values())


def test_the_command_offers_every_format():
    top = cli.parser(["formats"])
    for to in convert.CANNOT_HOLD:
        assert top.parse_args(["formats", "a", "--to", to, "--out", "b"]).to == to
    with pytest.raises(SystemExit):
        top.parse_args(["formats", "a", "--to", "yolo", "--out", "b"])


@pytest.mark.parametrize("rate", [6, 25])
@pytest.mark.parametrize("to", ["burst", "label-studio"])
def test_the_rate_of_a_video_is_kept(tmp_path, to, rate):
    one = replace(video([track(3, 4, [SQUARE] * 3)]), times=np.arange(3) / rate)
    (reread,), _ = round_trip(tmp_path, to, [one])
    assert reread.times == pytest.approx(one.times)
