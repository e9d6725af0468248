"""Bipartite matching and losses of every stage: one query per instance for the whole clip.

Source: TeViT paper, section 3.4, and QueryInst (Fang et al., 2021), section 3; values as recorded from the original.
Defined here where the original fails:
- a frame without instances in a clip that has some: all its queries are background (original: IndexError);
- a global batch without instances: divisors are those of a single positive (original: division by 1e-7);
- a clip with more instances than queries: unmatched instances have no loss.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import roi_align, sigmoid_focal_loss

from tevit.model.stage import Stage
from tevit.model.tevit import StageOutput, TeViT

from .data import Batch, ClipTarget

ALPHA, GAMMA = 0.25, 2.0  # of the focal loss
MASK_SIDE = 28
DICE_EPS = 1e-5
BOX_EPS = 1e-6
LARGE = 1e9


class Weights(NamedTuple):
    """Weights of the four losses; the first three also weigh the costs of the matching."""

    focal: float
    l1: float
    giou: float
    dice: float


class Targets(NamedTuple):
    """The ground truth of a clip on the model's device; see `train.data.ClipTarget` for the first four.

    masks: float32 (T*N, 1, H, W). whwh: float32 (4,), width and height of the resized frame, twice.
    """

    labels: Tensor
    boxes_xyxy: Tensor
    present: Tensor
    masks: Tensor
    whwh: Tensor


class Positives(NamedTuple):
    """The R matched (query, frame) pairs of a batch, in ascending order of `rows`.

    rows: (R,), index into B*T*Q. labels: (R,). boxes_xyxy, whwh: (R, 4), ground truth and sizes. clips, masks: (R,),
    the clip of a row and the index of its mask in that clip's `Targets.masks`.
    """

    rows: Tensor
    labels: Tensor
    boxes_xyxy: Tensor
    whwh: Tensor
    clips: Tensor
    masks: Tensor


class SlotLoss(nn.Module):
    """A model and its losses as one module, which DistributedDataParallel wraps.

    mask_rows: at most so many positives of a slot, drawn at random, go through each mask head, and their loss is
    scaled up to all of them; 0 for all, as in the original. checkpointing: the backbone's and the stages' activations
    are recomputed in the backward pass.
    """

    def __init__(self, model: TeViT, weights: Weights, mask_rows: int = 0, checkpointing: bool = False):
        super().__init__()
        self.model = model
        self.weights = weights
        self.mask_rows = mask_rows
        self.chunk = 1 if checkpointing else None
        # The mask heads are not checkpointed: their running statistics would be updated twice.
        for stage in model.stages if checkpointing else ():
            stage.forward = partial(checkpoint, stage.forward, use_reentrant=False)

    def forward(self, batch: Batch, positives: float) -> dict[str, Tensor]:
        """All losses of a slot, weighted, "stage{i}_{class,l1,giou,dice}", float32 scalars.

        batch: on the model's device. positives: mean number of positive (query, frame) pairs of the global batch's
        slots; the mean of a loss over all slots is then the loss of the global batch.
        """
        outputs = self.model(batch.frames, batch.sizes_hw, self.chunk)
        targets = batch_targets(batch)
        return {
            f"stage{index}_{name}": loss
            for index, output in enumerate(outputs)
            for name, loss in self._stage(index, output, targets, positives).items()
        }

    def _stage(self, index: int, output: StageOutput, targets: list[Targets], positives: float) -> dict[str, Tensor]:
        logits, boxes = output.logits.float(), output.boxes_xyxy.float()
        matched = gather(boxes, targets, match(logits, boxes, targets, self.weights))
        divisor = positives + torch.finfo(torch.float32).eps
        box_rows = boxes.flatten(0, 2)[matched.rows]
        l1 = ((box_rows - matched.boxes_xyxy).abs() / matched.whwh).sum()
        return {
            "class": self.weights.focal * focal_loss(logits, matched) / divisor,
            "l1": self.weights.l1 * l1 / divisor,
            "giou": self.weights.giou * (1 - giou(box_rows, matched.boxes_xyxy)).sum() / divisor,
            "dice": self.weights.dice * self._dice(index, output, targets, matched) / max(positives, 1.0),
        }

    def _dice(self, index: int, output: StageOutput, targets: list[Targets], matched: Positives) -> Tensor:
        if not len(matched.rows):  # zero, but connected to every parameter of the head, which DDP requires
            head = cast(Stage, self.model.stages[index]).mask
            assert head is not None
            return torch.stack([parameter.sum() * 0 for parameter in head.parameters()]).sum()
        count = len(matched.rows)
        if self.mask_rows and count > self.mask_rows:
            drawn = torch.randperm(count)[: self.mask_rows].sort().values.to(matched.rows.device)
            matched = Positives(*(column[drawn] for column in matched))
        predicted = self.model.mask_logits(output, matched.rows, matched.labels, stage=index)
        boxes = output.boxes_xyxy.detach().float().flatten(0, 2)[matched.rows]
        return dice_loss(predicted.float(), mask_targets(boxes, targets, matched)).mean() * count


def count_positives(targets: Sequence[ClipTarget], queries: int) -> int:
    """Number of positive (query, frame) pairs of clips, which follows from the ground truth alone."""
    return sum(int(np.sort(target.present.sum(0))[::-1][:queries].sum()) for target in targets)


def batch_targets(batch: Batch) -> list[Targets]:
    """Each clip's ground truth as tensors on the device of the frames."""
    device = batch.frames.device
    return [
        Targets(
            torch.from_numpy(target.labels).to(device),
            torch.from_numpy(target.boxes_xyxy).to(device),
            torch.from_numpy(target.present).to(device),
            torch.from_numpy(target.masks).flatten(0, 1)[:, None].to(device).float(),
            size_hw.to(device).float().flip(0).repeat(2),
        )
        for target, size_hw in zip(batch.targets, batch.sizes_hw, strict=True)
    ]


# --- matching


@torch.no_grad()
def match(logits: Tensor, boxes_xyxy: Tensor, targets: list[Targets], weights: Weights) -> list[tuple[Tensor, Tensor]]:
    """Hungarian matching: for each clip the matched queries and their instances, two int64 tensors on the CPU.

    logits: (B, T, Q, K). boxes_xyxy: (B, T, Q, 4), pixels. An instance that is in no frame is not matched.
    """
    matches = []
    for clip_logits, clip_boxes, target in zip(logits, boxes_xyxy, targets, strict=True):
        cost = clip_cost(clip_logits, clip_boxes, target, weights)
        instances = target.present.any(0).nonzero().squeeze(1).cpu()
        # linear_sum_assignment fails on NaN; as a large cost it reaches the loss, which the loop checks.
        finite = np.nan_to_num(cost.cpu().numpy()[:, instances.numpy()], nan=LARGE, posinf=LARGE, neginf=-LARGE)
        queries, columns = linear_sum_assignment(finite)
        matches.append((torch.from_numpy(queries), instances[torch.from_numpy(columns)]))
    return matches


def clip_cost(logits: Tensor, boxes_xyxy: Tensor, target: Targets, weights: Weights) -> Tensor:
    """Matching cost of each query and instance, (Q, N): the mean over the frames that the instance is in.

    logits: (T, Q, K). boxes_xyxy: (T, Q, 4), pixels.
    """
    probability = logits.sigmoid()
    positive = -(probability + 1e-12).log() * ALPHA * (1 - probability) ** GAMMA
    negative = -(1 - probability + 1e-12).log() * (1 - ALPHA) * probability**GAMMA
    focal = (positive - negative)[:, :, target.labels]  # (T, Q, N)
    l1 = torch.cdist(boxes_xyxy / target.whwh, target.boxes_xyxy / target.whwh, p=1)
    overlap = giou(boxes_xyxy[:, :, None], target.boxes_xyxy[:, None])
    cost = weights.focal * focal + weights.l1 * l1 - weights.giou * overlap
    present = target.present[:, None].to(cost)  # (T, 1, N)
    return (cost * present).sum(0) / present.sum(0).clamp(min=1)


def gather(boxes_xyxy: Tensor, targets: list[Targets], matches: list[tuple[Tensor, Tensor]]) -> Positives:
    """The positives of a batch: each matched query in each frame that its instance is in.

    boxes_xyxy: (B, T, Q, 4). matches: as of `match`.
    """
    clips, frames, queries, _ = boxes_xyxy.shape
    parts = []
    for clip, (target, (query, instance)) in enumerate(zip(targets, matches, strict=True)):
        query, instance = query.to(boxes_xyxy.device), instance.to(boxes_xyxy.device)
        time, column = target.present[:, instance].nonzero().unbind(1)  # ascending, as linear_sum_assignment's rows
        rows = (clip * frames + time) * queries + query[column]
        index = instance[column]
        gt_boxes = target.boxes_xyxy[time, index]
        whwh, clips = target.whwh.expand_as(gt_boxes), torch.full_like(rows, clip)
        parts.append((rows, target.labels[index], gt_boxes, whwh, clips, time * len(target.labels) + index))
    return Positives(*(torch.cat(column) for column in zip(*parts, strict=True)))


# --- losses


def focal_loss(logits: Tensor, matched: Positives) -> Tensor:
    """Sum over all queries, frames and classes of a batch; unmatched queries are background."""
    target = torch.zeros_like(logits).flatten(0, 2)
    target[matched.rows, matched.labels] = 1
    return sigmoid_focal_loss(logits.flatten(0, 2), target, ALPHA, GAMMA, reduction="sum")


def giou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Generalised IoU of boxes (..., 4), broadcast against each other. Source: Rezatofighi et al., 2019."""

    def area(boxes: Tensor) -> Tensor:
        return (boxes[..., 2:] - boxes[..., :2]).prod(-1)

    inner = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    outer = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    overlap = inner.clamp(min=0).prod(-1)
    union = (area(a_xyxy) + area(b_xyxy) - overlap).clamp(min=BOX_EPS)
    hull = outer.clamp(min=0).prod(-1).clamp(min=BOX_EPS)
    return overlap / union - (hull - union) / hull


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2 p.t / (p.p + t.t) of each mask: (R, 28, 28) twice -> (R,). Source: Milletari et al., 2016."""
    probability, target = logits.sigmoid().flatten(1), target.flatten(1)
    both = (probability * target).sum(1)
    return 1 - 2 * both / (probability.square().sum(1) + DICE_EPS + target.square().sum(1) + DICE_EPS)


@torch.no_grad()
def mask_targets(boxes_xyxy: Tensor, targets: list[Targets], matched: Positives) -> Tensor:
    """Ground-truth masks cropped to predicted boxes: (R, 4) -> float32 (R, 28, 28) of 0 and 1.

    A box is clipped to its clip's padded frame first (the RoI of the mask head is not).
    """
    boxes_xyxy = boxes_xyxy.nan_to_num()  # RoIAlign would fail before the loop checks the loss
    out = boxes_xyxy.new_zeros(len(boxes_xyxy), MASK_SIDE, MASK_SIDE)
    for clip, target in enumerate(targets):
        numbers = (matched.clips == clip).nonzero().squeeze(1)
        height, width = target.masks.shape[2:]
        clipped = boxes_xyxy[numbers].clamp(min=0).minimum(boxes_xyxy.new_tensor([width, height, width, height]))
        rois = torch.cat([matched.masks[numbers, None].to(clipped), clipped], 1)
        out[numbers] = roi_align(target.masks, rois, MASK_SIDE, sampling_ratio=-1, aligned=True).squeeze(1)
    return (out >= 0.5).float()
