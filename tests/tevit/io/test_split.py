"""tevit split: by video, stratified, deterministic and complete."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import annotations as make
from tevit.cli import main as cli
from tevit.io import split, ytvis
from tevit.io.validate import validate

BAR = make.rectangle(0, 6, 6, 8)


def data_set(labels: list[list[int]]) -> dict:
    """One video for each list of categories, ids descending, one annotation for each category."""
    videos = [make.video(100 - i, 1) for i in range(len(labels))]
    pairs = [(100 - i, category) for i, of_video in enumerate(labels) for category in of_video]
    annotations = [make.annotation(id, video, category, [BAR]) for id, (video, category) in enumerate(pairs, 1)]
    return make.data_set(videos, annotations)


def opened(folder, content):
    return ytvis.open_dataset(make.save(folder, "gt.json", content))


labels = st.lists(st.lists(st.sampled_from([4, 2, 7]), max_size=4), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(labels, st.floats(0.05, 0.95), st.integers(0, 5))
def test_parts_are_disjoint_complete_and_of_the_right_size(tmp_path_factory, labels, share, seed):
    folder = tmp_path_factory.mktemp("split")
    content = data_set(labels)
    dataset = opened(folder, content)
    expected = round(share * len(labels))
    if not 0 < expected < len(labels):
        with pytest.raises(ValueError, match="leaves videos on both sides"):
            split.choose(dataset, share, seed)
        return
    chosen = split.choose(dataset, share, seed)
    assert len(chosen) == expected
    parts = [json.loads(path.read_text()) for path in split.write(folder / "gt.json", chosen, folder / "out")]
    for key in ("videos", "annotations"):
        items = [item for part in parts for item in part[key]]
        assert sorted(item["id"] for item in items) == sorted(item["id"] for item in content[key])
        assert all(item in content[key] for item in items)
    for part, is_val in zip(parts, (False, True), strict=True):
        assert {video["id"] in chosen for video in part["videos"]} == {is_val}
        assert {a["video_id"] in chosen for a in part["annotations"]} <= {is_val}
        assert [list(part), part["categories"], part["info"]] == [list(content), content["categories"], content["info"]]
    assert [validate(folder / "out" / name).faults for name in split.NAMES] == [[], []]


@settings(max_examples=60, deadline=None)
@given(labels, st.integers(0, 5))
def test_the_choice_depends_on_content_and_seed_alone(tmp_path_factory, labels, seed):
    folder = tmp_path_factory.mktemp("split")
    content = data_set(labels)
    turned = content | {key: content[key][::-1] for key in ("videos", "annotations", "categories")}
    if not 0 < round(0.3 * len(labels)) < len(labels):
        return
    assert split.choose(opened(folder, content), 0.3, seed) == split.choose(opened(folder, turned), 0.3, seed)


def test_the_choice_is_the_same_on_every_machine(tmp_path):
    """Recorded: another rule would silently move videos that were used for training into validation."""
    dataset = opened(tmp_path, data_set([[4], [4, 2], [2], [], [7], [4], [2, 2], [7, 4], [2], [4]]))
    assert split.choose(dataset, 0.3, 0) == {94, 95, 96}
    assert split.choose(dataset, 0.3, 1) != split.choose(dataset, 0.3, 0)


def test_every_category_is_split_in_proportion(tmp_path):
    dataset = opened(tmp_path, data_set([[4]] * 40 + [[2]] * 20 + [[7]] * 10 + [[]] * 10))
    for seed in range(5):
        chosen = split.choose(dataset, 0.2, seed)
        assert split.counts(dataset, chosen) == {4: (32, 8), 2: (16, 4), 7: (8, 2)}
        assert len(chosen) == 16


def test_rare_categories_among_common_ones_are_in_proportion(tmp_path):
    dataset = opened(tmp_path, data_set([[4, 2] if i % 4 == 0 else [4, 7] if i % 10 == 1 else [4] for i in range(80)]))
    for seed in range(5):
        counts = split.counts(dataset, split.choose(dataset, 0.25, seed))
        assert counts[2] == (15, 5) and counts[7] == (6, 2) and counts[4] == (60, 20)


def test_a_category_of_one_video_stays_in_training(tmp_path):
    dataset = opened(tmp_path, data_set([[4]] * 9 + [[7]]))
    assert all(91 not in split.choose(dataset, 0.4, seed) for seed in range(8))


def test_names(tmp_path):
    dataset = opened(tmp_path, data_set([[4]] * 3))
    assert split.named(dataset, ["film99", "98"]) == {99, 98}
    with pytest.raises(ValueError, match="has no video 'film1', 'x'"):
        split.named(dataset, ["film99", "film1", "x"])
    with pytest.raises(ValueError, match="leave videos on both sides, got 3 of 3"):
        split.named(dataset, ["film98", "film99", "film100"])


def test_the_file_itself_is_never_replaced(tmp_path):
    path = make.save(tmp_path, "train.json", data_set([[4]] * 3))
    with pytest.raises(ValueError, match="would replace it"):
        split.write(path, {99}, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["train.json"]


@pytest.mark.parametrize("share", [0, 1, -0.5, 2, 0.01])
def test_shares_that_leave_a_side_empty(tmp_path, share):
    with pytest.raises(ValueError, match="expected a share that leaves videos on both sides"):
        split.choose(opened(tmp_path, data_set([[4]] * 5)), share, 0)


# --- the command


def test_command(tmp_path, capsys):
    path = make.save(tmp_path, "gt.json", data_set([[4]] * 12 + [[2]] * 8))
    out = tmp_path / "parts"
    assert cli.main(["split", str(path), "--val", "0.25", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"{out / 'train.json'}: 15 videos, 15 annotations" in text
    assert "without any for validation" not in text
    assert cli.main(["split", str(path), "--val", "0.25", "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["val"] == {"file": str(out / "val.json"), "videos": 5, "annotations": 5}
    assert summary["categories"][0] == {"id": 4, "name": "dog", "train": 9, "val": 3}
    videos = json.loads((out / "val.json").read_text())["videos"]
    assert Counter(summary["val_videos"]) == Counter(video["file_names"][0].split("/")[0] for video in videos)


def test_command_with_names(tmp_path, capsys):
    path = make.save(tmp_path, "gt.json", data_set([[4]] * 3))
    (tmp_path / "names.txt").write_text("# chosen by hand\nfilm99\n\n")
    command = ["split", str(path), "--out", str(tmp_path / "parts"), "--videos"]
    assert cli.main([*command, str(tmp_path / "names.txt")]) == 0
    assert [v["id"] for v in json.loads((tmp_path / "parts/val.json").read_text())["videos"]] == [99]
    (tmp_path / "names.txt").write_text("# nothing\n")
    assert cli.main([*command, str(tmp_path / "names.txt")]) == 2
    assert "names no video" in capsys.readouterr().err


def test_annotations_of_unlisted_videos_are_counted_and_left_out(tmp_path, capsys):
    content = make.sample()
    content["annotations"].append(make.annotation(20, 77, 4, [None, None]))
    path = make.save(tmp_path, "gt.json", content)
    assert cli.main(["split", str(path), "--val", "0.5", "--out", str(tmp_path / "out")]) == 0
    assert "annotations of videos that the file does not list: 1, in neither part" in capsys.readouterr().out
    parts = [json.loads((tmp_path / "out" / f"{name}.json").read_text())["annotations"] for name in ("train", "val")]
    assert sorted(one["id"] for part in parts for one in part) == [3, 11, 12]


@pytest.mark.parametrize("place", [0, 2])
def test_annotation_0_is_renumbered_in_both_parts(tmp_path, capsys, place):
    content = make.sample()
    content["annotations"][place]["id"] = 0
    highest = max(one["id"] for one in content["annotations"])
    path = make.save(tmp_path, "gt.json", content)
    assert cli.main(["split", str(path), "--val", "0.5", "--out", str(tmp_path / "out")]) == 0
    assert "annotations with the id 0, which can never be matched: 1, renumbered" in capsys.readouterr().out
    parts = [json.loads((tmp_path / "out" / f"{name}.json").read_text())["annotations"] for name in ("train", "val")]
    expected = sorted([*(one["id"] or highest + 1 for one in content["annotations"])])
    assert sorted(one["id"] for part in parts for one in part) == expected
    before = {one["id"] or highest + 1: one for one in content["annotations"]}
    assert all({**one, "id": 0} == {**before[one["id"]], "id": 0} for part in parts for one in part)
