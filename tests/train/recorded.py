"""The original's recorded training runs as batches and models of ours."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tests import oracle
from tevit.checkpoint import empty_model, from_original
from tevit.configs import QUERYINST_PVT, TEVIT_MSGSHIFT, TEVIT_R50, ModelConfig
from tevit.model.tevit import TeViT
from tevit.video.transforms import Geometry, geometry, preprocess
from train.data import Batch, Clip, ClipTarget, collate

CONFIGS: dict[str, ModelConfig] = {
    "msgshift": TEVIT_MSGSHIFT,
    "r50": TEVIT_R50,
    "queryinst_pvtv2b1_coco": QUERYINST_PVT,
}
LOSSES = {"class": "loss_cls", "l1": "loss_bbox", "giou": "loss_iou", "dice": "loss_mask"}


def golden(name: str) -> tuple[Any, dict[str, Any]]:
    """A recorded file and what it says of itself."""
    arrays = np.load(oracle.GOLDENS / f"train_{name}.npz")
    return arrays, json.loads(str(arrays["meta"]))


def original_model(name: str) -> TeViT:
    """A model with the manifest's weights, in training mode, without drop path, as the recordings were made."""
    config = CONFIGS[name]
    config = replace(config, backbone=replace(config.backbone, drop_path=0.0))
    model = empty_model(config, all_masks=True)
    state = {key: torch.from_numpy(value) for key, value in oracle.state_arrays(oracle.manifest(name)).items()}
    model.load_state_dict(from_original(state, config.backbone.kind, model.state_dict()), assign=True)
    for key, parameter in model.named_parameters():
        frozen = name == "r50" and key.startswith(("backbone.conv1.", "backbone.bn1.", "backbone.layer1."))
        parameter.requires_grad_(not frozen)
    return model.train()


def entries(meta: dict[str, Any]) -> list[dict[str, Any]]:
    """The recorded clips, or pictures as clips of one frame, each with all that makes it."""
    if "images" in meta:
        return [{**image, "absent": (), "spread": True} for image in meta["images"]]
    return [{**{key: meta[key] for key in ("T", "H", "W", "scale")}, **clip, "spread": False} for clip in meta["clips"]]


def batch(clips: Sequence[dict[str, Any]]) -> Batch:
    """Clips, of the same number of frames, as a batch."""
    return collate([_clip(entry) for entry in clips])


def frame_ids(entry: dict[str, Any]) -> list[np.ndarray]:
    """For each frame of a clip, the instances' ids in the order in which the original saw them."""
    return [frame["ids"] for frame in _truth(entry)]


def _truth(entry: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    height, width = _sizes(entry).resized_hw
    absent = {(instance, time) for instance, time in entry["absent"]}
    return oracle.make_gt(entry["gt_seed"], entry["T"], height, width, entry["n_inst"], absent)


def _sizes(entry: dict[str, Any]) -> Geometry:
    return geometry((entry["H"], entry["W"]), tuple(entry["scale"]))


def _clip(entry: dict[str, Any]) -> Clip:
    sizes = _sizes(entry)
    video = oracle.make_video(entry["video_seed"], entry["T"], entry["H"], entry["W"])
    frames = np.stack([preprocess(frame, sizes) for frame in video])
    target = _target(_truth(entry), sizes.resized_hw, sizes.padded_hw)
    if entry["spread"]:  # over the 80 classes of COCO
        target = replace(target, labels=2 * target.labels + 1)
    return Clip(frames, sizes.resized_hw, target)


def _target(truth: list[dict[str, np.ndarray]], size_hw: tuple[int, int], padded_hw: tuple[int, int]) -> ClipTarget:
    ids = np.unique(np.concatenate([frame["ids"] for frame in truth]))
    shape = (len(truth), len(ids))
    labels, boxes = np.zeros(len(ids), np.int64), np.zeros((*shape, 4), np.float32)
    present, masks = np.zeros(shape, bool), np.zeros((*shape, *padded_hw), np.uint8)
    for time, frame in enumerate(truth):
        columns = np.searchsorted(ids, frame["ids"])
        labels[columns] = frame["labels"]
        boxes[time, columns] = frame["boxes"]
        present[time, columns] = True
        masks[time, columns, : size_hw[0], : size_hw[1]] = frame["masks"]
    return ClipTarget(labels, ids, boxes, present, masks)
