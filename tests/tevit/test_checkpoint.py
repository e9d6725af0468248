"""Checkpoints: both kinds of file, strictness, error messages."""

import json
import os
import pickle
import re
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from tests.processes import run_python
from tevit import checkpoint
from tevit.checkpoint import to_original
from tevit.configs import QUERYINST_PVT, TEVIT_MSGSHIFT, published
from tevit.download import bundled_path
from tevit.model.tevit import TeViT


def small(config, **changes):
    """The architecture of `config` in a few thousand parameters."""
    kinds = {
        "pvt_v2": {"dims": (8, 16, 24, 32), "heads": (1, 1, 2, 2)},
        "swin": {"dims": (8, 16, 32, 64), "heads": (1, 1, 2, 2), "depths": (2, 2, 2, 2)},
    }
    backbone = replace(config.backbone, **kinds.get(config.backbone.kind, {}))
    sizes = {"queries": 5, "channels": 16, "heads": 2, "ffn_channels": 32, "dynamic_channels": 8}
    return replace(config, backbone=backbone, **{**sizes, **changes})


@pytest.fixture
def shrunk(monkeypatch):
    """Makes the known architectures small, so that files are written and read quickly."""
    for name in ("TEVIT_MSGSHIFT", "TEVIT_R50", "TEVIT_SWIN_L_MST", "QUERYINST_PVT"):
        monkeypatch.setattr(checkpoint, name, small(getattr(checkpoint, name)))
    return checkpoint


def original_file(path, config, **extra):
    torch.manual_seed(1)
    state = to_original(dict(TeViT(config).state_dict()), config.backbone.kind)
    content = {"meta": {"epoch": np.float64(3.5), "time": "noon"}, "optimizer": {"lr": 1e-4}, "state_dict": state}
    torch.save({**content, **extra}, path)
    return state


@pytest.mark.parametrize("name", ["TEVIT_MSGSHIFT", "TEVIT_R50", "TEVIT_SWIN_L_MST"])
def test_original_file_loads_and_its_architecture_is_inferred(shrunk, tmp_path, name):
    config = getattr(shrunk, name)
    state = original_file(tmp_path / "a.pth", config)
    model = shrunk.load_model(tmp_path / "a.pth", all_masks=True)
    assert model.config == config
    back = to_original(dict(model.state_dict()), config.backbone.kind)
    assert back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)
    assert not model.training and all(not parameter.is_meta for parameter in model.parameters())


def test_inference_drops_the_mask_heads_that_it_never_uses(shrunk, tmp_path):
    original_file(tmp_path / "a.pth", shrunk.TEVIT_MSGSHIFT)
    lean = shrunk.load_model(tmp_path / "a.pth")
    assert [stage.mask is not None for stage in lean.stages] == [False] * 5 + [True]


def test_published_msgshift_without_the_unused_mask_heads_has_106_6_million_values():
    shapes = dict(checkpoint.empty_model(TEVIT_MSGSHIFT, all_masks=False).named_parameters())
    assert round(sum(value.numel() for value in shapes.values()) / 1e6, 1) == 106.6


def test_safetensors_explains_itself(shrunk, tmp_path):
    torch.manual_seed(2)
    model = TeViT(small(TEVIT_MSGSHIFT, categories=((7, "cat"), (9, "dög")), time_attention=False))
    shrunk.save_model(tmp_path / "b.safetensors", model)
    loaded = shrunk.load_model(tmp_path / "b.safetensors", all_masks=True)
    assert loaded.config == model.config
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_values_in_half_precision_are_read_as_float32(shrunk, tmp_path):
    torch.manual_seed(3)
    model = TeViT(small(TEVIT_MSGSHIFT))
    half = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    shrunk.save_state(tmp_path / "half.safetensors", model.config, half)
    torch.save({"state_dict": to_original(half, "pvt_v2")}, tmp_path / "half.pth")
    for name in ("half.safetensors", "half.pth"):
        state = shrunk.load_model(tmp_path / name, all_masks=True).state_dict()
        assert all(state[key].dtype == value.dtype for key, value in model.state_dict().items())
        assert all(torch.equal(state[key], value.to(state[key].dtype)) for key, value in half.items())


def test_a_lean_file_predicts_but_does_not_train(shrunk, tmp_path):
    model = TeViT(small(TEVIT_MSGSHIFT))
    state = shrunk.inference_state(dict(model.state_dict()), model.config.stages)
    shrunk.save_state(tmp_path / "lean.safetensors", model.config, state)
    assert shrunk.load_model(tmp_path / "lean.safetensors").config == model.config
    with pytest.raises(ValueError, match=r"lacks \d+ of \d+ tensors, first 'stages.0.mask"):
        shrunk.load_model(tmp_path / "lean.safetensors", all_masks=True)
    with pytest.raises(ValueError, match="needs all mask heads"):
        shrunk.save_original(tmp_path / "back.pth", model.config, state)
    assert not (tmp_path / "back.pth").exists()


def test_to_the_original_layout_and_back(shrunk, tmp_path):
    state = original_file(tmp_path / "a.pth", shrunk.TEVIT_SWIN_L_MST)
    config, ours = shrunk.read_checkpoint(tmp_path / "a.pth")
    shrunk.save_original(tmp_path / "b.pth", config, ours)
    rewritten = torch.load(tmp_path / "b.pth", weights_only=True)["state_dict"]
    assert rewritten.keys() == state.keys() and all(torch.equal(rewritten[key], state[key]) for key in state)


def test_missing_leftover_and_reshaped_keys_are_named(shrunk, tmp_path):
    config = shrunk.TEVIT_MSGSHIFT
    state = to_original(dict(TeViT(config).state_dict()), "pvt_v2")
    broken = {key: value for key, value in state.items() if key != "neck.fpn_convs.2.conv.bias"}
    torch.save({"state_dict": broken}, tmp_path / "missing.pth")
    with pytest.raises(ValueError, match=r"1 keys are missing, first 'neck.fpn_convs.2.conv.bias'"):
        shrunk.load_model(tmp_path / "missing.pth")
    torch.save({"state_dict": {**state, "neck.extra": torch.zeros(1)}}, tmp_path / "extra.pth")
    with pytest.raises(ValueError, match=r"1 keys are left over, first 'neck.extra'"):
        shrunk.load_model(tmp_path / "extra.pth")
    state["neck.fpn_convs.2.conv.bias"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "shape.pth")
    with pytest.raises(ValueError, match=r"fpn.output.2.bias: expected shape \(16,\), got \(3,\)"):
        shrunk.load_model(tmp_path / "shape.pth")


def test_another_model_or_class_count_is_named(shrunk, tmp_path):
    original_file(tmp_path / "r50.pth", shrunk.TEVIT_R50)
    with pytest.raises(ValueError, match="expected tevit_msgshift, got the architecture of tevit_r50"):
        shrunk.load_model(tmp_path / "r50.pth", expected=shrunk.TEVIT_MSGSHIFT)
    names = tuple(f"class {index}" for index in range(25))
    ovis = small(TEVIT_MSGSHIFT, categories=tuple(enumerate(names, 1)))
    original_file(tmp_path / "ovis.pth", ovis, meta={"CLASSES": names})
    assert dict(shrunk.load_model(tmp_path / "ovis.pth").config.categories)[25] == "class 24"
    with pytest.raises(ValueError, match=r"expected 40 classes \(tevit_msgshift\), got 25"):
        shrunk.load_model(tmp_path / "ovis.pth", expected=shrunk.TEVIT_MSGSHIFT)
    original_file(tmp_path / "nameless.pth", ovis)
    with pytest.raises(ValueError, match=r"got 25, and the file does not name them"):
        shrunk.load_model(tmp_path / "nameless.pth")


def test_model_name_gives_name_and_test_scale(shrunk, tmp_path, monkeypatch):
    original_file(tmp_path / "a.pth", shrunk.TEVIT_MSGSHIFT)
    other = replace(shrunk.TEVIT_MSGSHIFT, name="tevit_msgshift_mst", scale=(480, 960))
    assert shrunk.load_model(tmp_path / "a.pth", expected=other).config == other


def test_a_file_that_runs_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was here"),)

    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Attack()}, tmp_path / "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Attack(), protocol=2))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(ValueError, match=r"refused, because reading it would run code \(.*mkdir\)"):
            checkpoint.load_model(tmp_path / name)
    assert not (tmp_path / "was here").exists()


def test_files_that_are_no_checkpoint(tmp_path, tiny_model):
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "short.safetensors").write_bytes(b"\x10")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as file:
        file.writestr("a.txt", "hello")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"state_dict": {"some.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    for name, words in {
        "text.pth": "not a PyTorch checkpoint",
        "empty.pth": "not a PyTorch checkpoint",
        "zip.pth": "not a PyTorch checkpoint",
        "short.safetensors": "not a whole safetensors file",
        "list.pth": "expected a checkpoint with a `state_dict` of tensors",
        "other.pth": "expected the keys of a TeViT or QueryInst checkpoint, found others, first 'some.weight'",
    }.items():
        with pytest.raises(ValueError, match=f"{name}: {words}"):
            checkpoint.load_model(tmp_path / name)


def test_truncated_files_are_named(tmp_path, tiny_model):
    checkpoint.save_model(tmp_path / "a.safetensors", tiny_model)
    torch.save({"state_dict": dict(tiny_model.state_dict())}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match=f"{name}: not a "):
            checkpoint.load_model(tmp_path / name)


def test_safetensors_without_or_with_a_wrong_header(tmp_path, tiny_model):
    from safetensors.torch import save_file

    state = {key: value.contiguous() for key, value in tiny_model.state_dict().items()}
    save_file(state, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="expected the model's configuration in its header"):
        checkpoint.load_model(tmp_path / "bare.safetensors")
    header = json.dumps(asdict(tiny_model.config) | {"colour": "red"})
    save_file(state, tmp_path / "newer.safetensors", metadata={"tevit": header})
    with pytest.raises(ValueError, match=r"not a model configuration of this version.*colour"):
        checkpoint.load_model(tmp_path / "newer.safetensors")
    del state["query_boxes"]
    save_file(state, tmp_path / "less.safetensors", metadata={"tevit": json.dumps(asdict(tiny_model.config))})
    with pytest.raises(ValueError, match="lacks tensor 'query_boxes'"):
        checkpoint.load_model(tmp_path / "less.safetensors")


def test_coco_queryinst_is_a_starting_point_and_says_what_it_did_not_fill(shrunk, tmp_path):
    eighty = tuple((index, str(index)) for index in range(1, 81))
    monkey = small(QUERYINST_PVT, categories=eighty)
    original_file(tmp_path / "coco.pth", monkey)
    with pytest.raises(ValueError, match="a starting point for training, not a model of videos"):
        shrunk.load_model(tmp_path / "coco.pth")
    torch.manual_seed(5)
    model = TeViT(shrunk.TEVIT_MSGSHIFT)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = shrunk.load_initial(model, tmp_path / "coco.pth")
    assert report.missing == ("backbone.messengers",)
    assert len(report.reshaped) == 24
    assert all("class_logits" in key or "mask.logits" in key for key in report.reshaped)
    assert str(report) == (
        f"{report.total - 25} of {report.total} tensors: backbone 176 of 176, FPN 16 of 16, queries 2 of 2, mask heads "
        "192 of 192, query heads 228 of 228; start afresh: messengers, class logits of stages 0-5 (of another shape)"
    )
    _, state = shrunk.read_checkpoint(tmp_path / "coco.pth")
    for key, value in model.state_dict().items():
        source = before if key in report.missing + report.reshaped else state
        assert torch.equal(value, source[key]), key


def queryinst_file(path, config):
    """A file as hustvl/QueryInst writes it: Swin by Microsoft's names, mask heads without batch norm."""
    torch.manual_seed(2)
    ours = TeViT(config).state_dict()
    state = to_original(dict(ours), config.backbone.kind)
    for key in [key for key in state if key.startswith("backbone.") and config.backbone.kind == "swin"]:
        del state[key]
    for key, value in ours.items():
        if key.startswith("backbone.") and config.backbone.kind == "swin":
            key = re.sub(r"(\d)\.downsample", lambda match: f"{int(match[1]) - 1}.downsample", key)
            state[re.sub(r"norms\.(\d)", r"norm\1", key)] = value
    for key in [key for key in state if re.search(r"mask_head.*\.bn\.", key)]:
        state[key.rpartition(".bn.")[0] + ".conv.bias"] = torch.zeros(1)
        del state[key]
    torch.save({"meta": {"CLASSES": tuple(str(n) for n in range(80))}, "state_dict": state}, path)
    return ours


@pytest.mark.parametrize("name", ["TEVIT_R50", "TEVIT_SWIN_L_MST"])
def test_files_of_queryinst_are_starting_points(shrunk, tmp_path, name):
    config = getattr(shrunk, name)
    eighty = tuple((index, str(index)) for index in range(80))
    ours = queryinst_file(tmp_path / "queryinst.pth", replace(config, categories=eighty, queries=7))
    model = TeViT(config)
    report = shrunk.load_initial(model, tmp_path / "queryinst.pth")
    assert all(".bn." in key and "mask" in key for key in report.missing) and len(report.missing) == 6 * 4 * 5
    afresh = "queries (of another shape), class logits of stages 0-5 (of another shape), mask heads of stages 0-5"
    assert str(report).endswith(f"start afresh: {afresh}")
    assert all(torch.equal(model.state_dict()[key], ours[key]) for key in report.loaded)
    assert any("downsample" in key for key in report.loaded)
    with pytest.raises(ValueError, match="not a whole"):
        shrunk.read_checkpoint(tmp_path / "queryinst.pth")


def test_unknown_names_offer_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tevit_swin_l_mst'"):
        published("swin-l")


def test_a_file_that_is_written_over_takes_nothing_from_who_has_read_it(tmp_path, tiny_model):
    """In a separate process: one that still reads the mapped file is killed by the system."""
    file = tmp_path / "m.safetensors"
    checkpoint.save_model(file, tiny_model)
    program = """if True:
        import sys
        from tevit.checkpoint import read_checkpoint
        _, state = read_checkpoint(sys.argv[1])
        open(sys.argv[1], "wb").close()
        print(sum(float(value.double().sum()) for value in state.values()))"""
    process = run_python("-c", program, file, folder=tmp_path)
    expected = sum(float(value.double().sum()) for value in tiny_model.state_dict().values())
    assert process.returncode == 0 and float(process.stdout) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ("Heart disc a b c d e f".split(), {0: 7, 1: 0}),
        ("square disc triangle star cross ring crescent heart".split(), {0: 1, 1: 0, 2: 2, 7: 7}),
    ],
)
def test_class_rows_are_matched_by_name(names, rows):
    path = bundled_path("tevit_demo")
    config, state = checkpoint.read_checkpoint(path)
    torch.manual_seed(0)
    model = TeViT(replace(config, categories=tuple(enumerate(names, 1))))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = checkpoint.load_initial(model, path)
    after = model.state_dict()
    known = sum(name.lower() in {name for _, name in config.categories} for name in names)
    assert str(report).endswith(f"{known} of 8 classes matched by name")
    for key in ("stages.0.class_logits.weight", "stages.5.mask.logits.bias"):
        for row, source in rows.items():
            assert torch.equal(after[key][row], state[key][source])
    if known == 2:
        assert torch.equal(after["stages.0.class_logits.weight"][2], before["stages.0.class_logits.weight"][2])


def test_without_a_common_name_the_heads_are_taken_by_position_and_that_is_said():
    path = bundled_path("tevit_demo")
    config, state = checkpoint.read_checkpoint(path)
    model = TeViT(replace(config, categories=tuple((n, str(n)) for n in range(8))))
    assert str(checkpoint.load_initial(model, path)).endswith("the class heads are taken over by position")
    assert torch.equal(model.state_dict()["stages.0.class_logits.bias"], state["stages.0.class_logits.bias"])
