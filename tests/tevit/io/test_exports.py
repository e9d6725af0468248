"""Exports of CVAT and Datumaro as they come: projects, archives and folders of several tasks or subsets, odd files."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import annotations as make
from tevit.cli import main as cli
from tevit.io import ytvis
from tevit.io.formats import convert
from tevit.masks import ops
from tevit.results import VideoResult


def task(id: int, name: str, subset: str, size: int, start: int = 0, step: int = 1, width: int = 9) -> str:
    """A task's part of a project's meta, as CVAT writes it for a video."""
    return f"""<task><id>{id}</id><name>{name}</name><size>{size}</size><mode>interpolation</mode>
<subset>{subset}</subset><start_frame>{start}</start_frame><stop_frame>{start + (size - 1) * step}</stop_frame>
<frame_filter>{f"step={step}" if step > 1 else ""}</frame_filter>
<original_size><width>{width}</width><height>6</height></original_size><source>{name}.mp4</source></task>"""


def project(tasks: Sequence[str], body: str) -> str:
    """A project's XML with the labels car and dog."""
    labels = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in ("car", "dog"))
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><project><id>5</id><name>streets</name><tasks>{"".join(tasks)}</tasks>
<labels>{labels}</labels></project></meta>
{body}</annotations>"""


def box(frame: int, left: int, outside: bool = False, rotation: str = "", keyframe: bool = True) -> str:
    """A box of 2 x 2 pixels at the top."""
    return (
        f'<box frame="{frame}" keyframe="{int(keyframe)}" outside="{int(outside)}" occluded="0" xtl="{left}.00" '
        f'ytl="0.00" xbr="{left + 2}.00" ybr="2.00"{rotation} z_order="0"></box>'
    )


def track(id: int, label: str, shapes: str, task_id: int | None = None, subset: str = "") -> str:
    of = "" if task_id is None else f' task_id="{task_id}" subset="{subset}"'
    return f'<track id="{id}" label="{label}" source="manual"{of}>{shapes}</track>'


def lefts(result: VideoResult) -> dict[int, list[float | None]]:
    """Track id -> left side of its box in each frame."""
    return {
        one.id: [float(b[0]) if seen else None for b, seen in zip(one.boxes_xyxy, one.present, strict=True)]
        for one in result.tracks
    }


def packed(path: Path, members: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def unpacked(folder: Path, members: Mapping[str, str | bytes]) -> Path:
    for name, content in members.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def png(height: int = 6, width: int = 9) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, "png")
    return buffer.getvalue()


PROJECT = project(
    [task(11, "morning", "train", 3), task(12, "evening", "train", 4, start=2, step=5), task(13, "rain", "val", 2)],
    # Frames of the second task: 3 of the first, then 2, 7, 12, 17 of its own. Those of another subset begin anew.
    track(0, "car", box(0, 0) + box(1, 1) + box(2, 2), 11, "train")
    + track(1, "dog", box(5, 3) + box(15, 5) + box(20, 5, outside=True), 12, "train")
    + track(2, "car", box(1, 4), 13, "val"),
)


def test_a_project_for_video_is_one_video_per_task(tmp_path):
    (tmp_path / "p.xml").write_text(PROJECT)
    results, notes = convert.read(tmp_path / "p.xml")
    morning, evening, rain = results
    assert [(one.name, one.length) for one in (morning, evening, rain)] == [("morning", 3), ("evening", 4), ("rain", 2)]
    assert lefts(morning) == {0: [0, 1, 2]}
    assert lefts(evening) == {1: [3, 4, 5, None]}  # frames 5 and 15, the first and third; 10 is interpolated
    assert lefts(rain) == {2: [None, 4]}
    assert evening.categories[evening.tracks[0].category_id] == "dog"
    assert len({one.video_id for one in (morning, evening, rain)}) == 3
    assert notes == [
        "7 boxes became masks of their whole rectangle",
        "1 boxes and polygons between keyframes were interpolated linearly",
    ]


def test_tracks_of_one_number_in_different_tasks_stay_apart(tmp_path):
    """Files in which every task counts tracks and frames from 0."""
    body = track(0, "car", box(0, 0) + box(2, 2), 11, "a") + track(0, "dog", box(0, 5) + box(1, 6), 12, "a")
    (tmp_path / "p.xml").write_text(project([task(11, "one", "a", 3), task(12, "two", "a", 2)], body))
    one, two = convert.read(tmp_path / "p.xml")[0]
    assert lefts(one) == {0: [0, 1, 2]} and lefts(two) == {0: [5, 6]}
    assert [one.categories[result.tracks[0].category_id] for result in (one, two)] == ["car", "dog"]


def test_frames_that_no_rule_explains_are_an_error(tmp_path):
    body = track(0, "car", box(0, 0) + box(3, 2), 11, "a")
    (tmp_path / "p.xml").write_text(project([task(11, "one", "a", 3)], body))
    with pytest.raises(ValueError, match=r"p.xml: expected frames from 0 to 2 of task 'one', got 3"):
        convert.read(tmp_path / "p.xml")
    body = track(0, "car", box(4, 0) + box(7, 2), 11, "a")
    (tmp_path / "p.xml").write_text(project([task(11, "one", "a", 3, start=4, step=2)], body))
    with pytest.raises(ValueError, match=r"expected frames from 4 to 8 in steps of 2 of task 'one', got 7"):
        convert.read(tmp_path / "p.xml")


def image(id: int, name: str, of: tuple[int, str], left: int, track_id: int = 1) -> str:
    return (
        f'<image id="{id}" name="{name}" subset="{of[1]}" task_id="{of[0]}" width="9" height="6">'
        f'<box label="car" xtl="{left}" ytl="0" xbr="{left + 2}" ybr="2">'
        f'<attribute name="track_id">{track_id}</attribute></box></image>'
    )


IMAGES = project(
    [task(11, "morning", "train", 2), task(12, "rain", "val", 2)],
    image(0, "frame_000000", (11, "train"), 0) + image(1, "frame_000001", (11, "train"), 1)
    + image(0, "frame_000000", (12, "val"), 4) + image(1, "frame_000001", (12, "val"), 5),
)  # fmt: skip


def test_a_project_for_images_keeps_equal_names_of_its_tasks_apart(tmp_path):
    (tmp_path / "p.xml").write_text(IMAGES)
    results = list(convert.read(tmp_path / "p.xml")[0])
    assert [(one.name, one.file_names[0], lefts(one)) for one in results] == [
        ("morning", "morning/frame_000000", {1: [0, 1]}),
        ("rain", "rain/frame_000000", {1: [4, 5]}),
    ]


def test_frames_of_a_project_are_found_where_the_archive_has_them(tmp_path):
    frames = {f"images/{subset}/frame_{n:06d}.PNG": png() for subset in ("train", "val") for n in range(2)}
    folder = unpacked(tmp_path / "export", {"annotations.xml": IMAGES} | frames)
    for source in (packed(tmp_path / "p.zip", {"annotations.xml": IMAGES} | frames), folder):
        assert [one.file_names for one in convert.read(source)[0]] == [
            ("train/frame_000000.PNG", "train/frame_000001.PNG"),
            ("val/frame_000000.PNG", "val/frame_000001.PNG"),
        ]
    assert cli.main(["formats", str(folder), "--to", "ytvis", "--out", str(tmp_path / "gt.json")]) == 0
    assert cli.main(["validate", str(tmp_path / "gt.json"), "--frames", str(folder)]) == 0
    (folder / "images/val/frame_000001.PNG").unlink()
    assert cli.main(["validate", str(tmp_path / "gt.json"), "--frames", str(folder)]) == 1


def single(name: str, body: str, size: int = 3, start: int = 0, sized: bool = True) -> str:
    """A task's XML for video."""
    size_hw = "<original_size><width>9</width><height>6</height></original_size>" if sized else ""
    return f"""<annotations><version>1.1</version><meta><task><id>3</id><name>{name}</name><size>{size}</size>
<start_frame>{start}</start_frame><labels><label><name>dog</name></label></labels>{size_hw}</task></meta>{body}
</annotations>"""


@pytest.mark.parametrize("as_folder", [False, True])
def test_several_tasks_of_one_archive_or_folder_are_one_data_set(tmp_path, as_folder):
    members = {
        "task_10/annotations.xml": single("ten", track(0, "dog", box(0, 1) + box(2, 3))),
        "task_2/annotations.xml": single("two", track(0, "cat", box(0, 5)), size=1),
        "__MACOSX/task_2/._annotations.xml": b"\x00\x05\x16\x07",
        "task_2/.DS_Store": b"\x00",
    }
    source = unpacked(tmp_path / "tasks", members) if as_folder else packed(tmp_path / "tasks.zip", members)
    assert convert.detect(source) == "cvat"
    two, ten = convert.read(source)[0]
    assert (two.name, lefts(two), ten.name, lefts(ten)) == ("two", {0: [5]}, "ten", {0: [1, 2, 3]})
    assert two.categories == ten.categories == {1: "dog", 2: "cat"} or two.categories == {1: "cat", 2: "dog"}
    names = [result.categories[result.tracks[0].category_id] for result in (two, ten)]
    assert names == ["cat", "dog"] and two.video_id != ten.video_id


def test_videos_written_one_by_one_are_read_as_one_data_set(tmp_path):
    """CVAT for video there and back with several videos whose tracks have the same ids."""
    data = make.data_set(
        [make.video(1, 2), make.video(2, 3)],
        [
            make.annotation(1, 1, 4, [SQUARE, BAR]),
            make.annotation(2, 1, 2, [None, BAR]),
            make.annotation(3, 2, 4, [SQUARE, None, BAR]),
        ],
    )
    dataset = ytvis.open_dataset(make.save(tmp_path, "gt.json", data))
    files, _ = convert.write(tmp_path / "xml" / "v.xml", "cvat-video", dataset.results())
    assert [file.name for file in files] == ["v.film1.xml", "v.film2.xml"]
    reread = {one.name: {t.id: t.rles for t in one.tracks} for one in convert.read(tmp_path / "xml")[0]}
    assert reread == {one.name: {t.id: t.rles for t in one.tracks} for one in dataset.results()}


SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)


def test_a_job_counts_frames_of_its_task_and_states_the_size_beside_itself(tmp_path):
    text = f"""<annotations><meta><job><id>7</id><size>3</size><start_frame>20</start_frame><stop_frame>22</stop_frame>
<labels><label><name>dog</name></label></labels></job><original_size><width>9</width><height>6</height></original_size>
</meta>{track(0, "dog", box(20, 1) + box(22, 3))}</annotations>"""
    (result,) = convert.read(packed(tmp_path / "job_7.zip", {"annotations.xml": text}))[0]
    assert (result.name, result.length, lefts(result)) == ("job_7", 3, {0: [1, 2, 3]})


def test_a_task_of_images_has_the_size_of_the_images_or_of_the_data_set(tmp_path):
    text = single("film8", track(0, "dog", box(0, 1) + box(1, 2)), size=2, sized=False)
    (result,) = convert.read(packed(tmp_path / "t.zip", {"annotations.xml": text, "images/a.png": png(8, 11)}))[0]
    assert result.size_hw == (8, 11)
    like = ytvis.open_dataset(make.save(tmp_path, "gt.json", make.data_set([make.video(8, 2)], [])))
    (tmp_path / "t.xml").write_text(text)
    (result,) = convert.read(tmp_path / "t.xml", like=like)[0]
    assert (result.size_hw, result.file_names) == ((6, 9), like.videos[8].file_names)
    with pytest.raises(ValueError, match="expected meta/task/original_size before the tracks, found none"):
        convert.read(tmp_path / "t.xml")


def test_shapes_without_area_are_one_note_and_empty_tracks_another(tmp_path):
    """Points, polylines and skeletons; a track that is outside at once; two shapes of one track in one frame."""
    point = '<points frame="0" keyframe="1" outside="0" points="1.00,1.00"></points>'
    line = '<polyline frame="1" keyframe="1" outside="0" points="1.00,1.00;2.00,2.00"></polyline>'
    skeleton = f'<skeleton frame="0" keyframe="1">{point.replace("frame=", "label=")}</skeleton>'
    body = (
        track(0, "dog", point + line) + track(1, "dog", skeleton) + track(2, "dog", box(1, 1, outside=True))
        + track(3, "dog", box(0, 1) + box(0, 5) + box(1, 2) + box(2, 2, outside=True)) + track(4, "dog", "")
    )  # fmt: skip
    (tmp_path / "t.xml").write_text(single("film", body))
    results, notes = convert.read(tmp_path / "t.xml")
    (result,) = results
    assert [one.id for one in result.tracks] == [3] and ops.areas(result.tracks[0].rles).tolist() == [8, 4, 0]
    assert notes == [
        "3 shapes were left out (1 points, 1 polyline, 1 skeleton): only masks, polygons and boxes are read",
        "5 boxes became masks of their whole rectangle",
        "1 further shapes of a track in the same frame were united with the first",
        "4 tracks without a visible shape were left out",
    ]


def test_a_box_that_leaves_the_image_is_not_interpolated_back_into_it(tmp_path):
    (tmp_path / "t.xml").write_text(single("film", track(0, "dog", box(0, 1) + box(1, 30) + box(2, 3)), size=3))
    results, notes = convert.read(tmp_path / "t.xml")
    assert lefts(next(results)) == {0: [1, None, 3]}
    assert notes == ["3 boxes became masks of their whole rectangle", "1 shapes have no pixel inside the image"]


def test_a_degenerate_polygon_does_not_stop_the_others(tmp_path):
    polygon = '<polygon frame="{}" keyframe="1" outside="0" points="{}"></polygon>'
    good, bad = polygon.format(0, "0,0;4,0;4,4;0,4"), polygon.format(1, "0,0;4,0")
    (tmp_path / "t.xml").write_text(single("film", track(0, "dog", good + bad), size=2))
    results, notes = convert.read(tmp_path / "t.xml")
    assert ops.areas(next(results).tracks[0].rles).tolist() == [16, 0]
    assert notes[0] == "1 polygons of less than three points were left out"


def test_boxes_turn_about_their_centre_by_the_shorter_way(tmp_path):
    def wide(frame: int, rotation: int) -> str:
        sides = 'xtl="1" ytl="2" xbr="7" ybr="4"'
        return f'<box frame="{frame}" keyframe="1" outside="0" {sides} rotation="{rotation}"></box>'

    (tmp_path / "t.xml").write_text(single("film", track(0, "dog", wide(0, 350) + wide(2, 10))))
    (result,) = convert.read(tmp_path / "t.xml")[0]
    start, middle, end = (ops.decode(rle) for rle in result.tracks[0].rles if rle is not None)
    assert np.array_equal(middle, make.rectangle(2, 1, 4, 7))  # 0 degrees, not 180
    assert not np.array_equal(start, middle) and np.array_equal(start, end[:, ::-1][:, [*range(1, 9), 0]])


def test_a_track_that_stops_without_an_end_is_not_continued_and_noted(tmp_path):
    (tmp_path / "t.xml").write_text(single("film", track(0, "dog", box(0, 1))))
    results, notes = convert.read(tmp_path / "t.xml")
    assert lefts(next(results)) == {0: [1, None, None]}
    assert notes[-1].startswith("1 tracks end before the video without outside=")


def test_tracks_of_one_id_in_a_task_are_not_merged(tmp_path):
    (tmp_path / "t.xml").write_text(single("film", track(0, "dog", box(2, 1)) + track(0, "cat", box(2, 5))))
    results, notes = convert.read(tmp_path / "t.xml")
    assert lefts(next(results)) == {0: [None, None, 1], 1: [None, None, 5]}
    assert "1 tracks with the id of another one got a new id" in notes


def test_windows_line_ends_a_byte_order_mark_and_other_alphabets(tmp_path):
    text = '<?xml version="1.0" encoding="utf-8"?>\n' + single("дорога 路", track(0, "собака", box(0, 1)), size=1)
    (tmp_path / "t.xml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (result,) = convert.read(tmp_path / "t.xml")[0]
    assert result.name == "дорога 路" and result.categories[result.tracks[0].category_id] == "собака"
    assert cli.main(["formats", str(tmp_path / "t.xml"), "--to", "davis", "--out", str(tmp_path / "png")]) == 0
    assert (tmp_path / "png" / "дорога 路" / "frame_000000.png").is_file()


# --- COCO in subsets


def coco(names: Sequence[str], categories: Mapping[int, str], track_id: int = 0, first: int = 1, **image: int) -> dict:
    """One track of a square through all images."""
    numbers = list(enumerate(names, first))
    category = next(iter(categories))
    return {
        "images": [{"id": n, "file_name": name, "height": 6, "width": 9} | image for n, name in numbers],
        "categories": [{"id": id, "name": name, "supercategory": ""} for id, name in categories.items()],
        "annotations": [
            {"id": n, "image_id": n, "category_id": category, "segmentation": make.compressed(SQUARE), "iscrowd": 0,
             "bbox": [2, 1, 3, 3], "area": 9, "attributes": {"track_id": track_id, "occluded": False}}
            for n, _ in numbers
        ],
    }  # fmt: skip


FRAMES = [f"frame_{n:06d}.PNG" for n in range(2)]
SUBSETS = {
    "annotations/instances_train.json": json.dumps(coco(FRAMES, {1: "dog", 2: "cat"})),
    "annotations/instances_val.json": json.dumps(coco(FRAMES, {1: "cat", 2: "dog"})),
    **{f"images/{subset}/{name}": png() for subset in ("train", "val") for name in FRAMES},
}


@pytest.mark.parametrize("as_folder", [False, True])
def test_subsets_of_datumaros_coco_are_videos_with_frames(tmp_path, as_folder):
    folder = unpacked(tmp_path / "data", SUBSETS)
    source = folder if as_folder else packed(tmp_path / "data.zip", SUBSETS)
    assert convert.detect(source) == "coco"
    results, notes = convert.read(source)
    train, val = results
    assert [(one.name, one.file_names, [t.id for t in one.tracks]) for one in (train, val)] == [
        ("train", ("train/frame_000000.PNG", "train/frame_000001.PNG"), [0]),
        ("val", ("val/frame_000000.PNG", "val/frame_000001.PNG"), [0]),
    ]
    assert [one.categories[one.tracks[0].category_id] for one in (train, val)] == ["dog", "cat"]
    assert [note.partition("instances_")[2] for note in notes] == [
        "val.json: category 1 ('cat') became 2, as files before count",
        "val.json: category 2 ('dog') became 1, as files before count",
    ]
    out = tmp_path / "gt.json"
    assert cli.main(["formats", str(source), "--to", "ytvis", "--out", str(out)]) == 0
    assert cli.main(["validate", str(out), "--frames", str(folder)]) == 0
    assert [len(one.tracks) for one in ytvis.open_dataset(out).results()] == [1, 1]


def test_a_single_subset_and_equal_ids_of_videos_in_two(tmp_path):
    one = packed(tmp_path / "one.zip", {
        "export/annotations/instances_default.json": "\ufeff" + json.dumps(coco(["b/1.jpg", "a/1.jpg"], {1: "dog"})),
        "export/images/default/a/1.jpg": b"", "export/images/default/b/1.jpg": b"",
        "__MACOSX/export/annotations/._instances_default.json": b"\x00\x05",
    })  # fmt: skip
    assert [one.file_names for one in convert.read(one)[0]] == [
        ("export/images/default/b/1.jpg",),
        ("export/images/default/a/1.jpg",),
    ]
    two = packed(tmp_path / "two.zip", {
        f"annotations/instances_{subset}.json": json.dumps(coco([f"{subset}.jpg"], {1: "dog"}, video_id=3, frame_id=0))
        for subset in ("train", "val")
    })  # fmt: skip
    results, notes = convert.read(two)
    assert [(result.video_id, result.file_names) for result in results] == [
        (3, ("train/train.jpg",)),
        (1, ("val/val.jpg",)),
    ]
    assert notes == ["1 videos have ids of videos in files before and got new ones"]


def test_an_annotation_of_an_unknown_category_is_an_error(tmp_path):
    content = coco(["a.jpg"], {1: "dog"})
    content["annotations"][0]["category_id"] = 7
    with pytest.raises(ValueError, match="annotation 1: expected one of the 1 categories of the file, got 7"):
        convert.read(make.save(tmp_path, "coco.json", content))


def test_a_zip_of_results_made_on_macos_or_windows(tmp_path):
    """macOS adds a file of its own for each; some programs for Windows write backslashes."""
    members = {"my_results.json": json.dumps(make.submission()), "__MACOSX/._my_results.json": b"\x00\x05\x16\x07"}
    assert len(ytvis.read_results(packed(tmp_path / "mac.zip", members)).predictions) == 3
    windows = packed(tmp_path / "windows.zip", {"a.txt": "", "folder\\results.json": json.dumps(make.submission())})
    assert len(ytvis.read_results(windows).predictions) == 3
    slashes = packed(tmp_path / "coco.zip", {"annotations\\instances_a.json": json.dumps(coco(["1.jpg"], {1: "dog"}))})
    assert [one.file_names for one in convert.read(slashes)[0]] == [("1.jpg",)]


@pytest.mark.parametrize("kind", ["coco", "xml", "zip of xml", "zip of subsets", "folder", "burst"])
def test_what_other_commands_do_not_read_is_named(tmp_path, kind, capsys):
    gt = make.save(tmp_path, "gt.json", make.sample())
    results = make.save(tmp_path, "results.json", make.submission())
    source, kind_of_file = (
        tmp_path / "source",
        f"an archive {'of COCO JSON' if kind == 'zip of subsets' else 'with CVAT'}",
    )
    if kind in ("coco", "burst"):
        convert.write(source, kind, ytvis.open_dataset(gt).results())
        kind_of_file = f"{kind.upper()} JSON"
    elif kind == "folder":
        unpacked(source, SUBSETS)
        kind_of_file = "a folder"
    elif kind == "xml":
        source.write_text(PROJECT)
        kind_of_file = "XML (CVAT)"
    else:
        packed(source, {"annotations.xml": PROJECT} if kind == "zip of xml" else SUBSETS)
    commands = {
        "evaluate": ["evaluate", source, results],
        "errors": ["errors", source, results],
        "split": ["split", source, "--out", tmp_path / "parts"],
        "queue": ["review", "queue", source, results],
    }
    for command in commands.values():
        assert cli.main([str(part) for part in command]) == 2
        assert f"{source} is {kind_of_file}" in (message := capsys.readouterr().err) and "`tevit formats " in message
    assert cli.main(["evaluate", str(gt), str(source)]) == 2
    assert f"{source} is {kind_of_file}" in capsys.readouterr().err
    if kind != "folder":
        assert cli.main(["validate", str(source)]) == 1
        assert f"it is {kind_of_file}" in capsys.readouterr().out


def test_identities_in_other_types_are_the_same_and_an_empty_attribute_is_none(tmp_path):
    """A text attribute that nobody has filled in must not make one track of all annotations."""
    content = coco(["1.jpg", "2.jpg", "3.jpg", "4.jpg"], {1: "dog"})
    stated = [
        {"track_id": "3"},
        {"instance_id": 3.0},
        {"attributes": {"track_id": ""}},
        {"attributes": {"track_id": ""}},
    ]
    for annotation, keys in zip(content["annotations"], stated, strict=True):
        del annotation["attributes"]
        annotation |= keys
    results, notes = convert.read(make.save(tmp_path, "coco.json", content))
    (result,) = results
    assert {one.id: one.present.tolist() for one in result.tracks} == {
        3: [True, True, False, False],
        4: [False, False, True, False],
        5: [False, False, False, True],
    }
    assert notes == ["2 annotations have no track_id: each became a track of one frame"]


def test_an_image_id_that_stands_twice_is_an_error(tmp_path):
    content = coco(["1.jpg", "2.jpg"], {1: "dog"})
    content["images"][1]["id"] = 1
    with pytest.raises(ValueError, match=r"coco\.json: expected every image id once, got 1 twice"):
        convert.read(make.save(tmp_path, "coco.json", content))


def test_frames_are_found_where_macos_writes_accents_apart(tmp_path):
    content = json.dumps(coco(["caf\u00e9/1.jpg"], {1: "dog"}), ensure_ascii=False)
    members = {"annotations/instances_a.json": content, "images/a/cafe\u0301/1.jpg": b""}
    assert [one.file_names for one in convert.read(packed(tmp_path / "m.zip", members))[0]] == [("a/cafe\u0301/1.jpg",)]


def test_nothing_is_written_into_the_folder_that_is_read(tmp_path, capsys):
    folder = unpacked(tmp_path / "data", {"a/annotations.xml": single("one", track(0, "dog", box(0, 1)))})
    assert cli.main(["formats", str(folder), "--to", "cvat", "--out", str(folder / "b" / "all.xml")]) == 2
    assert "all.xml is inside" in capsys.readouterr().err and not (folder / "b").exists()


def test_equal_frame_numbers_of_a_video_are_noted(tmp_path):
    content = coco(["v/2.jpg", "v/10.jpg", "v/1.jpg"], {1: "dog"}, frame_id=7, video_id=1)
    results, notes = convert.read(make.save(tmp_path, "coco.json", content))
    assert next(results).file_names == ("v/1.jpg", "v/2.jpg", "v/10.jpg")
    assert notes == ["2 images have the frame_id of another one of their video: their names order them"]


def odd_sources(folder: Path) -> dict[str, Path]:
    """Files that hold nothing to convert, by what is said of each."""
    nothing = {"videos": [], "annotations": [], "categories": []}
    inner = packed(folder / "inner.zip", {"results.json": "[]"}).read_bytes()
    (folder / "task.xml").write_text(PROJECT.replace('task_id="13"', 'task_id="99"'))
    return {
        "holds no videos": make.save(folder, "gt.json", nothing),
        "coco.json holds no videos": make.save(folder, "coco.json", {"images": [], "categories": []}),
        "inner.zip is an archive inside the archive": packed(folder / "outer.zip", {"inner.zip": inner}),
        "a track is of task 99, which the file's meta does not list": folder / "task.xml",
    }


@pytest.mark.parametrize("number", range(4))
def test_files_that_hold_nothing_to_convert_are_errors(tmp_path, number, capsys):
    message, source = list(odd_sources(tmp_path).items())[number]
    assert cli.main(["formats", str(source), "--to", "coco", "--out", str(tmp_path / "out.json")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out.json").exists()


def test_utf_16_as_windows_writes_it(tmp_path):
    (tmp_path / "p.xml").write_bytes(PROJECT.replace("utf-8", "utf-16").encode("utf-16"))
    assert [one.name for one in convert.read(tmp_path / "p.xml")[0]] == ["morning", "evening", "rain"]
