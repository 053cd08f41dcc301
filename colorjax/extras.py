"""The extras of the package, and the modules that each brings: colouring photographs needs none."""

from importlib.util import find_spec

from colorjax.errors import UserError

MODULES = {
    "cluster": ("pyarrow", "ray"),
    "demo": ("gradio",),
    "jax-export": ("flatbuffers",),
    "onnx": ("onnx",),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "train": ("grain", "matplotlib", "tensorboardX", "tensorflow_datasets"),
    "video": ("av", "cv2"),
}


def check_installed(extra: str, what: str) -> None:
    """Raises UserError, about `what` needs an extra, unless its modules are there to be imported.

    None of them is imported.
    """
    missing = [name for name in MODULES[extra] if find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install 'colorjax[{extra}]'")
