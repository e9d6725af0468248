"""Matching and losses of every stage: one query for an instance in the whole clip.

Source: TeViT paper, section 3.4, and QueryInst (Fang et al., 2021), section 3; values as recorded from the original.
Where the original fails, this does not:
- a frame without any instance, in a clip that has some: all its queries are background (the original: IndexError);
- a global batch without any instance: divisors are those of a single positive (the original divides by 1e-7);
- a clip with more instances than queries: the instances that stay unmatched teach nothing.
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
from train.data import Batch, ClipTarget

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
    """The R rows of a batch that stand for an instance in a frame, in ascending order.

    rows: (R,), index into B*T*Q. labels: (R,). boxes_xyxy, whwh: (R, 4), ground truth and sizes. clips, masks: (R,),
    the clip of a row and the number of its mask in that clip's `Targets.masks`.
    """

    rows: Tensor
    labels: Tensor
    boxes_xyxy: Tensor
    whwh: Tensor
    clips: Tensor
    masks: Tensor


class SlotLoss(nn.Module):
    """A model and its losses as one module: what a trainer differentiates, and what DistributedDataParallel wraps.

    mask_rows: at most so many positives of a slot, drawn at random, go through each mask head, and their loss is
    scaled up to all of them; 0 for all, as in the original. checkpointing: the backbone's and the stages' activations
    are computed again in the backward pass. Not the mask heads': their running statistics would move twice.
    """

    def __init__(self, model: TeViT, weights: Weights, mask_rows: int = 0, checkpointing: bool = False):
        super().__init__()
        self.model = model
        self.weights = weights
        self.mask_rows = mask_rows
        self.chunk = 1 if checkpointing else None
        for stage in model.stages if checkpointing else ():
            stage.forward = partial(checkpoint, stage.forward, use_reentrant=False)

    def forward(self, batch: Batch, positives: float) -> dict[str, Tensor]:
        """All losses of a slot, weighted, "stage{i}_{class,l1,giou,dice}", float32 scalars.

        batch: on the model's device. positives: positive (query, frame) pairs a slot, averaged over the slots of the
        global batch. The mean of a loss over all slots is then the loss of the global batch.
        """
        outputs = self.model(batch.frames, batch.sizes_hw, self.chunk)
        targets = [on_device(target, size, batch.frames.device) for target, size in pairs(batch)]
        return {
            f"stage{index}_{name}": loss
            for index, output in enumerate(outputs)
            for name, loss in self._stage(index, output, targets, positives).items()
        }

    def _stage(self, index: int, output: StageOutput, targets: list[Targets], positives: float) -> dict[str, Tensor]:
        logits, boxes = output.logits.float(), output.boxes_xyxy.float()
        found = gather(boxes, targets, match(logits, boxes, targets, self.weights))
        divisor = positives + torch.finfo(torch.float32).eps
        box_rows = boxes.flatten(0, 2)[found.rows]
        l1 = ((box_rows - found.boxes_xyxy).abs() / found.whwh).sum()
        return {
            "class": self.weights.focal * focal_loss(logits, found) / divisor,
            "l1": self.weights.l1 * l1 / divisor,
            "giou": self.weights.giou * (1 - giou(box_rows, found.boxes_xyxy)).sum() / divisor,
            "dice": self.weights.dice * self._dice(index, output, targets, found) / max(positives, 1.0),
        }

    def _dice(self, index: int, output: StageOutput, targets: list[Targets], found: Positives) -> Tensor:
        if not len(found.rows):  # a zero that every parameter of the head has its part in, as DDP wants it
            head = cast(Stage, self.model.stages[index]).mask
            assert head is not None
            return torch.stack([parameter.sum() * 0 for parameter in head.parameters()]).sum()
        count = len(found.rows)
        if self.mask_rows and count > self.mask_rows:
            found = some(found, torch.randperm(count)[: self.mask_rows].sort().values.to(found.rows.device))
        predicted = self.model.mask_logits(output, found.rows, found.labels, stage=index)
        boxes = output.boxes_xyxy.detach().float().flatten(0, 2)[found.rows]
        return dice_loss(predicted.float(), mask_targets(boxes, targets, found)).mean() * count


def pairs(batch: Batch) -> list[tuple[ClipTarget, Tensor]]:
    """Each clip's ground truth with its size."""
    return list(zip(batch.targets, batch.sizes_hw, strict=True))


def count_positives(targets: Sequence[ClipTarget], queries: int) -> int:
    """Positive (query, frame) pairs of clips: known before the model has run, since every instance gets one query."""
    return sum(int(np.sort(target.present.sum(0))[::-1][:queries].sum()) for target in targets)


def on_device(target: ClipTarget, size_hw: Tensor, device: torch.device) -> Targets:
    """The ground truth of a clip as tensors."""
    masks = torch.from_numpy(target.masks).flatten(0, 1)[:, None].to(device)
    return Targets(
        torch.from_numpy(target.labels).to(device),
        torch.from_numpy(target.boxes_xyxy).to(device),
        torch.from_numpy(target.present).to(device),
        masks.float(),
        size_hw.to(device).float().flip(0).repeat(2),
    )


# --- matching


@torch.no_grad()
def match(logits: Tensor, boxes_xyxy: Tensor, targets: list[Targets], weights: Weights) -> list[tuple[Tensor, Tensor]]:
    """For each clip, the queries that are matched and the instance of each: two int64 tensors on the CPU.

    logits: (B, T, Q, K). boxes_xyxy: (B, T, Q, 4), pixels. An instance that is in no frame is not matched.
    """
    answers = []
    for clip_logits, clip_boxes, target in zip(logits, boxes_xyxy, targets, strict=True):
        cost = clip_cost(clip_logits, clip_boxes, target, weights)
        seen = target.present.any(0).nonzero().squeeze(1).cpu()
        # What is not a number would end the matching; as a large cost it gets to the loss, which the loop looks at.
        finite = np.nan_to_num(cost.cpu().numpy()[:, seen.numpy()], nan=LARGE, posinf=LARGE, neginf=-LARGE)
        queries, columns = linear_sum_assignment(finite)
        answers.append((torch.from_numpy(queries), seen[torch.from_numpy(columns)]))
    return answers


def clip_cost(logits: Tensor, boxes_xyxy: Tensor, target: Targets, weights: Weights) -> Tensor:
    """Cost of giving a query to an instance, (Q, N): the mean over the frames that the instance is in.

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
    """The positives of a batch: each matched query in each frame that its instance is in."""
    clips, frames, queries, _ = boxes_xyxy.shape
    parts = []
    for clip, (target, (query, instance)) in enumerate(zip(targets, matches, strict=True)):
        query, instance = query.to(boxes_xyxy.device), instance.to(boxes_xyxy.device)
        time, column = target.present[:, instance].nonzero().unbind(1)  # ascending, as linear_sum_assignment's rows
        rows = (clip * frames + time) * queries + query[column]
        picked = instance[column]
        truth = target.boxes_xyxy[time, picked]
        whwh, clips = target.whwh.expand_as(truth), torch.full_like(rows, clip)
        parts.append((rows, target.labels[picked], truth, whwh, clips, time * len(target.labels) + picked))
    return Positives(*(torch.cat(column) for column in zip(*parts, strict=True)))


def some(found: Positives, chosen: Tensor) -> Positives:
    """The positives whose numbers are `chosen`."""
    return Positives(*(column[chosen] for column in found))


# --- losses


def focal_loss(logits: Tensor, found: Positives) -> Tensor:
    """Sum over all queries, frames and classes of a batch; queries that stand for nothing are background."""
    target = torch.zeros_like(logits).flatten(0, 2)
    target[found.rows, found.labels] = 1
    return sigmoid_focal_loss(logits.flatten(0, 2), target, ALPHA, GAMMA, reduction="sum")


def giou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Generalised IoU of boxes (..., 4), broadcast against each other. Source: Rezatofighi et al., 2019."""
    inner = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    outer = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    overlap = inner.clamp(min=0).prod(-1)
    union = (_area(a_xyxy) + _area(b_xyxy) - overlap).clamp(min=BOX_EPS)
    hull = outer.clamp(min=0).prod(-1).clamp(min=BOX_EPS)
    return overlap / union - (hull - union) / hull


def _area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).prod(-1)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2 p.t / (p.p + t.t) of each mask: (R, 28, 28) twice -> (R,). Source: Milletari et al., 2016."""
    probability, target = logits.sigmoid().flatten(1), target.flatten(1)
    both = (probability * target).sum(1)
    return 1 - 2 * both / (probability.square().sum(1) + DICE_EPS + target.square().sum(1) + DICE_EPS)


@torch.no_grad()
def mask_targets(boxes_xyxy: Tensor, targets: list[Targets], found: Positives) -> Tensor:
    """Ground-truth masks as seen in refined boxes: (R, 4) -> float32 (R, 28, 28) of 0 and 1.

    A box is clipped to its clip's padded frame first (the RoI of the mask head is not).
    """
    boxes_xyxy = boxes_xyxy.nan_to_num()  # RoIAlign would fail before the loss is looked at
    out = boxes_xyxy.new_zeros(len(boxes_xyxy), MASK_SIDE, MASK_SIDE)
    for clip, target in enumerate(targets):
        numbers = (found.clips == clip).nonzero().squeeze(1)
        height, width = target.masks.shape[2:]
        clipped = boxes_xyxy[numbers].clamp(min=0).minimum(boxes_xyxy.new_tensor([width, height, width, height]))
        rois = torch.cat([found.masks[numbers, None].to(clipped), clipped], 1)
        out[numbers] = roi_align(target.masks, rois, MASK_SIDE, sampling_ratio=-1, aligned=True).squeeze(1)
    return (out >= 0.5).float()
