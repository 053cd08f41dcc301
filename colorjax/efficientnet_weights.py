"""The command that brings EfficientNet-Lite0's published weights into the user's cache."""

import sys

from colorjax.weights.efficientnet import PUBLISHED
from colorjax.weights.pretrained import main

if __name__ == "__main__":
    sys.exit(main(PUBLISHED))
