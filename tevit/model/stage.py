"""One refinement stage: space and time attention of the queries, dynamic convolution, class, box and mask heads.

Source: TeViT paper, section 3.3 (spatiotemporal query interaction); QueryInst (Fang et al., 2021), section 3.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from tevit.model.backbones import Pyramid, pyramid_roi_align

BOX_BINS, MASK_BINS = 7, 14
SHIFT_STD = 0.5  # the log ratios of the sides have 1
MAX_LOG_RATIO = abs(math.log(16 / 1000))  # a stage changes a side by at most 62.5 times
PRIOR = 0.01  # initial class probability


class DynamicConv(nn.Module):
    """Two 1x1 convolutions over a box's features whose weights are generated from its query."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.inner = inner
        self.generator = nn.Linear(channels, 2 * channels * inner)
        self.norm_in = nn.LayerNorm(inner)
        self.norm_out = nn.LayerNorm(channels)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """queries: (..., C); a dimension of 1 broadcasts, which generates a query's weights for all frames once.
        features: (..., P*P, C), one row a bin. Returns: (..., P*P, C).
        """
        down, up = self.generator(queries).chunk(2, -1)
        x = torch.einsum("...pc,...ci->...pi", features, down.unflatten(-1, (-1, self.inner)))
        x = self.norm_in(x).relu_()
        x = torch.einsum("...pi,...ic->...pc", x, up.unflatten(-1, (self.inner, -1)))
        return self.norm_out(x).relu_()


class MaskHead(nn.Module):
    """Dynamic convolution on 14x14 bins, four 3x3 convolutions, upsampling to 28x28, one map per class."""

    def __init__(self, channels: int, inner: int, num_classes: int):
        super().__init__()
        self.dynamic = DynamicConv(channels, inner)
        self.convs = nn.ModuleList(ConvNorm(channels) for _ in range(4))
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.logits = nn.Conv2d(channels, num_classes, 1)

    def forward(self, queries: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """queries: (R, C). features: (R, 14*14, C). labels: (R,), the class whose map is returned.

        Returns: logits (R, 28, 28).
        """
        x = self.dynamic(queries, features)
        x = x.transpose(1, 2).unflatten(2, (MASK_BINS, MASK_BINS))
        for conv in self.convs:
            x = conv(x)
        x = self.upsample(x).relu_()
        weight = self.logits.weight[labels].flatten(1)  # (R, C): of the labels alone, not all K maps
        return torch.einsum("rchw,rc->rhw", x, weight) + cast(Tensor, self.logits.bias)[labels][:, None, None]


class ConvNorm(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu_()


class Stage(nn.Module):
    """Refines queries and boxes once. `mask` is None in stages whose masks inference does not use."""

    def __init__(
        self,
        channels: int,
        heads: int,
        ffn_channels: int,
        dynamic_channels: int,
        num_classes: int,
        time_attention: bool,
        with_mask: bool,
    ):
        super().__init__()
        self.time_attention = time_attention
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.attention_norm = nn.LayerNorm(channels)
        self.dynamic = DynamicConv(channels, dynamic_channels)
        self.dynamic_out = nn.Linear(channels * BOX_BINS**2, channels)
        self.dynamic_out_norm = nn.LayerNorm(channels)
        self.dynamic_norm = nn.LayerNorm(channels)
        self.ffn = nn.Sequential(nn.Linear(channels, ffn_channels), nn.ReLU(), nn.Linear(ffn_channels, channels))
        self.ffn_norm = nn.LayerNorm(channels)
        self.class_tower = _tower(channels, 1)
        self.class_logits = nn.Linear(channels, num_classes)
        self.box_tower = _tower(channels, 3)
        self.box_deltas = nn.Linear(channels, 4)
        self.mask = MaskHead(channels, dynamic_channels, num_classes) if with_mask else None
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.constant_(self.class_logits.bias, -math.log((1 - PRIOR) / PRIOR))
        if self.mask is not None:
            nn.init.zeros_(cast(Tensor, self.mask.logits.bias))

    def forward(self, pyramid: Pyramid, boxes_xyxy: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One refinement.

        pyramid: of B*T frames. boxes_xyxy: (B, T, Q, 4), pixels of the network's input. queries: (B, T, Q, C), or
        (B, 1, Q, C) for the same in every frame.
        Returns: class logits (B, T, Q, K), refined boxes (B, T, Q, 4), object features and attended features
        (B, T, Q, C).
        """
        attended = self.attend(queries)
        features = pyramid_roi_align(pyramid, boxes_xyxy.flatten(0, 2), frame_of_row(boxes_xyxy), BOX_BINS)
        x = self.dynamic(attended, features.unflatten(0, boxes_xyxy.shape[:3]))  # (B, T, Q, 7*7, C)
        x = self.dynamic_out_norm(self.dynamic_out(x.flatten(-2))).relu()
        x = self.dynamic_norm(attended + x)
        objects = self.ffn_norm(x + self.ffn(x))
        logits = self.class_logits(self.class_tower(objects))
        refined = apply_deltas(boxes_xyxy, self.box_deltas(self.box_tower(objects)))
        return logits, refined, objects, attended.expand_as(objects)

    def attend(self, queries: Tensor) -> Tensor:
        """Attention over the queries of a frame, then, with the same weights, over the frames of a query."""
        batch, frames, count, _ = queries.shape
        x = self._self_attention(queries.flatten(0, 1)).unflatten(0, (batch, frames))
        if not self.time_attention:
            return x
        x = self._self_attention(x.transpose(1, 2).flatten(0, 1))  # (B*Q, T, C)
        return x.unflatten(0, (batch, count)).transpose(1, 2).contiguous()

    def _self_attention(self, x: Tensor) -> Tensor:
        return self.attention_norm(x + self.attention(x, x, x, need_weights=False)[0])

    def mask_logits(
        self, pyramid: Pyramid, boxes_xyxy: Tensor, attended: Tensor, rows: Tensor, labels: Tensor
    ) -> Tensor:
        """Masks of selected (clip, frame, query) rows in this stage's refined boxes.

        boxes_xyxy: (B, T, Q, 4), refined by this stage. attended: (B, T, Q, C). rows: (R,), flat index into B*T*Q.
        labels: (R,). Returns: logits (R, 28, 28).
        """
        assert self.mask is not None
        boxes = boxes_xyxy.flatten(0, 2)[rows]
        features = pyramid_roi_align(pyramid, boxes, frame_of_row(boxes_xyxy)[rows], MASK_BINS)
        return self.mask(attended.flatten(0, 2)[rows], features, labels)


def frame_of_row(boxes_xyxy: Tensor) -> Tensor:
    """The frame, in B*T, of each row of (B, T, Q, 4) flattened."""
    batch, frames, count, _ = boxes_xyxy.shape
    return torch.arange(batch * frames, device=boxes_xyxy.device).repeat_interleave(count)


def apply_deltas(boxes_xyxy: Tensor, deltas: Tensor) -> Tensor:
    """Move and scale boxes (..., 4).

    deltas: (..., 4), shift of the centre in units of the side over SHIFT_STD, then the log ratio of the sides.
    """
    low, high = boxes_xyxy.chunk(2, -1)
    shift, log_ratio = deltas.chunk(2, -1)
    side = high - low
    center = (low + high) * 0.5 + side * (shift * SHIFT_STD)
    half = side * log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() * 0.5
    return torch.cat([center - half, center + half], -1)


def _tower(channels: int, layers: int) -> nn.Sequential:
    """`layers` times linear layer, layer norm and ReLU."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU()]
    return nn.Sequential(*modules)
