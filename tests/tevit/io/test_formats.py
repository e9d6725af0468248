"""tevit formats: round trips through COCO and CVAT, the form of CVAT's masks, and the reported losses."""

import json
import zipfile
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings

from tests import annotations as make
from tevit.cli import main as cli
from tevit.io import ytvis
from tevit.io.formats import convert, cvat_writer
from tevit.masks import ops as masks
from tevit.results import Track, VideoResult

SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)
quick = settings(max_examples=30, deadline=None)


def without_empty_tracks(result: VideoResult) -> VideoResult:
    """Without the tracks that have no mask in any frame: neither format can hold them."""
    tracks = tuple(track for track in result.tracks if track.present.any())
    return VideoResult(
        result.video_id, result.name, result.size_hw, result.times, result.categories, tracks, result.file_names
    )


def by_id(result: VideoResult) -> VideoResult:
    tracks = tuple(sorted(result.tracks, key=lambda track: track.id))
    return VideoResult(
        result.video_id, result.name, result.size_hw, result.times, result.categories, tracks, result.file_names
    )


def dataset_of(folder, results) -> ytvis.Dataset:
    ytvis.save_dataset(folder / "gt.json", results)
    return ytvis.open_dataset(folder / "gt.json")


@quick
@given(make.results())
def test_coco_and_back(tmp_path_factory, results):
    folder = tmp_path_factory.mktemp("coco")
    dataset = dataset_of(folder, results)
    convert.write(folder / "coco.json", "coco", dataset.results())
    reread, notes = convert.read(folder / "coco.json")
    assert notes == []
    for before, after in zip(dataset.results(), reread, strict=True):
        make.same_tracks(by_id(without_empty_tracks(before)), by_id(after))


@quick
@given(make.results())
def test_cvat_and_back(tmp_path_factory, results):
    folder = tmp_path_factory.mktemp("cvat")
    dataset = dataset_of(folder, results)
    convert.write(folder / "cvat.xml", "cvat", dataset.results())
    reread, notes = convert.read(folder / "cvat.xml", like=dataset)
    assert notes == []
    for before, after in zip(dataset.results(), reread, strict=True):
        make.same_tracks(by_id(without_empty_tracks(before)), by_id(after), boxes=False)
        for track in after.tracks:
            assert np.array_equal(track.areas, masks.areas(track.rles))
            assert np.array_equal(track.boxes_xyxy, masks.to_boxes_xyxy(track.rles), equal_nan=True)


# --- COCO


def test_coco_as_other_tools_read_it(tmp_path):
    from pycocotools import coco as typed_coco

    make.save(tmp_path, "gt.json", make.sample())
    convert.write(tmp_path / "coco.json", "coco", ytvis.open_dataset(tmp_path / "gt.json").results())
    tool: Any = typed_coco  # its types have no keys other than COCO's
    coco = tool.COCO(str(tmp_path / "coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())][:3] == [
        "film8/00000.jpg",
        "film8/00005.jpg",
        "film5/00000.jpg",
    ]
    loaded = coco.loadAnns(coco.getAnnIds(imgIds=[4]))
    assert [(a["track_id"], a["category_id"], a["area"], a["bbox"]) for a in loaded] == [
        (11, 4, 9.0, [2, 1, 3, 3]),
        (12, 2, 12.0, [6, 0, 2, 6]),
    ]
    assert np.array_equal(coco.annToMask(loaded[0]), SQUARE)
    assert coco.loadImgs([4])[0] | {"frame_id": 1, "video_id": 5} == coco.loadImgs([4])[0]


def test_coco_without_our_keys(tmp_path):
    image = {"height": 6, "width": 9}
    shape = {"category_id": 4, "segmentation": make.compressed(SQUARE)}
    content = {
        "images": [
            {"id": 7, "file_name": "b/2.jpg"} | image,
            {"id": 3, "file_name": "a/1.jpg"} | image,
            {"id": 9, "file_name": "b/1.jpg"} | image,
        ],
        "categories": [{"id": 4, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 9, "instance_id": 5} | shape,
            {"id": 2, "image_id": 7, "instance_id": 5} | shape,
            {"id": 3, "image_id": 7} | shape,
            {"id": 4, "image_id": 70} | shape,
        ],
    }
    results, notes = convert.read(make.save(tmp_path, "coco.json", content))
    videos = list(results)
    assert [video.file_names for video in videos] == [("b/1.jpg", "b/2.jpg"), ("a/1.jpg",)]
    assert [(t.id, t.present.tolist(), t.areas.tolist()) for t in videos[0].tracks] == [
        (5, [True, True], [9, 9]),
        (6, [False, True], [0, 9]),
    ]
    assert videos[0].tracks[0].boxes_xyxy[0].tolist() == [2, 1, 5, 4]
    assert notes == [
        "1 annotations of images that are not in the file were left out",
        "2 annotations have no track_id: each became a track of one frame",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["images"][1].update(width=8),
            r"images of one size in a video, got 6 x 9 \(film8/00000.jpg\) and 6 x 8",
        ),
        (lambda c: c["annotations"][1].update(category_id=2), "track 3 of video 8: expected one category, got 4 and 2"),
        (lambda c: c["annotations"][0].update(bbox=[0, 0, 1e308, 1]), "expected float <= 268435456"),
        (lambda c: c["annotations"][0]["segmentation"].update(counts="f1f1"), "annotation 1: the runs sum to 108"),
    ],
)
def test_coco_that_contradicts_itself(tmp_path, change, message):
    make.save(tmp_path, "gt.json", make.sample())
    convert.write(tmp_path / "coco.json", "coco", ytvis.open_dataset(tmp_path / "gt.json").results())
    content = json.loads((tmp_path / "coco.json").read_text())
    change(content)
    file = make.save(tmp_path, "coco.json", content)
    with pytest.raises(ValueError, match=message):
        list(convert.read(file)[0])


# --- CVAT


def literal_mask(element: ElementTree.Element, size: tuple[int, int]) -> np.ndarray:
    """A CVAT mask drawn pixel by pixel: inside its box, row by row, background first."""
    left, top, width = (int(element.attrib[key]) for key in ("left", "top", "width"))
    mask, place, value = np.zeros(size, np.uint8), 0, 0
    for run in element.attrib["rle"].split(","):
        for _ in range(int(run)):
            mask[top + place // width, left + place % width] = value
            place += 1
        value = 1 - value
    assert place == width * int(element.attrib["height"])
    return mask


def test_cvat_masks_are_drawn_as_cvat_draws_them(tmp_path):
    odd = np.zeros(make.SIZE, np.uint8)
    odd[2, 3:7] = odd[3, 2] = odd[4, 6] = 1
    content = make.data_set(
        [make.video(1, 2)], [make.annotation(5, 1, 7, [odd, SQUARE]), make.annotation(6, 1, 4, [BAR, None])]
    )
    content["annotations"][0]["iscrowd"] = 1
    make.save(tmp_path, "gt.json", content)
    written, _ = convert.write(tmp_path / "out.xml", "cvat", ytvis.open_dataset(tmp_path / "gt.json").results())
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [child.tag for child in root] == ["version", "meta", "image", "image"]
    assert [name.text for name in root.iterfind("meta/task/labels/label/name")] == list(make.CATEGORIES.values())
    assert root[2].attrib == {"id": "0", "name": "film1/00000.jpg", "width": "9", "height": "6"}
    first, second = root[2].iterfind("mask")
    assert first.attrib == {
        "label": make.CATEGORIES[7],
        "source": "manual",
        "occluded": "0",
        "rle": "1, 5, 8, 1",
        "left": "2",
        "top": "2",
        "width": "5",
        "height": "3",
        "z_order": "0",
    }
    assert np.array_equal(literal_mask(first, make.SIZE), odd) and np.array_equal(literal_mask(second, make.SIZE), BAR)
    values = {attribute.attrib["name"]: attribute.text for attribute in first}
    assert values == {"track_id": "5", "iscrowd": "1", "score": "1.0"}
    assert written == [tmp_path / "out.xml", tmp_path / "out.labels.json"]
    labels = json.loads(written[1].read_text())
    assert [label["name"] for label in labels] == list(make.CATEGORIES.values())
    assert [attribute["name"] for attribute in labels[0]["attributes"]] == ["track_id", "iscrowd", "score"]


XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<meta><job><labels><label><name>cat</name></label><label><name>dog</name></label></labels></job></meta>
<image id="4" name="a/2.jpg" width="9" height="6">
  <mask label="dog" rle="0, 9" left="2" top="1" width="3" height="3"><attribute name="track_id">7</attribute></mask>
  <polygon label="dog" points="6.0,0.0;8.0,0.0;8.0,6.0;6.0,6.0"><attribute name="track_id">7</attribute></polygon>
  <mask label="bird" rle="0, 1" left="0" top="0" width="1" height="1"></mask>
  <mask label="cat" rle="1" left="0" top="0" width="1" height="1"></mask>
  <box label="dog" xtl="1" ytl="1" xbr="2" ybr="2"></box>
</image>
<image id="3" name="a/1.jpg" width="9" height="6">
  <mask label="cat" rle="0, 1" left="0" top="0" width="1" height="1">
    <attribute name="track_id">left one</attribute>
  </mask>
</image>
<image id="9" name="b/1.jpg" width="5" height="6"></image>
</annotations>
"""


def test_cvat_exports(tmp_path):
    (tmp_path / "a.xml").write_text(XML)
    results, notes = convert.read(tmp_path / "a.xml")
    first, second = results
    assert (first.video_id, first.name, first.file_names) == (1, "a", ("a/1.jpg", "a/2.jpg"))
    assert first.categories == {1: "cat", 2: "dog", 3: "bird"}
    tracks = {track.id: track for track in first.tracks}
    assert {id: (t.category_id, t.present.tolist()) for id, t in tracks.items()} == {
        7: (2, [False, True]),
        8: (1, [True, False]),
        9: (3, [False, True]),
        10: (2, [False, True]),
    }
    united = tracks[7].rles[1]
    assert united is not None and np.array_equal(masks.decode(united), SQUARE | BAR)
    assert (second.name, second.size_hw, second.tracks) == ("b", (6, 5), ())
    assert notes == [
        "1 boxes became masks of their whole rectangle",
        "1 shapes have no pixel inside the image",
        "2 masks have no track_id: each became a track of one frame",
    ]


def test_cvat_archives_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("annotations.xml", XML)
        archive.writestr("images/a/1.jpg", b"")
    assert convert.detect(tmp_path / "export.zip") == "cvat"
    assert len(list(convert.read(tmp_path / "export.zip")[0])) == 2


def test_like_brings_back_ids_and_frames_that_cvat_left_out(tmp_path):
    video = {"id": 33, "height": 6, "width": 9, "length": 3, "file_names": ["a/2.jpg", "a/x.jpg", "a/1.jpg"]}
    content = make.data_set([video], []) | {"categories": [{"id": 5, "name": "dog"}, {"id": 9, "name": "cat"}]}
    like = ytvis.open_dataset(make.save(tmp_path, "gt.json", content))
    (tmp_path / "a.xml").write_text(XML)
    results, notes = convert.read(tmp_path / "a.xml", like=like)
    (result,) = results
    assert (result.video_id, result.length) == (33, 3)
    assert {t.category_id: t.present.tolist() for t in result.tracks} == {
        5: [True, False, False],
        10: [True, False, False],
        9: [False, False, True],
    }
    assert "the label 'bird' is no category" in notes[3] and "number 10" in notes[3]
    assert notes[4].startswith("1 images that") and notes[4].endswith("gt.json does not have were left out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotations>", "", "malformed XML: no element found: line"),
        ("utf-8", "utf-8-8", "malformed XML: unknown encoding"),
        ("utf-8", "utf-7", "malformed XML: multi-byte encodings"),
        ('rle="0, 9"', 'rle="0, 8"', r"a.xml, image 'a/2.jpg': the runs of a mask sum to 8 pixels, expected 3 x 3"),
        ('rle="0, 9"', 'rle="-1, 10"', "the runs of a mask sum to 9 pixels"),
        ('rle="0, 9"', 'rle="0 9"', "expected rle as whole numbers with commas, got '0 9'"),
        ('left="2"', 'left="7"', r"a mask of 3 x 3 at row 1, column 7 leaves the image of \(6, 9\)"),
        ('left="2"', 'left="-1"', "leaves the image"),
        ('left="2"', 'left="2.5"', "image 'a/2.jpg': expected left as a whole number, got '2.5'"),
        ('points="6.0,0.0;', 'points="six,0.0;', "expected points as x,y;x,y"),
        (
            '<polygon label="dog"',
            '<polygon label="cat"',
            "track 7 of video 'a': expected one label, got 'dog' and 'cat'",
        ),
        ('id="3" name="a/1.jpg" width="9"', 'id="3" name="a/1.jpg" width="8"', r"image 'a/2.jpg': expected \(6, 8\)"),
    ],
)
def test_faulty_cvat_is_refused(tmp_path, old, new, message):
    assert old in XML
    (tmp_path / "a.xml").write_text(XML.replace(old, new))
    with pytest.raises(ValueError, match=message):
        list(convert.read(tmp_path / "a.xml")[0])


def test_cvat_for_video_needs_a_size(tmp_path):
    (tmp_path / "a.xml").write_text('<annotations><track id="0" label="dog"></track></annotations>')
    with pytest.raises(ValueError, match=r"a.xml: expected meta/task/original_size before the tracks, found none"):
        convert.read(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text("<annotations></annotations>")
    with pytest.raises(ValueError, match=r"a.xml: expected an export of CVAT with image or track elements"):
        convert.read(tmp_path / "a.xml")


@quick
@given(make.masks_of_any_size)
def test_run_lengths_by_rows(mask):
    runs = cvat_writer.run_lengths(mask)
    assert runs.tolist() == make.plain_runs(mask.T)


def test_no_incomplete_file_remains(tmp_path):
    def failing():
        yield from ytvis.open_dataset(make.save(tmp_path, "gt.json", make.sample())).results()
        raise ValueError("a faulty mask")

    for to in convert.CANNOT_HOLD:
        with pytest.raises(ValueError, match="a faulty mask"):
            convert.write(tmp_path / "out", to, failing())
    assert [path.name for path in tmp_path.iterdir()] == ["gt.json"]


# --- the command


def test_command_converts_predictions_for_correction_and_back(tmp_path, capsys):
    gt = make.save(tmp_path, "gt.json", make.sample())
    results = make.save(tmp_path, "results.json", make.submission())
    xml, out = tmp_path / "cvat.xml", tmp_path / "corrected.json"
    assert cli.main(["formats", str(results), "--gt", str(gt), "--to", "cvat", "--out", str(xml)]) == 0
    output = capsys.readouterr()
    assert output.out.split() == [str(xml), str(tmp_path / "cvat.labels.json")]
    assert "cvat cannot hold identities across images" in output.err
    assert cli.main(["formats", str(xml), "--like", str(gt), "--to", "ytvis", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == [str(out)]
    assert cli.main(["validate", str(out)]) == 0
    corrected, dataset = ytvis.open_dataset(out), ytvis.open_dataset(gt)
    predicted = ytvis.read_results(results).video(dataset.videos[5], dataset.categories)
    assert [track.rles for track in corrected.video(5).tracks] == [track.rles for track in predicted.tracks]
    assert dict(corrected.categories) == make.CATEGORIES


def test_scores_survive_the_round_trip(tmp_path):
    video = ytvis.open_dataset(make.save(tmp_path, "gt.json", make.sample())).video(5)
    track = video.tracks[0]
    scored = Track(track.id, track.category_id, 0.123456789, track.rles, track.boxes_xyxy, track.areas)
    result = VideoResult(5, "film5", video.size_hw, video.times, video.categories, (scored,), video.file_names)
    for to in ("coco", "cvat"):
        convert.write(tmp_path / "out", to, iter([result]))
        (reread,) = convert.read(tmp_path / "out")[0]
        assert reread.tracks[0].score == 0.123456789


def test_command_requires_gt_and_another_target(tmp_path, capsys):
    gt = make.save(tmp_path, "gt.json", make.sample())
    results = make.save(tmp_path, "results.json", make.submission())
    assert cli.main(["formats", str(results), "--to", "coco", "--out", str(tmp_path / "x")]) == 2
    assert "the data set that they are for is needed (--gt)" in capsys.readouterr().err
    assert cli.main(["formats", str(gt), "--to", "coco", "--out", str(gt)]) == 2
    assert "cannot be written over the file it is made from" in capsys.readouterr().err
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert cli.main(["formats", str(tmp_path / "other.json"), "--to", "coco", "--out", str(tmp_path / "x")]) == 2
    assert "expected results, or a data set with videos" in capsys.readouterr().err
