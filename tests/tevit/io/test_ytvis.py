"""YouTube-VIS JSON: data sets, results and submissions, valid and faulty ones."""

import gzip
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests import annotations as make
from tevit.io import json as jsonfile
from tevit.io import ytvis
from tevit.masks import json as segmentations
from tevit.masks import ops as masks
from tevit.results import Track, VideoResult

SQUARE, BAR = make.rectangle(1, 2, 4, 5), make.rectangle(0, 6, 6, 8)

quick = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opened(folder, content):
    return ytvis.open_dataset(make.save(folder, "gt.json", content))


# --- data sets


def test_a_video_has_the_values_of_the_file(tmp_path):
    dataset = opened(tmp_path, make.sample())
    assert list(dataset.videos) == [8, 5] and dict(dataset.categories) == make.CATEGORIES
    assert list(dataset.categories) == [4, 2, 7]
    video = dataset.video(5)
    assert (video.name, video.size_hw, video.length) == ("film5", make.SIZE, 3)
    assert video.file_names == ("film5/00000.jpg", "film5/00005.jpg", "film5/00010.jpg")
    assert video.times.tolist() == [0, 1 / 6, 2 / 6]
    first, second = video.tracks
    assert (first.id, first.category_id, first.score, first.iscrowd) == (11, 4, 1.0, False)
    assert first.rles == (masks.encode(SQUARE), masks.encode(SQUARE), None)
    assert first.areas.tolist() == [9, 9, 0]
    assert first.boxes_xyxy[:2].tolist() == [[2, 1, 5, 4]] * 2 and np.isnan(first.boxes_xyxy[2]).all()
    assert second.present.tolist() == [False, True, True]


def test_stated_areas_and_boxes_are_kept_although_the_masks_contradict(tmp_path):
    content = make.sample()
    content["annotations"][0] |= {"areas": [100.5, None, 7], "bboxes": [[0, 0, 4.5, 2], None, None], "iscrowd": 1}
    track = opened(tmp_path, content).video(5).tracks[0]
    assert track.areas.tolist() == [100.5, 0, 7] and track.iscrowd
    assert track.boxes_xyxy[0].tolist() == [0, 0, 4.5, 2] and np.isnan(track.boxes_xyxy[1]).all()


def test_absent_areas_and_boxes_come_from_the_masks(tmp_path):
    content = make.sample()
    for key in ("areas", "bboxes", "iscrowd"):
        del content["annotations"][0][key]
    track = opened(tmp_path, content).video(5).tracks[0]
    assert track.areas.tolist() == [9, 9, 0] and not track.iscrowd
    assert track.boxes_xyxy[0].tolist() == [2, 1, 5, 4]


def test_every_form_of_mask_is_read(tmp_path):
    polygon = [[2, 1, 5, 1, 5, 4, 2, 4]]
    forms = [make.compressed(SQUARE), make.uncompressed(SQUARE), polygon, None, make.compressed(SQUARE * 0)]
    turned = [{"counts": form["counts"], "size": form["size"]} for form in forms[:2]]
    content = make.data_set([make.video(1, 7)], [make.annotation(1, 1, 4, [None] * 7)])
    content["annotations"][0]["segmentations"] = forms + turned
    rles = opened(tmp_path, content).video(1).tracks[0].rles
    assert rles == (*[masks.encode(SQUARE)] * 3, None, None, *[masks.encode(SQUARE)] * 2)


@pytest.mark.parametrize("annotations", [None, "null"])
def test_validation_files_without_annotations(tmp_path, annotations):
    content = make.data_set([make.video(1, 2)], None) | ({} if annotations is None else {"annotations": None})
    dataset = opened(tmp_path, content)
    assert not dataset.has_annotations and dataset.video(1).tracks == ()
    assert opened(tmp_path, make.data_set([make.video(1, 2)], [])).has_annotations


def test_length_and_names_may_be_absent(tmp_path):
    content = make.data_set([make.video(1, 2), make.video(2, 2)], [])
    del content["videos"][0]["length"], content["videos"][1]["file_names"]
    videos = opened(tmp_path, content).videos
    assert videos[1].length == 2 and videos[2].file_names == () and videos[2].name == "video 2"


def test_masks_are_parsed_on_access_only(tmp_path):
    content = make.sample()
    content["annotations"][2]["segmentations"][0]["counts"] = [1, 2, 3]
    dataset = opened(tmp_path, content)
    assert len(dataset.video(5).tracks) == 2
    with pytest.raises(ValueError, match=r"gt.json: video 'film8', annotation 3, frame 0: .* sum to 6 pixels"):
        dataset.video(8)


@pytest.mark.parametrize("key", ["segmentations", "areas", "bboxes"])
def test_a_track_of_another_length_than_its_video_is_refused(tmp_path, key):
    content = make.sample()
    content["annotations"][0][key].pop()
    with pytest.raises(ValueError, match=f"annotation 11: expected 3 {key}, one a frame, got 2"):
        opened(tmp_path, content).video(5)


def test_a_box_that_float32_cannot_hold_is_refused(tmp_path):
    content = make.sample()
    content["annotations"][0]["bboxes"][0] = [0, 0, 1e308, 1]
    with pytest.raises(ValueError, match=r"annotation 11: expected float <= 268435456"):
        opened(tmp_path, content).video(5)


def test_a_mask_of_another_size_is_refused_by_name(tmp_path):
    content = make.sample()
    content["annotations"][0]["segmentations"][1] = make.uncompressed(make.rectangle(0, 0, 1, 1, (5, 9)))
    with pytest.raises(ValueError, match=r"track 11, frame 1: expected a mask of \(6, 9\), got \(5, 9\)"):
        opened(tmp_path, content).video(5)


def test_unknown_video(tmp_path):
    with pytest.raises(ValueError, match=r"gt.json has no video 77"):
        opened(tmp_path, make.sample()).video(77)


@pytest.mark.parametrize("group", ["videos", "categories"])
def test_duplicate_ids_are_refused(tmp_path, group):
    content = make.sample()
    content[group].append(content[group][0])
    with pytest.raises(ValueError, match=f"id once, got {content[group][0]['id']} twice"):
        opened(tmp_path, content)


@quick
@given(make.results())
def test_a_data_set_survives_writing_and_reading(tmp_path, results):
    path = tmp_path / "out.json"
    ytvis.save_dataset(path, results)
    dataset = ytvis.open_dataset(path)
    for before, after in zip(results, dataset.results(), strict=True):
        make.same_tracks(before, after)


def test_written_annotations_get_ids_that_are_unique_in_the_file(tmp_path):
    content = make.sample()
    dataset = opened(tmp_path, content)
    results = ytvis.read_results(make.save(tmp_path, "r.json", make.submission()))
    mixed = [dataset.video(5), results.video(dataset.videos[8], dataset.categories)]
    mixed[1] = _with_ids(mixed[1], 11)
    ytvis.save_dataset(tmp_path / "out.json", iter(mixed))
    written = json.loads((tmp_path / "out.json").read_text())
    assert [annotation["id"] for annotation in written["annotations"]] == [11, 12, 13]
    assert written["annotations"][0]["segmentations"][2] is None
    assert written["annotations"][0]["bboxes"] == [[2, 1, 3, 3], [2, 1, 3, 3], None]
    assert written["annotations"][0]["areas"] == [9, 9, None]


def _with_ids(result: VideoResult, first: int) -> VideoResult:
    tracks = tuple(
        Track(first + i, t.category_id, t.score, t.rles, t.boxes_xyxy, t.areas) for i, t in enumerate(result.tracks)
    )
    return VideoResult(result.video_id, "x", result.size_hw, result.times, result.categories, tracks)


def test_writing_refuses_contradictions(tmp_path):
    video = opened(tmp_path, make.sample()).video(5)
    with pytest.raises(ValueError, match="every video once, got video id 5 twice"):
        ytvis.save_dataset(tmp_path / "out.json", [video, video])
    other = VideoResult(6, "x", video.size_hw, video.times, {4: "cat"}, ())
    with pytest.raises(ValueError, match="category 4: expected one name, got 'dog' and 'cat'"):
        ytvis.save_dataset(tmp_path / "out.json", [video, other])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt.json"]


# --- frames on disk


@pytest.mark.parametrize("folder", ["", "JPEGImages", "train", "train/JPEGImages", "valid/JPEGImages", "val"])
def test_frames_are_found_in_the_layouts_of_the_releases(tmp_path, folder):
    dataset = opened(tmp_path, make.sample())
    frames = [tmp_path / folder / name for name in dataset.videos[5].file_names]
    for frame in frames:
        frame.parent.mkdir(parents=True, exist_ok=True)
        frame.touch()
    assert dataset.frame_files(5, tmp_path) == frames
    frames[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"'film5': its frame .*00005.jpg does not exist"):
        dataset.frame_files(5, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"video 'film8': none of its frames \(film8/00000.jpg"):
        dataset.frame_files(8, tmp_path)


def test_the_split_that_the_file_is_named_after_comes_first(tmp_path):
    dataset = ytvis.open_dataset(make.save(tmp_path, "valid.json", make.sample()))
    for split in ("train", "valid"):
        for name in dataset.videos[5].file_names:
            path = tmp_path / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert dataset.frame_files(5, tmp_path)[0].relative_to(tmp_path).parts[0] == "valid"


def test_frames_keep_the_order_of_the_file(tmp_path):
    content = make.sample()
    content["videos"][1]["file_names"].reverse()
    for name in content["videos"][1]["file_names"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = opened(tmp_path, content).frame_files(5, tmp_path)
    assert [file.name for file in files] == ["00010.jpg", "00005.jpg", "00000.jpg"]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_file_names_cannot_leave_the_folder(tmp_path, name):
    content = make.sample()
    content["videos"][1]["file_names"][1] = name
    with pytest.raises(ValueError, match="inside the frames' folder"):
        opened(tmp_path, content).frame_files(5, tmp_path)


# --- results


def test_results_become_tracks(tmp_path):
    dataset = opened(tmp_path, make.sample())
    results = ytvis.read_results(make.save(tmp_path, "results.json", make.submission()))
    assert [p.score for p in results.predictions] == [0.75, 0.5, 0.25]
    assert results.by_video == {5: [0, 2], 8: [1]}
    video = results.video(dataset.videos[5], dataset.categories)
    assert [(t.id, t.category_id, t.score) for t in video.tracks] == [(1, 4, 0.75), (3, 2, 0.25)]
    assert video.tracks[1].rles == (masks.encode(BAR), None, masks.encode(BAR))
    assert video.tracks[1].areas.tolist() == [12, 0, 12]
    assert video.tracks[1].boxes_xyxy[0].tolist() == [6, 0, 8, 6]
    assert results.video(dataset.videos[8], dataset.categories).tracks[0].rles == (None, None)


def test_predictions_of_other_lengths_are_cut_and_filled(tmp_path):
    dataset = opened(tmp_path, make.sample())
    content = [make.prediction(5, 4, 0.5, [SQUARE]), make.prediction(5, 4, 0.5, [SQUARE] * 9)]
    results = ytvis.read_results(make.save(tmp_path, "results.json", content))
    tracks = results.video(dataset.videos[5], dataset.categories).tracks
    assert [t.present.tolist() for t in tracks] == [[True, False, False], [True] * 3]
    assert [len(track.rles) for track in results.masks(5)] == [1, 9]


def test_raw_masks_are_those_of_the_file(tmp_path):
    other = make.rectangle(0, 0, 1, 1, (3, 4))
    content = [make.prediction(5, 4, 0.5, [SQUARE, None, other, other * 0])]
    track = ytvis.read_results(make.save(tmp_path, "results.json", content)).masks(5)[0]
    assert track.rles == [masks.encode(SQUARE), None, masks.encode(other), masks.encode(other * 0)]
    assert track.areas.tolist() == [9, 0, 1, 0]


def test_an_empty_list_is_no_prediction(tmp_path):
    results = ytvis.read_results(make.save(tmp_path, "results.json", []))
    assert results.predictions == () and results.masks(5) == []


def test_the_official_scripts_results_are_read_and_written_as_they_are(tmp_path):
    """Recorded: what the original test script wrote; reading and writing gives the same JSON."""
    recorded = json.loads(gzip.decompress((make.GOLDENS / "ytvis_results.json.gz").read_bytes()))
    dataset = opened(tmp_path, recorded["valid"])
    results = ytvis.read_results(make.save(tmp_path, "results.json", recorded["results"]))
    ytvis.write_results(tmp_path / "out.json", (results.video(v, dataset.categories) for v in dataset.videos.values()))
    written = json.loads((tmp_path / "out.json").read_text())
    key = json.dumps
    assert sorted(written, key=key) == sorted(recorded["results"], key=key)
    assert [p["video_id"] for p in written] == sorted((p["video_id"] for p in written), key=list(dataset.videos).index)


@quick
@given(make.results())
def test_submissions_survive_writing_and_reading(tmp_path, results):
    ytvis.write_results(tmp_path / "results.json", iter(results))
    content = json.loads((tmp_path / "results.json").read_text())
    assert all(entry["size"] and isinstance(entry["counts"], str) for p in content for entry in p["segmentations"])
    reread = ytvis.read_results(tmp_path / "results.json")
    for result in results:
        height, width = result.size_hw
        info = ytvis.VideoInfo(result.video_id, width, height, result.length)
        tracks = reread.video(info, result.categories).tracks
        assert [(t.category_id, t.score, t.rles) for t in tracks] == [
            (t.category_id, t.score, t.rles) for t in result.tracks
        ]


def test_an_absent_object_is_a_mask_of_no_pixel(tmp_path):
    video = opened(tmp_path, make.sample()).video(5)
    ytvis.write_results(tmp_path / "results.json", [video])
    written = json.loads((tmp_path / "results.json").read_text())
    assert list(written[0]) == ["video_id", "score", "category_id", "segmentations"]
    assert written[0]["segmentations"][2] == {"size": [6, 9], "counts": "f1"}
    ytvis.write_results(tmp_path / "results.json", [])
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_writing_takes_one_video_at_a_time_and_leaves_nothing_half_written(tmp_path):
    video = opened(tmp_path, make.sample()).video(5)

    def videos():
        yield video
        raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError):
        ytvis.write_results(tmp_path / "results.json", videos())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt.json"]


def test_the_zip_holds_results_json_alone(tmp_path):
    path = make.save(tmp_path, "results_of_others.json", make.submission())
    ytvis.write_zip(tmp_path / "out.zip", path)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["results.json"]
    assert len(ytvis.read_results(tmp_path / "out.zip").predictions) == 3


def test_zips_of_other_shape(tmp_path):
    for name, members in (("one.zip", ["a/other.json"]), ("two.zip", ["a.json", "b.json"]), ("none.zip", [])):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, json.dumps(make.submission()))
    assert len(ytvis.read_results(tmp_path / "one.zip").predictions) == 3
    with pytest.raises(ValueError, match=r"expected one file results.json in the archive, found a.json, b.json"):
        ytvis.read_results(tmp_path / "two.zip")
    with pytest.raises(ValueError, match="found nothing"):
        ytvis.read_results(tmp_path / "none.zip")


# --- faults are reported with their place

ODD_TEXTS = {
    "": r"is empty: expected JSON",
    "  \n": r"is empty: expected JSON",
    '[{"video_id": 1,\n  "score": }]': r"malformed JSON at line 2, column 12",
    '[{"video_id": 1, "category_id": 1, "segmentations": []': "malformed JSON at line 1, column 55",
    '[{"video_id": 1,\n "score": NaN}]': r"NaN at line 2, column 11 is not JSON",
    '[{"video_id": 1, "score": -Infinity}]': r"-Infinity at line 1, column 27 is not JSON",
    "{}": "expected array, got object",
    '[{"video_id": "1"}]': r"expected int, got str in \[0\].video_id",
    '[{"video_id": 1}]': r"object missing required field category_id in \[0\]",
    '[{"x": ' + "[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_files_that_are_no_results(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="results.json.*" + ODD_TEXTS[text]):
        ytvis.read_results(path)


def test_other_files_that_are_no_data_set(tmp_path):
    path = tmp_path / "gt.json"
    path.write_bytes(b"\xff\xfe[\x00]\x00")
    with pytest.raises(ValueError, match="expected UTF-8 text, but byte 0 is 0xff"):
        ytvis.open_dataset(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="expected object, got array"):
        ytvis.open_dataset(path)
    with pytest.raises(FileNotFoundError):
        ytvis.open_dataset(tmp_path / "none.json")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(make.sample()).encode())
    assert len(ytvis.open_dataset(path).videos) == 2


def test_a_score_must_be_finite(tmp_path):
    content = json.dumps(make.submission()).replace("0.25", "1e999")
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ValueError, match=r"out of range in \[2\].score"):
        ytvis.read_results(tmp_path / "r.json")


def test_a_faulty_mask_is_named_by_prediction_and_frame(tmp_path):
    content = make.submission()
    content[2]["segmentations"][2]["counts"] = "f1f1"
    results = ytvis.read_results(make.save(tmp_path, "results.json", content))
    with pytest.raises(ValueError, match=r"results.json: video 5, prediction 3, frame 2: the runs sum to 108 pixels"):
        results.masks(5)


def test_a_large_file_is_announced_with_its_memory(tmp_path, monkeypatch, caplog):
    path = make.save(tmp_path, "gt.json", make.sample())
    monkeypatch.setattr(jsonfile, "_LARGE", 100)
    monkeypatch.setattr(jsonfile, "free_memory", lambda: 10_000)
    ytvis.open_dataset(path)
    assert "gt.json has 0.0 GB: reading it needs about 0.0 GB of memory" in caplog.text
    monkeypatch.setattr(jsonfile, "free_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"needs about .* GB of memory, but .* are free"):
        ytvis.open_dataset(path)
    ytvis.write_zip(tmp_path / "r.zip", make.save(tmp_path, "r.json", make.submission()))
    with pytest.raises(ValueError, match="of memory, but"):
        ytvis.read_results(tmp_path / "r.zip")


# --- the fast and the general path of reading masks agree

FORMS = ["plain", "spaced", "nulls", "sizes", "extra", "escapes", "order", "mixed", "nothing"]


@pytest.mark.parametrize("form", FORMS)
def test_fast_and_general_paths_agree(form, monkeypatch):
    rng = np.random.default_rng(FORMS.index(form))
    tracks: list[Any] = [[make.compressed(rng.random((40, 300)) < 0.02) for _ in range(6)] for _ in range(3)]
    if form == "nulls":
        tracks[0][0] = tracks[0][1] = tracks[1][3] = tracks[2][5] = None
    elif form == "sizes":
        tracks[1][2] = make.compressed(SQUARE)
    elif form == "extra":
        tracks[1][2]["name"] = '"counts": "f1"'
    elif form == "order":
        tracks[1] = [{"counts": entry["counts"], "size": entry["size"]} for entry in tracks[1]]
    elif form == "mixed":
        tracks[1][4], tracks[2][0] = make.uncompressed(SQUARE), [[2, 1, 5, 1, 5, 4]]
    elif form == "nothing":
        tracks[0], tracks[1] = [], [None] * 4
    texts = [json.dumps(track, indent=2 if form == "spaced" else None).encode() for track in tracks]
    if form == "escapes":
        texts = [text.replace(b"\\\\", b"\\u005c").replace(b"`", b"\\u0060") for text in texts]
        assert b"\\u005c" in texts[0]
    fast = segmentations.read(texts, make.SIZE)
    for reader in ("read_texts", "read_runs"):
        monkeypatch.setattr(segmentations, reader, lambda *_: None)
    general = segmentations.read(texts, make.SIZE)
    assert fast[1] == general[1] == []
    for track, one, other in zip(tracks, fast[0], general[0], strict=True):
        assert one.rles == other.rles and one.areas.tolist() == other.areas.tolist()
        for entry, rle in zip(track, one.rles, strict=True):
            size = make.SIZE if entry is None or isinstance(entry, list) else entry["size"]
            assert rle == segmentations.parse(entry, size)


@pytest.mark.parametrize(
    "text",
    [
        '[{"size": [2, 2], "counts": "4", "counts": "1111"}]',
        '[{"size": [2, 2], "counts": "4"}, 7]',
        '[7, {"size": [2, 2], "counts": "4"}]',
        '[{"size": [2, 2], "counts": "4"}, {}]',
        '[{"size": [2, 2, 2], "counts": "4"}]',
        '[{"size": [2.5, 2], "counts": "4"}]',
        '[{"size": [-2, -2], "counts": "4"}]',
        '[{"size": [99999999999999999999, 2], "counts": "4"}]',
        '[{"size": [2, 2], "counts": "\\n"}]',
        '[{"size": [2, 2], "counts": "\\"4"}]',
        '[{"size": [2, 2], "counts": 4}]',
        '[{"size": [2, 2], "counts": 142}, {"size": [2, 2], "counts": {"1": 4}}]',
        '[{"size": [2, 2], "counts": "4", "x": {"size": [2, 2], "counts": "4"}}]',
        '[[{"size": [2, 2], "counts": "4"}]]',
        '[true, {"size": [2, 2], "counts": "4"}]',
        '["size", {"size": [2, 2], "counts": "4"}]',
        '{"size": [2, 2], "counts": "4"}',
        '"size"',
        "null",
        '[{"size": [2, 2], "counts": [4], "x": 1}, {"size": [2, 2], "counts": [1e0, 3.0]}]',
        '[{"size": [2, 2], "counts": [1, 2, 18446744073709551617]}]',
        '[{"size": [2, 2], "counts": [[4]]}]',
        '[{"size": [2, 2], "counts": [99999999999999999999999999999999999999]}]',
        '[{"size": [2, 2], "counts": []}]',
        '[{"size": [2, 2], "counts": [ ]}]',
    ],
)
def test_unusual_json_is_read_or_refused_frame_by_frame(text):
    """The fast path must give the result of parsing each frame by itself."""
    tracks, faults = segmentations.read([text.encode()], None)
    content = json.loads(text)
    if not isinstance(content, list):
        assert [fault.frame for fault in faults] == [None]
        return
    for frame, entry in enumerate(content):
        try:
            expected = segmentations.parse(entry, None)
        except ValueError as error:
            assert [fault.text for fault in faults if fault.frame == frame] == [str(error)]
            expected = None
        assert tracks[0].rles[frame] == expected


def test_faults_leave_other_frames_valid():
    good = make.compressed(SQUARE)
    track = [good, {"size": [6, 9], "counts": "f1f1"}, good, {"size": [6, 9], "counts": "~~"}, None]
    tracks, faults = segmentations.read([json.dumps([good] * 2).encode(), json.dumps(track).encode()], None)
    assert [(fault.track, fault.frame) for fault in faults] == [(1, 1), (1, 3)]
    assert [rle is not None for rle in tracks[1].rles] == [True, False, True, False, False]
    assert [rle is not None for rle in tracks[0].rles] == [True, True]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("a/cam/1.jpg", "b/cam/1.jpg", "c/side/1.jpg"), ["a/cam", "b/cam", "side"]),
        (("x/a/cam/1.jpg", "y/a/cam/1.jpg", "cam/1.jpg"), ["x/a/cam", "y/a/cam", "cam"]),
        (("a\\cam\\1.jpg", "b\\cam\\1.jpg", "1.jpg"), ["a/cam", "b/cam", "video 3"]),
        (("cam/1.jpg", "cam/2.jpg", "side/1.jpg"), ["cam (video 1)", "cam (video 2)", "side"]),
    ],
)
def test_names_have_as_many_folders_as_make_them_unique(tmp_path, files, names):
    videos = [make.video(id, 1) | {"file_names": [name], "name": "of another tool"} for id, name in enumerate(files, 1)]
    file = make.save(tmp_path, "gt.json", {"videos": videos, "categories": [], "annotations": None})
    dataset = ytvis.open_dataset(file)
    assert [info.name for info in dataset.videos.values()] == names
    assert [result.name for result in dataset.results()] == names
