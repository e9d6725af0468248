"""SAM 2.1 as a segmenter: a tiny model of the same class with random weights, from a local folder."""

import numpy as np
import pytest

from tests.tevit.inference.test_motion import scene
from tevit.progress import Cancelled
from tevit.review.sam2 import sam2
from tevit.review.segmenter import create_segmenter

transformers = pytest.importorskip("transformers", reason="the extra sam is not installed")
torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    backbone = {"model_type": "sam2_hiera_det_model", "image_size": [64, 64], "hidden_size": 16}
    backbone |= {"blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128]}
    backbone |= {"num_attention_heads_per_stage": [1, 1, 1, 1], "window_size_per_stage": [4, 2, 4, 2]}
    backbone |= {"window_positional_embedding_background_size": [2, 2], "global_attention_blocks": [3]}
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=128,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    decoder = {"hidden_size": 128, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    config = transformers.Sam2VideoConfig(
        vision_config=vision, mask_decoder_config=decoder, image_size=64, memory_attention_hidden_size=128,
        prompt_encoder_config={"hidden_size": 128, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        memory_encoder_hidden_size=128, memory_encoder_output_channels=64, memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1, memory_attention_feed_forward_hidden_size=16,
        mask_downsampler_embed_dim=128, memory_fuser_embed_dim=128, memory_fuser_intermediate_dim=16,
        memory_fuser_num_layers=1, memory_attention_rope_feat_sizes=[4, 4],
    )  # fmt: skip
    size = {"height": 64, "width": 64}
    images, videos = transformers.Sam2ImageProcessor(size=size), transformers.Sam2VideoVideoProcessor(size=size)
    processor = transformers.Sam2VideoProcessor(image_processor=images, video_processor=videos, target_size=64)
    folder = tmp_path_factory.mktemp("sam2")
    model = transformers.Sam2VideoModel(config)
    torch.nn.init.constant_(model.mask_decoder.pred_obj_score_head.proj_out.bias, 3.0)  # the object is visible
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def segmenter(folder):
    """It ends nowhere for lack of confidence: its masks are random."""
    segmenter = sam2(folder)
    segmenter.min_confidence = 0.0
    return segmenter


def whole_video(segmenter, frames, keys):
    """The library's own propagation, forwards: all frames in its session."""
    processor, model = segmenter._processor, segmenter.model
    session = processor.init_video_session(video=np.stack(frames))
    for t, mask in keys.items():
        processor.add_inputs_to_inference_session(session, t, [0], input_masks=[mask])
        model(inference_session=session, frame_idx=t)
    outputs = model.propagate_in_video_iterator(session, start_frame_idx=min(keys))
    return {output.frame_idx: output.pred_masks for output in outputs}


def test_propagation_equals_that_of_the_library(segmenter):
    frames, masks = scene(12, 2, 0)
    keys = {0: masks[0], 8: masks[8]}
    proposed = segmenter.propagate(frames, keys)
    expected = whole_video(segmenter, frames, keys)
    assert list(proposed.masks) == list(proposed.confidence) == list(range(12))
    for t in set(range(12)) - set(keys):
        logits = torch.nn.functional.interpolate(expected[t], (144, 192), mode="bilinear")
        np.testing.assert_array_equal(proposed.masks[t], (logits[0, 0] > 0).numpy())
    assert len({mask.sum() for mask in proposed.masks.values()}) > 3  # the masks differ
    assert all(0 <= value <= 1 for value in proposed.confidence.values())
    assert all(np.array_equal(proposed.masks[t], keys[t]) and proposed.confidence[t] == 1 for t in keys)


def test_propagation_goes_both_ways_within_the_range(segmenter):
    frames, masks = scene(8, 2, 0)
    calls = []
    proposed = segmenter.propagate(frames, {4: masks[4]}, first=1, last=6, progress=lambda *call: calls.append(call))
    assert list(proposed.masks) == list(range(1, 7)) and calls[-1] == ("propagating", 6, 6)
    apart = segmenter.propagate(frames, {4: masks[4]}, first=6, last=6)
    np.testing.assert_array_equal(apart.masks[6], proposed.masks[6])

    def cancel(stage, done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.propagate(frames, {4: masks[4]}, progress=cancel)
    with pytest.raises(ValueError, match="expected a range within frames 0 to 7, got 3 to 8"):
        segmenter.propagate(frames, {4: masks[4]}, first=3, last=8)


def test_propagation_ends_where_the_confidence_falls(folder):
    frames, masks = scene(6, 2, 0)
    segmenter = sam2(folder)
    segmenter.min_confidence = 1.01
    assert list(segmenter.propagate(frames, {2: masks[2]}).masks) == [2]
    assert list(segmenter.propagate(frames, {1: masks[1], 3: masks[3]}).masks) == [1, 2, 3]


def test_points_and_boxes_give_the_masks_of_the_image_model(segmenter, folder):
    frame = scene(1, 2, 0)[0][0]
    boxes = [(20.0, 20.0, 80.0, 90.0), (50.0, 10.0, 120.0, 60.0)]
    images = transformers.Sam2Model.from_pretrained(folder).eval()

    def expected(multimask, **prompts):
        inputs = segmenter._processor(images=frame, return_tensors="pt", **prompts)
        sizes = inputs.pop("original_sizes")
        with torch.inference_mode():
            output = images(**inputs, multimask_output=multimask)
        masks = segmenter._processor.post_process_masks(output.pred_masks, sizes)[0].numpy()
        return [choices[scores.argmax()] for choices, scores in zip(masks, output.iou_scores[0], strict=True)]

    by_boxes = segmenter.propose(frame, boxes=boxes)
    np.testing.assert_array_equal(by_boxes, expected(False, input_boxes=[[list(box) for box in boxes]]))
    (by_point,) = segmenter.propose(frame, points=[(40, 48, True)])
    assert by_point.shape == (144, 192) and by_point.dtype == bool
    np.testing.assert_array_equal([by_point], expected(True, input_points=[[[[40, 48]]]], input_labels=[[[1]]]))
    assert len(segmenter.propose(frame, points=[(40, 48, True), (60, 50, False)], boxes=boxes)) == 2
    with pytest.raises(ValueError, match="expected a point on the object or a box, got neither"):
        segmenter.propose(frame)


def test_a_segmenter_is_made_by_its_name(segmenter, folder, tmp_path, monkeypatch):
    assert create_segmenter().name == "GrabCut and optical flow"
    assert segmenter.name == f"SAM 2.1 ({folder.rpartition('/')[2]})"
    with pytest.raises(ValueError, match="segmenter: expected grabcut or sam2, got 'sam9'"):
        create_segmenter("sam9")
    with pytest.raises(ValueError, match=r"segmenter sam2: expected a checkpoint: .*, got none"):
        create_segmenter("sam2")
    with pytest.raises(ValueError, match=r"checkpoint '.*': expected a folder with the model's files"):
        create_segmenter("sam2", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match=r"segmenter sam2: it needs the package transformers: pip install .*\[sam\]"):
        create_segmenter("sam2", folder)


def test_sam2_returns_masks_by_id_at_constant_memory(segmenter):
    frames, masks = scene(24, 2, 0)
    state = segmenter.start(frames[0], {3: masks[0], 9: ~masks[0]})
    for frame in frames[1:]:
        proposed = segmenter.step(frame, state)
        assert set(proposed) == {3, 9} and all(m.shape == (144, 192) and m.dtype == bool for m in proposed.values())
    memory_sizes = [len(objects["non_cond_frame_outputs"]) for objects in state.session.output_dict_per_obj.values()]
    assert max(memory_sizes) <= segmenter.model.config.max_object_pointers_in_encoder
    assert sum(pixels.numel() for pixels in state.session.processed_frames.values()) <= 3 * 24


def test_sam2_gives_equal_masks_in_each_pass(segmenter):
    frames, masks = scene(4, 2, 0)
    passes = []
    for _ in range(2):
        state = segmenter.start(frames[0], {3: masks[0]})
        passes.append([segmenter.step(frame, state)[3] for frame in frames[1:]])
    np.testing.assert_array_equal(*passes)


@pytest.mark.parametrize("masks", [{}, {1: np.zeros((144, 192), bool)}, {1: np.ones((9, 9), bool)}])
def test_sam2_needs_masks_of_the_frame(segmenter, masks):
    with pytest.raises(ValueError, match="expected"):
        segmenter.start(scene(1, 2, 0)[0][0], masks)
