"""Adapters of transformers' models: tiny models of the same classes with random weights, from local folders."""

import numpy as np
import pytest

from tests.tevit.inference.test_motion import scene
from tevit.inference import huggingface
from tevit.inference.conformance import check_clip, check_model
from tevit.inference.model_source import load_external

transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The models are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def videomt_folder(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    config = transformers.VideomtConfig(
        **sizes, num_blocks=2, num_queries=5, num_upscale_blocks=1, num_register_tokens=1, num_labels=3
    )
    folder = tmp_path_factory.mktemp("videomt")
    transformers.VideomtForUniversalSegmentation(config).save_pretrained(folder)
    transformers.VideomtVideoProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def test_videomt_frame_by_frame_equals_its_own_forward_on_a_clip(videomt_folder):
    model = huggingface.videomt(videomt_folder)
    pixels = torch.randn(1, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model.model(pixel_values_videos=pixels)
    queries = None
    for t in range(4):
        masks, classes, queries = model.logits(pixels[:, t], queries)
        torch.testing.assert_close(masks[0], whole.masks_queries_logits[t])
        torch.testing.assert_close(classes[0], whole.class_queries_logits[t])


def test_videomt_runs_as_a_model_by_its_name(videomt_folder):
    frames, _ = scene(4, 2, 0)
    predictor = load_external("videomt", {"checkpoint": videomt_folder, "threshold": "0.1"})
    results = list(predictor.model.predict(iter(frames)))
    assert len(results) == 4 and all(set(result) <= {1, 2, 3, 4, 5} for result in results) and any(results)
    assert all(np.asarray(i.mask).shape == (144, 192) and i.score >= 0.1 for result in results for i in result.values())
    assert predictor.categories == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint '.*': expected a folder with the model's files"):
        huggingface.videomt(str(tmp_path))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match=r"videomt: it needs the package transformers: pip install"):
        huggingface.videomt("anything")


def rf_detr(folder, queries=1):
    backbone = {"model_type": "rf_detr_dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone |= {"image_size": 32, "patch_size": 8, "num_windows": 1, "out_features": ["stage1", "stage2"]}
    heads = {"decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2}
    config = transformers.RfDetrConfig(
        backbone_config=backbone, d_model=16, decoder_ffn_dim=16, decoder_layers=1, num_queries=queries, group_detr=1,
        num_labels=3, intermediate_size=16, **heads,
    )  # fmt: skip
    transformers.RfDetrForInstanceSegmentation(config).save_pretrained(folder)
    transformers.RfDetrImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def mask2former(folder, queries=1):
    backbone = transformers.SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_labels=3,
        num_queries=queries,
    )  # fmt: skip
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


@pytest.mark.parametrize("write", [rf_detr, mask2former])
def test_detections_of_single_frames_become_tracks_with_their_masks(write, tmp_path):
    pytest.importorskip("trackers", reason="the extra trackers is not installed")
    torch.manual_seed(0)
    write(tmp_path)
    frames, _ = scene(5, 0, 0)
    model = huggingface.detector(str(tmp_path), threshold=0.0, begin_threshold=0.001)
    first, second = (list(model.predict(iter(frames))) for _ in range(2))
    assert [set(result) for result in first] == [set(result) for result in second]
    assert set(first[-1]) == {1}  # a still scene: one query is one track
    expected = model.detections(frames[-1])
    np.testing.assert_array_equal(first[-1][1].mask, expected.mask[0])


def failures(name, parameters):
    """The failed checks of a small pass."""
    checks = list(check_model(load_external(name, parameters), check_clip(14, (96, 128)), frames=12))
    assert [check.name for check in checks] == ["shapes", "ids", "deterministic", "cancel", "memory", "speed"]
    return [check for check in checks if check.passed is False]


def test_videomt_keeps_the_interface(videomt_folder):
    assert not failures("videomt", {"checkpoint": videomt_folder, "threshold": "0.1"})


@pytest.mark.parametrize("write", [rf_detr, mask2former])
def test_the_detector_keeps_the_interface(write, tmp_path):
    """Its random detections have the same box: which of them is which object is not clear."""
    pytest.importorskip("trackers", reason="the extra trackers is not installed")
    torch.manual_seed(0)
    write(tmp_path, 3)
    assert not failures("detector", {"checkpoint": str(tmp_path), "threshold": "0.0", "begin_threshold": "0.001"})
