import ast
from pathlib import Path

import colorjax

# From the ground up; a module may import only from floors before its own.
FLOORS = [
    "errors pictures.files",
    "ops.color ops.bins ops.losses ops.resample ops.ageing",
    "ops.metrics models.layers ops.spaces",
    "models.vgg16",
    "models.squeezenet models.efficientnet ops.decoding",
    "models.colorizer models.task",
    "pictures.image_io weights.checkpoint training.figures training.logs",
    "weights.pretrained weights.torch_file",
    "studies.report pictures.srgb studies.imagenet",
    "weights.vgg16 weights.squeezenet weights.efficientnet",
    "pictures.photo",
    "data.datasets.pictures data.petals",
    "data.datasets.builders",
    "data.packed",
    "data.sources data.prepare",
    "data.disk_cache data.pack",
    "data.loader",
    "training.steps training.parallel",
    "models.build",
    "training.evaluate",
    "weights.released",
    "studies.prior coloring.colorize",
    "training.train coloring.batch coloring.compare coloring.api studies.assess",
    "coloring.gallery studies.recognition",
    "studies.sweep coloring.page.layout",
    "studies.reproduce",
    "main cli vgg16_weights squeezenet_weights efficientnet_weights",
    "__main__",
]
HEIGHT = {name: i for i, floor in enumerate(FLOORS) for name in floor.split()}
PACKAGE = Path(colorjax.__file__).parent


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("colorjax"):
            module = node.module.removeprefix("colorjax").lstrip(".")
            for alias in node.names:
                name = f"{module}.{alias.name}".lstrip(".")
                yield name if name in HEIGHT else module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("colorjax."):
                    yield alias.name.removeprefix("colorjax.")


def test_every_module_imports_only_from_floors_below_its_own():
    files = [f for f in PACKAGE.rglob("*.py") if f.name != "__init__.py"]
    names = {".".join(f.relative_to(PACKAGE).with_suffix("").parts): f for f in files}
    assert names.keys() == HEIGHT.keys()
    upward = [
        f"{name} imports {other}"
        for name, file in names.items()
        for other in imported(ast.parse(file.read_text()))
        if HEIGHT[other] >= HEIGHT[name]
    ]
    assert not upward
