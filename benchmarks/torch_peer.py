"""The paper's networks in PyTorch, with the parameter names of colorjax."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.contender import Contender
from benchmarks.settings import NUM_BINS, Settings, examples

MEAN_RGB = (123.68, 116.779, 103.939)
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512))
# Name and depth of a tap, and depth and kernel size of the unit that follows it.
UNITS = (
    ("block4_conv3", 512, 256, 1),
    ("block3_conv3", 256, 128, 3),
    ("block2_conv2", 128, 64, 3),
    ("block1_conv2", 64, 64, 3),
)
FINALS = (128, 64, 64)


def conv(depth_in: int, depth_out: int, size: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(depth_in, depth_out, size, padding=size // 2, bias=bias)


def batch_norm(depth: int) -> nn.BatchNorm2d:
    # PyTorch's momentum is the weight of the new value, flax's that of the old one.
    return nn.BatchNorm2d(depth, eps=1e-4, momentum=0.1)


class TorchColorizer(nn.Module):
    """[b, 1, h, w] gray in [0, 255] -> logits (u, v) [b, n, h, w] each, or chroma [b, 2, h, w]."""

    def __init__(self, num_bins: int | None = NUM_BINS, width: float = 1.0):
        super().__init__()
        self.num_bins = num_bins
        self.register_buffer("mean", torch.tensor(MEAN_RGB).reshape(1, 3, 1, 1), persistent=False)
        self.encoder = nn.ModuleDict()
        self.decoder = nn.ModuleDict()
        scaled = lambda depth: max(1, int(depth * width))  # noqa: E731
        depth_in = 3
        for block, (convs, depth) in enumerate(BLOCKS, start=1):
            for i in range(1, convs + 1):
                self._add(self.encoder, f"block{block}_conv{i}", depth_in, scaled(depth), 3)
                depth_in = scaled(depth)
        units = UNITS if num_bins else UNITS[:-1]
        for i, (_, _, depth, size) in enumerate(units, start=1):
            self._add(self.decoder, f"unit{i}", depth_in, scaled(depth), size)
            depth_in = scaled(depth)
        for tap, depth, _, _ in UNITS:
            self.decoder[f"{tap}_norm"] = batch_norm(scaled(depth))
        # The next batch norm cancels this bias.
        self.decoder["block4_conv3_norm"].bias.requires_grad_(False)
        if num_bins is None:
            self.decoder["chroma"] = conv(depth_in, 2, 3)
            return
        depth_in = sum(scaled(depth) for _, _, depth, _ in UNITS)
        for i, depth in enumerate(FINALS, start=1):
            self.decoder[f"final{i}"] = conv(depth_in, scaled(depth), 3)
            depth_in = scaled(depth)
        for head in ("u_logits", "v_logits"):
            self.decoder[head] = conv(depth_in, num_bins, 1)

    @staticmethod
    def _add(modules: nn.ModuleDict, name: str, depth_in: int, depth_out: int, size: int) -> None:
        modules[name] = conv(depth_in, depth_out, size, bias=False)
        modules[f"{name}_bn"] = batch_norm(depth_out)

    def forward(self, gray):
        taps = self._encode(gray.expand(-1, 3, -1, -1) - self.mean)
        x = self._conv(self.decoder, "unit1", self._norm(taps, "block4_conv3"))
        maps = [x]
        for i, (tap, *_) in enumerate(UNITS[1:] if self.num_bins else UNITS[1:-1], start=2):
            x = self._conv(self.decoder, f"unit{i}", enlarge(x, 2) + self._norm(taps, tap))
            maps.append(x)
        if self.num_bins is None:
            return self.decoder["chroma"](enlarge(x, 2) + self._norm(taps, "block1_conv2"))
        x = torch.cat([enlarge(m, f) for m, f in zip(maps, (8, 4, 2, 1), strict=True)], dim=1)
        for i in range(1, len(FINALS) + 1):
            x = F.relu(self.decoder[f"final{i}"](x))
        return self.decoder["u_logits"](x), self.decoder["v_logits"](x)

    def _encode(self, x):
        taps = {}
        for block, (convs, _) in enumerate(BLOCKS, start=1):
            if block > 1:
                x = F.max_pool2d(x, 2)
            for i in range(1, convs + 1):
                name = f"block{block}_conv{i}"
                x = taps[name] = self._conv(self.encoder, name, x)
        return taps

    def _conv(self, modules, name, x):
        return F.relu(modules[f"{name}_bn"](modules[name](x)))

    def _norm(self, taps, tap):
        return self.decoder[f"{tap}_norm"](taps[tap])


def enlarge(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="nearest") if factor > 1 else x


def load(model: TorchColorizer, variables: dict) -> None:
    """Loads colorjax's variables; RuntimeError if any is missing, unused or of another shape."""
    params, statistics = variables["params"], variables["batch_stats"]
    names = {
        "kernel": "weight",
        "scale": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    state = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    state["decoder.block4_conv3_norm.bias"] = torch.zeros(len(params["block4_conv3_norm"]["scale"]))
    for tree in (params, statistics):
        flat = {f"encoder.{k}": v for k, v in tree["encoder"].items()}
        flat |= {f"decoder.{k}": v for k, v in tree.items() if k != "encoder"}
        for layer, leaves in flat.items():
            for name, value in leaves.items():
                value = torch.tensor(value)
                # [height, width, in, out] -> [out, in, height, width]
                state[f"{layer}.{names[name]}"] = (
                    value.permute(3, 2, 0, 1) if name == "kernel" else value
                )
    model.load_state_dict(state)


def loss_of(outputs, bins, target):
    if isinstance(outputs, tuple):
        return sum(F.cross_entropy(x.float(), bins[..., i]) for i, x in enumerate(outputs))
    return torch.square(outputs.float() - target).sum(dim=1).mean()


def to_numpy(outputs):
    """Converts outputs to the layout of colorjax: [b, h, w, 2, n] or [b, h, w, 2]."""
    if isinstance(outputs, tuple):
        return torch.stack(outputs, dim=-1).permute(0, 2, 3, 4, 1).float().cpu().numpy()
    return outputs.permute(0, 2, 3, 1).float().cpu().numpy()


def tensors(settings: Settings, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the examples: gray [b, 1, h, w], bins [b, h, w, 2], target [b, 2, h, w]."""
    data = {name: torch.tensor(x, device=device) for name, x in examples(settings).items()}
    gray = data["gray"].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    return gray, data["bins"].long(), data["target"].permute(0, 3, 1, 2)


def network(
    settings: Settings, objective: str, variables: dict | None, device: str
) -> TorchColorizer:
    """The network on its device, channels last, with our variables unless None."""
    num_bins = NUM_BINS if objective == "classification" else None
    model = TorchColorizer(num_bins, settings.width)
    if variables is not None:
        load(model, variables)
    return model.to(device, memory_format=torch.channels_last)


def contender(
    settings: Settings, objective: str, variables: dict | None, compiled: bool
) -> Contender:
    """Returns the network with its training step; see `contender.make`.

    On a GPU, float32 convolutions may be rounded to tf32, as in jax.
    """
    device = "cuda" if settings.platform == "gpu" else "cpu"
    trained = network(settings, objective, variables, device).train()
    evaluated = network(settings, objective, variables, device).eval()
    optimizer = torch.optim.Adam(
        [p for p in trained.parameters() if p.requires_grad], lr=1e-3, fused=True
    )
    gray, bins, target = tensors(settings, device)
    precision = torch.autocast(device, dtype=torch.bfloat16, enabled=settings.dtype == "bfloat16")
    compile_if = torch.compile if compiled else lambda function: function
    trained_loss = compile_if(lambda x: loss_of(trained(x), bins, target))
    apply = compile_if(evaluated)

    def train():
        optimizer.zero_grad()
        with precision:
            loss = trained_loss(gray)
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for the GPU

    def forward():
        with torch.no_grad(), precision:
            outputs = apply(gray)
        if device == "cuda":
            torch.cuda.synchronize()
        return outputs

    def peak_bytes():
        return torch.cuda.max_memory_allocated() if device == "cuda" else None

    return Contender(forward, to_numpy, train, peak_bytes, planned_bytes=lambda: None)
