"""The command that brings VGG16's published weights into the user's cache."""

import sys

from colorjax.weights.pretrained import main
from colorjax.weights.vgg16 import PUBLISHED

if __name__ == "__main__":
    sys.exit(main(PUBLISHED))
