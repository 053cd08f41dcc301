"""The tiny ConvNeXt encoder of Liu et al. 2022, "A ConvNet for the 2020s", in PyTorch."""

import torch
import torch.nn.functional as F
from torch import nn

DEPTHS = (96, 192, 384, 768)  # channels of the four stages, at 1/4 to 1/32 of the input's size
BLOCKS = (3, 3, 9, 3)
LAYER_SCALE = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of [b, c, h, w]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block: a depthwise 7x7 convolution and two pointwise layers."""

    def __init__(self, depth: int):
        super().__init__()
        self.depthwise = nn.Conv2d(depth, depth, 7, padding=3, groups=depth)
        self.norm = nn.LayerNorm(depth)
        self.widen = nn.Linear(depth, 4 * depth)
        self.narrow = nn.Linear(4 * depth, depth)
        self.scale = nn.Parameter(torch.full((depth,), LAYER_SCALE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.widen(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtTiny(nn.Module):
    """[b, 3, h, w] -> normalized feature maps of four stages; h and w are multiples of 32."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList()
        self.norms = nn.ModuleList(ChannelNorm(depth) for depth in DEPTHS)
        depth_in = 3
        for i, (depth, blocks) in enumerate(zip(DEPTHS, BLOCKS, strict=True)):
            if i == 0:
                entry = [nn.Conv2d(depth_in, depth, 4, 4), ChannelNorm(depth)]
            else:
                entry = [ChannelNorm(depth_in), nn.Conv2d(depth_in, depth, 2, 2)]
            self.stages.append(nn.Sequential(*entry, *(Block(depth) for _ in range(blocks))))
            depth_in = depth

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = stage(x)
            maps.append(norm(x))
        return maps
