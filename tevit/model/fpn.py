"""Feature pyramid network (Lin et al., 2017): four levels in, four of equal width out."""

from typing import cast

from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """1x1 laterals, top-down sums by nearest upsampling, 3x3 output convolutions. Source: paper section 3.1."""

    def __init__(self, in_channels: tuple[int, ...], channels: int):
        super().__init__()
        self.lateral = nn.ModuleList(_conv(width, channels, 1) for width in in_channels)
        self.output = nn.ModuleList(_conv(channels, channels, 3) for _ in in_channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """maps: (N, C_i, h_i, w_i), fine to coarse, each half as wide and high. Returns: (N, C, h_i, w_i) in order."""
        sums = [conv(x) for conv, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(sums) - 1, 0, -1):
            height, width = sums[level].shape[2:]
            fine, coarse = (x.permute(0, 2, 3, 1) for x in (sums[level - 1], sums[level]))
            # A view (N, h, 2, w, 2, C) of the finer map: each coarse cell is added to four, without an upsampled copy.
            cells = fine.unflatten(2, (width, 2)).unflatten(1, (height, 2))
            cells += coarse[:, :, None, :, None]
        return [conv(x) for conv, x in zip(self.output, sums, strict=True)]


def _conv(in_channels: int, channels: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(cast(Tensor, conv.bias))
    return conv
