"""Pictures that may be bad, some at a time, with results in their order."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from PIL import Image

from colorjax.coloring.given import Picture, as_photo
from colorjax.errors import UserError
from colorjax.pictures.photo import Photo

ERRORS = ("raise", "return")


def in_order(
    pictures: Iterator[Picture],
    at_once: int,
    errors: str,
    run: Callable[[Sequence[Photo]], list[list[Image.Image]]],
) -> Iterator[Image.Image | UserError]:
    """The first result of each picture, as `Colorizer.colorize_many` gives it.

    Args:
      pictures: of any kind.
      at_once: how many are read and run together.
      errors: one of ERRORS.
      run: the results of each of some photos.

    Raises:
      UserError: a picture cannot be read, and `errors` is "raise".
      TypeError, ValueError: a picture is no such thing.
    """
    while some := list(islice(pictures, at_once)):
        photos: list[Photo | UserError] = []
        fault = None
        for picture in some:
            try:
                photos.append(as_photo(picture))
            except (UserError, TypeError, ValueError) as error:
                if errors == "raise" or not isinstance(error, UserError):
                    fault = error
                    break
                photos.append(error)
        good = iter(run([one for one in photos if isinstance(one, Photo)]))
        for one in photos:
            yield next(good)[0] if isinstance(one, Photo) else one
        if fault is not None:
            raise fault
