"""Published ImageNet weights of an encoder, in the user's cache: ported, fetched, and asked for.

A file from elsewhere is not trusted: it is read once, by the reader that its `Published` names, and
kept as a file of ours.
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

ANSWER_SECONDS = 8.0  # without a network a job must start, not wait
STALL_SECONDS = 30.0


def port(published: Published, path: str | Path) -> Path:
    """Ports the published file `path` into the cache; returns where.

    Raises UserError, with nothing written, if the file is not as `published.read` wants it, or if
    the cache cannot be written.
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
    """Downloads the published file, checks its checksum and ports it into the cache.

    Gives up after ANSWER_SECONDS without an answer and does not try again. The download itself is
    removed. Raises UserError, with nothing written, saying what failed and how to get the file.
    """
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        workplace = tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".fetch.")
    except OSError as error:
        raise _unwritable(error) from error
    with workplace as folder:
        try:
            _await_answer(published.url, ANSWER_SECONDS)
            file = _download(published, folder)
        except (OSError, ValueError) as error:  # those of requests are OSErrors
            raise UserError(f"{_reason(published, error)}; {_how_to_get(published)}") from error
        return port(published, file)


def _unwritable(error: Exception) -> UserError:
    return UserError(
        f"{cache_folder()} cannot be written ({error}); set COLORJAX_HOME to a folder that can"
    )


def _download(published: Published, folder: str) -> str:
    pooch.get_logger().setLevel("WARNING")  # the progress bar says it all
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=2**18, timeout=(ANSWER_SECONDS, STALL_SECONDS)
    )
    name = published.url.rpartition("/")[2]
    md5 = f"md5:{published.md5}"
    return pooch.retrieve(published.url, md5, name, folder, downloader=downloader)


def _await_answer(url: str, seconds: float) -> None:
    """Raises OSError unless `url`'s server answers in time.

    In a thread, because no timeout of requests bounds the looking up of a name, nor the trying of
    one address after another; both take minutes behind a firewall that drops packets.
    """
    import requests

    answer: queue.Queue[Exception | None] = queue.Queue()

    def ask() -> None:
        try:
            requests.head(url, timeout=seconds, allow_redirects=True).raise_for_status()
            answer.put(None)
        except Exception as error:  # whatever it is, it is raised in the caller's thread
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error:
        raise error


def _reason(published: Published, error: Exception) -> str:
    """One clause, where requests and pooch say several lines."""
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
    """What the field `model.encoder_weights` asks for: (weights or None for random, a record).

    - "auto": the cached weights, else the published ones fetched, else None after one warning;
    - "imagenet": the same, but UserError if they cannot be had;
    - "none": None;
    - a path: that file, `.safetensors` as `save` makes it or else as it was published.

    The record is a short text to keep with the run: what the encoder starts from. Raises UserError
    if a file that is there is not as it should be; only an absent one is ever passed over.
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
        share = published.share(weights)
        if path.suffix != ".safetensors" and file_hash(path, "md5") not in published.md5s:
            logging.warning(
                "%s is not the published file of %s: %s", path, published.network, share
            )
        return weights, f"{path.name} ({_provenance(published, path, share)})"
    if not cached_path(published).is_file():
        try:
            fetch(published)
        except UserError as error:
            if setting == "imagenet":
                raise UserError(f"The ImageNet weights are not cached: {error}") from error
            logging.warning("The encoder starts from random weights, not ImageNet's: %s", error)
            reason = str(error).removesuffix(f"; {_how_to_get(published)}")
            return None, f"random (ImageNet weights not cached and not fetchable: {reason})"
    weights = load(published, cached_path(published))
    return (
        weights,
        f"imagenet ({_provenance(published, cached_path(published), published.share(weights))})",
    )


def _provenance(published: Published, path: Path, share: str) -> str:
    digest = file_hash(path, "sha256")
    if path.suffix == ".safetensors":
        with open_weights(published, path) as file:
            digest = file.metadata().get("source_sha256", digest)
    return f"sha256 {digest}, {share}"


def main(published: Published, argv: list[str] | None = None) -> int:
    """Ports a file, or fetches the published one, and says in one line where it is and what."""
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
        share = published.share(load(published, path))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    kind = "the published file" if md5 in published.md5s else "NOT the published file"
    print(f"{path}: ported from {kind} (md5 {md5}), {share}")
    return 0
