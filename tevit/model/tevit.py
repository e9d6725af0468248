"""TeViT: a clip in, one StageOutput for each of the refinement stages out.

Letters in shapes: B clips, T frames, Q queries, C channels, K classes, H W pixels of the network's input, h w cells
of a feature map, L patch tokens, M messenger tokens, P RoI bins a side, R rows. Frames are flattened B before T.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from tevit.configs import ModelConfig
from tevit.model.backbones import FeaturePyramid, Pyramid, build_backbone
from tevit.model.stage import Stage


class StageOutput(NamedTuple):
    """Predictions of a stage, and the inputs of its mask head.

    logits: (B, T, Q, K), class logits. boxes_xyxy: (B, T, Q, 4), pixels of the resized frame, not clipped to it.
    objects: (B, T, Q, C), input of the next stage. attended: (B, T, Q, C), input of the mask head.
    pyramid: of B*T frames, the input of every stage.
    """

    logits: Tensor
    boxes_xyxy: Tensor
    objects: Tensor
    attended: Tensor
    pyramid: Pyramid


class TeViT(nn.Module):
    """Temporally Efficient Vision Transformer (CVPR 2022) for clips; with one frame and no time attention, QueryInst.

    all_masks: build the mask head of every stage, as training needs; inference uses the last stage's alone.
    """

    def __init__(self, config: ModelConfig, all_masks: bool = True):
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.fpn = FeaturePyramid(config.backbone.dims, config.channels)
        self.query_boxes = nn.Parameter(torch.tensor([0.5, 0.5, 1.0, 1.0]).repeat(config.queries, 1))  # cx, cy, w, h
        self.query_features = nn.Parameter(torch.randn(config.queries, config.channels))
        self.stages = nn.ModuleList(
            Stage(
                config.channels,
                config.heads,
                config.ffn_channels,
                config.dynamic_channels,
                config.num_classes,
                config.time_attention,
                with_mask=all_masks or index == config.stages - 1,
            )
            for index in range(config.stages)
        )

    def features(self, frames: Tensor, chunk: int | None = None) -> Pyramid:
        """frames: (B, T, 3, H, W), normalised RGB. Returns: the pyramid of the B*T frames."""
        images = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # later layers keep it
        return Pyramid.from_maps(self.fpn(self.backbone(images, frames.shape[1], chunk)))

    def forward(self, frames: Tensor, sizes_hw: Tensor, chunk: int | None = None) -> list[StageOutput]:
        """Run the model without the mask heads, which are for selected rows (`mask_logits`).

        frames: (B, T, 3, H, W), normalised RGB, zero-padded on the right and bottom. sizes_hw: (B, 2), the size of
        each clip's resized frames without padding. chunk: see `MessengerPvt.forward`.
        Returns: the outputs of all stages.
        """
        pyramid = self.features(frames, chunk)
        center, side = self.query_boxes.split(2, 1)
        relative = torch.cat([center - 0.5 * side, center + 0.5 * side], 1)
        whwh = sizes_hw.to(relative).flip(1).repeat(1, 2)  # (B, 4)
        boxes = (relative * whwh[:, None])[:, None].expand(-1, frames.shape[1], -1, -1)  # (B, T, Q, 4)
        queries = self.query_features.expand(len(sizes_hw), 1, -1, -1)  # the same in every frame
        outputs = []
        for stage in self.stages:
            logits, boxes, queries, attended = stage(pyramid, boxes, queries)
            outputs.append(StageOutput(logits, boxes, queries, attended, pyramid))
            boxes = boxes.detach()
        return outputs

    def mask_logits(self, output: StageOutput, rows: Tensor, labels: Tensor, stage: int = -1) -> Tensor:
        """Masks of selected rows of a stage.

        output: of that stage. rows: (R,), flat index into B*T*Q. labels: (R,), the class of each mask. stage: index of
        that stage. Returns: logits (R, 28, 28) over each row's refined box.
        """
        head = cast(Stage, self.stages[stage])
        return head.mask_logits(output.pyramid, output.boxes_xyxy, output.attended, rows, labels)
