"""Zhang, Isola and Efros 2016, "Colorful Image Colorization", reimplemented in PyTorch.

A VGG-style network of eight blocks without pooling. It predicts logits of 313 bins of CIELAB's ab
at a quarter of the input's size, and decodes them by the mean of their softmax.
"""

import torch
import torch.nn.functional as F
from torch import nn

SIDE = 256  # of the input
PUBLISHED_PARAMETERS = 32.2e6  # the authors' float32 file has 129 MB
BINS = 313
# Depth, number of convolutions, stride of the last one, and dilation of all.
BLOCKS = (
    (64, 2, 2, 1),
    (128, 2, 2, 1),
    (256, 3, 2, 1),
    (512, 3, 1, 1),
    (512, 3, 1, 2),
    (512, 3, 1, 2),
    (512, 3, 1, 1),
)
EIGHTH_DEPTH = 256  # of the eighth block, which first doubles the size


class ECCV16(nn.Module):
    """[b, 1, h, w] L in [0, 100] -> ab [b, 2, h, w]; h and w are multiples of 8."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        depth_in = 1
        for depth, convolutions, stride, dilation in BLOCKS:
            for i in range(convolutions):
                step = stride if i == convolutions - 1 else 1
                layers += [
                    nn.Conv2d(depth_in, depth, 3, step, padding=dilation, dilation=dilation),
                    nn.ReLU(inplace=True),
                ]
                depth_in = depth
            layers.append(nn.BatchNorm2d(depth))
        layers += [nn.ConvTranspose2d(depth_in, EIGHTH_DEPTH, 4, 2, padding=1), nn.ReLU(True)]
        for _ in range(2):
            layers += [nn.Conv2d(EIGHTH_DEPTH, EIGHTH_DEPTH, 3, padding=1), nn.ReLU(inplace=True)]
        self.scores = nn.Sequential(*layers, nn.Conv2d(EIGHTH_DEPTH, BINS, 1))
        self.mean = nn.Conv2d(BINS, 2, 1, bias=False)  # the kernel holds the bins' centres

    def forward(self, lightness: torch.Tensor) -> torch.Tensor:
        probabilities = self.scores((lightness - 50) / 100).softmax(1)
        return F.interpolate(self.mean(probabilities), scale_factor=4, mode="bilinear")
