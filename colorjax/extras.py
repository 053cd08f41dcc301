"""What colouring does without, and an extra of the package brings."""

import importlib.util

from colorjax.errors import UserError

TRAINING = ("grain", "matplotlib", "tensorboardX", "tensorflow_datasets")


def check_training(purpose: str) -> None:
    """Raises UserError, which says what `purpose` needs, unless the extra `train` is installed."""
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"{purpose} needs {', '.join(missing)}, not installed here: "
            "pip install 'colorjax[train]'"
        )
