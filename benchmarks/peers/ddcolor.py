"""The tiny variant of Kang et al. 2023, "DDColor", reimplemented from the paper in PyTorch.

A pixel decoder upsamples the encoder's feature maps to the input's size. In a colour decoder, 100
queries attend to three of these maps in turn. Each query then gives a map of where its colour is.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import convnext

SIDE = 512  # of the input
PUBLISHED_PARAMETERS = 55.0e6
QUERIES, WIDTH, HEADS, HIDDEN = 100, 256, 8, 2048
ROUNDS = 3  # passes over the three maps
DEPTHS = (512, 512, 256)  # of the pixel decoder's maps, at 1/16, 1/8 and 1/4 of the input's size
# ImageNet's means and standard deviations of RGB in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def shuffle(depth_in: int, depth: int, factor: int) -> nn.Sequential:
    """Returns a pixel shuffle: upsamples by an integer factor."""
    wide = nn.Conv2d(depth_in, depth * factor**2, 1)
    return nn.Sequential(wide, nn.PixelShuffle(factor), nn.ReLU(inplace=True))


class Unit(nn.Module):
    """Doubles the size of a feature map, and concatenates it with one of the encoder."""

    def __init__(self, depth_in: int, skip: int, depth: int):
        super().__init__()
        self.enlarge = shuffle(depth_in, depth, 2)
        self.norm = nn.BatchNorm2d(skip)
        self.join = nn.Conv2d(depth + skip, depth, 3, padding=1)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        joined = torch.cat([self.enlarge(x), F.relu(self.norm(skip))], dim=1)
        return F.relu(self.join(joined))


class PixelDecoder(nn.Module):
    """Encoder maps -> maps at 1/16, 1/8 and 1/4 of the input's size, and one at full size."""

    def __init__(self):
        super().__init__()
        skips = convnext.DEPTHS[-2::-1]
        depths_in = (convnext.DEPTHS[-1], *DEPTHS[:-1])
        self.units = nn.ModuleList(map(Unit, depths_in, skips, DEPTHS))
        self.last = shuffle(DEPTHS[-1], WIDTH, 4)

    def forward(self, maps: list[torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
        x, decoded = maps[-1], []
        for unit, skip in zip(self.units, maps[-2::-1], strict=True):
            x = unit(x, skip)
            decoded.append(x)
        return decoded, self.last(x)


class Layer(nn.Module):
    """A transformer decoder layer: cross-attention to a map, self-attention, feed-forward."""

    def __init__(self):
        super().__init__()
        self.cross = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.own = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.forth = nn.Linear(WIDTH, HIDDEN)
        self.back = nn.Linear(HIDDEN, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(
        self, x: torch.Tensor, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        x = self.norms[0](x + self.cross(x + places, keys, values, need_weights=False)[0])
        query = x + places
        x = self.norms[1](x + self.own(query, query, x, need_weights=False)[0])
        return self.norms[2](x + self.back(F.relu(self.forth(x))))


class ColourDecoder(nn.Module):
    """Three feature maps -> query embeddings [b, QUERIES, WIDTH]."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(QUERIES, WIDTH))
        self.places = nn.Parameter(torch.randn(QUERIES, WIDTH))
        self.levels = nn.Parameter(torch.randn(len(DEPTHS), WIDTH))
        self.narrow = nn.ModuleList(nn.Conv2d(depth, WIDTH, 1) for depth in DEPTHS)
        self.layers = nn.ModuleList(Layer() for _ in range(ROUNDS * len(DEPTHS)))
        self.norm = nn.LayerNorm(WIDTH)
        three = [nn.Linear(WIDTH, WIDTH) for _ in range(3)]
        self.last = nn.Sequential(three[0], nn.ReLU(), three[1], nn.ReLU(), three[2])

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        memories = []  # keys and values of each map
        for x, narrow, level in zip(maps, self.narrow, self.levels, strict=True):
            values = narrow(x).flatten(2).transpose(1, 2) + level
            memories.append((values + positions(*x.shape[2:]).to(x), values))
        x = self.queries.expand(len(maps[0]), -1, -1)
        for i, layer in enumerate(self.layers):
            x = layer(x, self.places, *memories[i % len(memories)])
        return self.last(self.norm(x))


class DDColorTiny(nn.Module):
    """[b, 3, h, w] gray RGB in [0, 1] -> ab [b, 2, h, w]; h and w are multiples of 32."""

    def __init__(self):
        super().__init__()
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1))
        self.encoder = convnext.ConvNeXtTiny()
        self.pixels = PixelDecoder()
        self.colours = ColourDecoder()
        self.refine = nn.Conv2d(QUERIES + 3, 2, 1)

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        x = (gray - self.mean) / self.deviation
        maps, whole = self.pixels(self.encoder(x))
        fused = torch.einsum("bqc,bchw->bqhw", self.colours(maps), whole)
        return self.refine(torch.cat([fused, x], dim=1))


def positions(height: int, width: int) -> torch.Tensor:
    """Returns sinusoidal encodings of the positions y and x in a map: [height * width, WIDTH]."""
    rates = 10000 ** (-torch.arange(WIDTH // 4) / (WIDTH // 4))
    angles = [2 * math.pi * (torch.arange(n) + 1)[:, None] / n * rates for n in (height, width)]
    down, across = (torch.cat([a.sin(), a.cos()], dim=1) for a in angles)
    both = [down[:, None].expand(-1, width, -1), across[None].expand(height, -1, -1)]
    return torch.cat(both, dim=2).flatten(0, 1)
