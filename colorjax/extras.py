"""The package's extras and the modules that each installs; colouring photographs needs none."""

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
    """Raises UserError unless the modules of an extra are installed; does not import them.

    Args:
      extra: a key of MODULES.
      what: the subject of the message, "WHAT needs ...".
    """
    missing = [name for name in MODULES[extra] if find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs {', '.join(missing)}: pip install 'colorjax[{extra}]'")
