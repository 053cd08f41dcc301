"""The command that ports SqueezeNet's published weights into the user's cache."""

import sys

from colorjax.weights.published.pretrained import main
from colorjax.weights.published.squeezenet import PUBLISHED

if __name__ == "__main__":
    sys.exit(main(PUBLISHED))
