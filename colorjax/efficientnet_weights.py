"""The command that ports EfficientNet-Lite0's published weights into the user's cache."""

import sys

from colorjax.weights.published.efficientnet import PUBLISHED
from colorjax.weights.published.pretrained import main

if __name__ == "__main__":
    sys.exit(main(PUBLISHED))
