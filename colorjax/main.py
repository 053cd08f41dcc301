"""Trains and measures networks: `python -m colorjax.main --config=configs/classify.py`.

Only parses flags. `--config.NAME=VALUE` overrides any field of the config; without `--config`, a
run that `--workdir` holds is taken with the config it was started with.
"""

import re
import sys
import warnings
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from colorjax import logs
from colorjax.errors import UserError
from colorjax.evaluate import evaluate
from colorjax.train import train
from colorjax.vgg16_weights import cache_folder

MODES = {"train": train, "eval": evaluate}

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "folder of the run; runs/<name of the config> by default")
flags.DEFINE_enum("mode", "train", list(MODES), "train, going on where a run stopped; or eval")
flags.DEFINE_bool("multihost", False, "one of several processes: calls jax.distributed.initialize")
flags.DEFINE_string("coordinator", None, "with --multihost: host:port of process 0")
flags.DEFINE_integer("num_processes", None, "with --multihost: how many processes there are")
flags.DEFINE_integer("process_id", None, "with --multihost: which one this is, from 0")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} is no flag, want --name=value")
    config, workdir = read_config(), find_workdir()
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # A program that cannot be kept, or was half kept, is compiled again: no user's concern.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if FLAGS.multihost:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    MODES[FLAGS.mode](config, workdir)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses in two passes, since the config to be overridden may lie in the workdir."""
    if any(re.match("--?config(=|$)", arg) for arg in argv):
        config_flags.DEFINE_config_file("config", help_string="file of the config, FILE[:VARIANT]")
    else:
        FLAGS(argv, known_only=True)
        if FLAGS.workdir is None:
            raise UserError(
                "neither --config nor --workdir is given, want --config=configs/classify.py or such"
            )
        saved = ConfigDict(logs.read_json(Path(FLAGS.workdir) / "config.json"))
        config_flags.DEFINE_config_dict("config", saved)
    try:
        rest = app.parse_flags_with_usage(argv)
    except AttributeError as error:
        raise UserError(f"--config has no setting {unknown_setting(error)}") from error
    if FLAGS["verbosity"].using_default_value:  # absl would go on to show every library's INFO
        FLAGS.verbosity = logging.WARNING
    return rest


def unknown_setting(error: AttributeError) -> str:
    """ml_collections' message, quotes and line breaks, as part of a sentence."""
    message = str(error).replace("\\n", "\n").replace("\\", "").strip("'\" \n")
    name, *rest = message.split("\n")
    suggestion = re.search(r'Did you mean "(.+?)"', " ".join(rest))
    return f"{name.strip(chr(39))!r}" + (
        f", did you mean {suggestion.group(1)!r}?" if suggestion else ""
    )


def read_config() -> ConfigDict:
    try:
        return FLAGS.config.lock()
    except OSError as error:
        raise UserError(f"config file {FLAGS['config'].config_filename} cannot be read") from error


def find_workdir() -> Path:
    """`--workdir`, or `runs/` and the config's file name and variant."""
    if FLAGS.workdir is not None:
        return Path(FLAGS.workdir)
    file, *variant = FLAGS["config"].config_filename.split(":")
    return Path("runs", "_".join([Path(file).stem, *variant]))


def run() -> None:
    """The entry point: a user's mistake is one line and status 2, without a traceback."""
    logging.get_absl_handler().setFormatter(None)
    try:
        app.run(main, flags_parser=parse_flags)
    except UserError as error:
        sys.exit(f"colorjax: {error}")


if __name__ == "__main__":
    run()
