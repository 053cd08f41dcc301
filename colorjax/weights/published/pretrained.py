"""Downloads, ports, caches and loads the published ImageNet weights of an encoder.

Downloaded files are not trusted. `Published.read` reads such a file once, and the weights are then
stored in colorjax's own format.
"""

import argparse
import queue
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pooch
from absl import logging
from safetensors import SafetensorError

from colorjax.errors import UserError
from colorjax.pictures.files import cache_folder
from colorjax.weights.store import (
    Published,
    Weights,
    cached_path,
    file_hash,
    load,
    open_weights,
    save,
)

ANSWER_SECONDS = 8.0  # short, so that a job without a network starts soon
STALL_SECONDS = 30.0


def port(published: Published, path: str | Path) -> Path:
    """Ports the published file `path` into the cache, and returns the path in the cache.

    Raises UserError, without writing anything, if `published.read` rejects the file or if the cache
    cannot be written.
    """
    weights = published.read(published, path)
    try:
        save(published, weights, cached_path(published), source=path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(error) from error
    return cached_path(published)


def _how_to_get(published: Published) -> str:
    return (
        f"download {published.url} on a machine with a network and run "
        f"`python -m {published.module} FILE` on it"
    )


def fetch(published: Published) -> Path:
    """Downloads the published file, verifies its checksum and ports it into the cache.

    Gives up after ANSWER_SECONDS without a response, and does not retry. The downloaded file is
    removed afterwards. Raises UserError, without writing anything, that says what failed and how to
    get the file.
    """
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".fetch.")
    except OSError as error:
        raise _unwritable(error) from error
    with temporary as folder:
        try:
            _await_answer(published.url, ANSWER_SECONDS)
            file = _download(published, folder)
        except (OSError, ValueError) as error:  # exceptions of requests are OSErrors
            raise UserError(f"{_reason(published, error)}; {_how_to_get(published)}") from error
        return port(published, file)


def _unwritable(error: Exception) -> UserError:
    return UserError(
        f"{cache_folder()} cannot be written ({error}); set COLORJAX_HOME to a folder that can"
    )


def _download(published: Published, folder: str) -> str:
    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=2**18, timeout=(ANSWER_SECONDS, STALL_SECONDS)
    )
    name = published.url.rpartition("/")[2]
    md5 = f"md5:{published.md5}"
    return pooch.retrieve(published.url, md5, name, folder, downloader=downloader)


def _await_answer(url: str, seconds: float) -> None:
    """Raises OSError unless the server of `url` responds in time.

    The request runs in a thread, because the timeouts of requests limit neither name resolution nor
    attempts on several addresses. Both take minutes behind a firewall that drops packets.
    """
    import requests

    answer: queue.Queue[Exception | None] = queue.Queue()

    def ask() -> None:
        try:
            requests.head(url, timeout=seconds, allow_redirects=True).raise_for_status()
            answer.put(None)
        except Exception as error:  # any kind: it is raised in the caller's thread
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error:
        raise error


def _reason(published: Published, error: Exception) -> str:
    """Returns the error as one clause; messages of requests and pooch have several lines."""
    import requests

    host = urlsplit(published.url).netloc
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{host} answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.RequestException):
        return f"{host} could not be reached ({type(error).__name__})"
    if isinstance(error, ValueError):
        return f"what {host} sent is not the published file (its md5 is not {published.md5})"
    return f"the download from {host} failed ({error})"


def resolve(published: Published, setting: str) -> tuple[Weights | None, str]:
    """Loads the weights that the setting `model.encoder_weights` asks for.

    - "auto": the cached weights; if there are none, the published ones are downloaded; if that
      fails, None after one warning;
    - "imagenet": like "auto", but raises UserError if the download fails;
    - "none": None;
    - a path: that file, either a `.safetensors` file written by `save` or a published file.

    Returns (weights or None for random, a short text for the run's record on what the encoder
    starts from). Raises UserError if an existing file is invalid; only a missing one is tolerated.
    """
    if setting == "none":
        return None, "random (as configured)"
    if setting not in ("auto", "imagenet"):
        path = Path(setting).expanduser()
        if not path.is_file():
            raise UserError(
                f"model.encoder_weights is {setting!r}, want 'auto', 'imagenet', 'none' or a file"
            )
        read = load if path.suffix == ".safetensors" else published.read
        weights = read(published, path)
        match = published.describe_match(weights)
        if path.suffix != ".safetensors" and file_hash(path, "md5") not in published.md5s:
            logging.warning(
                "%s is not the published file of %s: %s", path, published.network, match
            )
        return weights, f"{path.name} ({_provenance(published, path, match)})"
    if not cached_path(published).is_file():
        try:
            fetch(published)
        except UserError as error:
            if setting == "imagenet":
                raise UserError(f"The ImageNet weights are not cached: {error}") from error
            logging.warning("The encoder starts from random weights, not ImageNet's: %s", error)
            reason = str(error).removesuffix(f"; {_how_to_get(published)}")
            return None, f"random (ImageNet weights not cached and not fetchable: {reason})"
    path = cached_path(published)
    weights = load(published, path)
    match = published.describe_match(weights)
    return weights, f"imagenet ({_provenance(published, path, match)})"


def _provenance(published: Published, path: Path, match: str) -> str:
    digest = file_hash(path, "sha256")
    if path.suffix == ".safetensors":
        with open_weights(published, path) as file:
            digest = file.metadata().get("source_sha256", digest)
    return f"sha256 {digest}, {match}"


def main(published: Published, argv: list[str] | None = None) -> int:
    """Ports a given or downloaded file, and prints its path and whether it is the published one."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {published.module}",
        description=f"Port {published.network}'s weights into the cache.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", metavar="FILE", help=published.file)
    source.add_argument("--fetch", action="store_true", help=f"download {published.url}")
    args = parser.parse_args(argv)
    try:
        path = fetch(published) if args.fetch else port(published, args.file)
        md5 = published.md5 if args.fetch else file_hash(args.file, "md5")
        match = published.describe_match(load(published, path))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    kind = "the published file" if md5 in published.md5s else "NOT the published file"
    print(f"{path}: ported from {kind} (md5 {md5}), {match}")
    return 0
