"""Trains and measures networks: `python -m colorjax.main --config=configs/classify.py`.

This module only parses flags. `--config=FILE[:VARIANT]` names a config file,
`--config=NAME[:VARIANT]` a config that comes with colorjax, and `--config.NAME=VALUE` overrides one
of its fields. Without `--config`, the config of the run in `--workdir` is used.
"""

import sys

if __name__ == "__main__":
    from colorjax import errors, extras, stopping

    stopping.listen()  # before the imports below, which take seconds
    try:
        extras.check_installed("train", "training")
    except errors.UserError as error:
        print(f"colorjax: {error}", file=sys.stderr)
        sys.exit(errors.MISTAKE)

import difflib
import os
import re
import traceback
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from colorjax import errors, stopping
from colorjax.errors import UserError
from colorjax.settings import as_dict, complete
from colorjax.studies.prior import prior
from colorjax.studies.reproduce import reproduce
from colorjax.studies.sweep import sweep
from colorjax.training.config_file import load_config
from colorjax.training.evaluate import evaluate
from colorjax.training.train import train
from colorjax.weights import devices, runs

MODES = {"train": train, "eval": evaluate, "prior": prior, "sweep": sweep, "reproduce": reproduce}

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "folder of the run; by default runs/<name of the config>")
flags.DEFINE_enum("mode", None, list(MODES), "what to do; by default the config's mode")
flags.DEFINE_bool("multihost", False, "run as one of several processes with jax.distributed")
flags.DEFINE_string("coordinator", None, "with --multihost: host:port of process 0")
flags.DEFINE_integer("num_processes", None, "with --multihost: number of processes")
flags.DEFINE_integer("process_id", None, "with --multihost: number of this process, from 0")


def main(argv: list[str]) -> int:
    """Runs the mode of the flags or the config; returns the exit status."""
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} is not a flag, want --name=value")
    settings = complete(FLAGS.config)
    mode = FLAGS.mode or settings.mode
    if mode not in MODES:
        raise UserError(f"mode is {mode!r}, want one of {', '.join(MODES)}")
    devices.enable_compilation_cache()
    connect_processes()
    workdir = Path(FLAGS.workdir)
    with errors.disk_faults(workdir):
        MODES[mode](settings, workdir)
    return stopping.status()


def parse_flags(argv: list[str]) -> list[str]:
    """Parses all flags, including the config's fields; returns the other arguments.

    ml_collections could load the file too, but reports a mistyped field with a traceback.
    """
    config_argument, argv = take_config(argv)
    if config_argument is not None:
        define_config(load_config(config_argument), argv)
    else:
        FLAGS(argv, known_only=True)
        if FLAGS.workdir is not None:
            settings = runs.read_settings(Path(FLAGS.workdir))
            define_config(ConfigDict(as_dict(settings)), argv)
        FLAGS.unparse_flags()
    rest = app.parse_flags_with_usage(argv)
    if "config" not in FLAGS:
        raise UserError(
            "neither --config nor --workdir is given, want --config=classify, for example"
        )
    if FLAGS.workdir is None and config_argument is not None:
        file, _, variant = config_argument.partition(":")
        workdir = Path("runs", "_".join(filter(None, [Path(file).stem, variant])))
        FLAGS.set_default("workdir", str(workdir))
    if FLAGS["verbosity"].using_default_value:  # absl would show the INFO messages of all libraries
        logging.set_verbosity(logging.WARNING)
    return rest


def take_config(argv: list[str]) -> tuple[str | None, list[str]]:
    """Returns the value of `--config=CONFIG` or `--config CONFIG`, and the other arguments."""
    for i, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name.lstrip("-") == "config" and name.startswith("-"):
            if equals:
                return value, argv[:i] + argv[i + 1 :]
            if i + 1 < len(argv):
                return argv[i + 1], argv[:i] + argv[i + 2 :]
            raise UserError("--config has no value, want --config=classify, for example")
    return None, argv


def define_config(config: ConfigDict, argv: list[str]) -> None:
    """Defines a flag for every field of `config`; raises UserError if `argv` overrides others."""
    known = list(runs.flatten(config.to_dict()))
    for name in re.findall(r"^--?config\.([^=\s]+)", "\n".join(argv), re.MULTILINE):
        if name not in known:
            by_leaf = {field.rpartition(".")[2]: field for field in known}
            leaf = name.rpartition(".")[2]
            close = difflib.get_close_matches(name, known, 1) or [
                by_leaf[match] for match in difflib.get_close_matches(leaf, by_leaf, 1)
            ]
            suggestion = f", did you mean {close[0]!r}?" if close else ""
            raise UserError(f"the config has no setting {name!r}{suggestion}")
    config_flags.DEFINE_config_dict("config", config, sys_argv=argv)


def connect_processes() -> None:
    process_options = (FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    if not FLAGS.multihost:
        if any(option is not None for option in process_options):
            raise UserError("--coordinator, --num_processes and --process_id want --multihost too")
        return
    try:
        jax.distributed.initialize(*process_options)
    except ValueError as error:  # jax cannot detect the cluster
        raise UserError(
            f"--multihost wants --coordinator, --num_processes and --process_id here: {error}"
        ) from error


def run() -> None:
    """The entry point; exits with the statuses that `errors` and `stopping` define."""
    stopping.start_raising()
    logging.get_absl_handler().setFormatter(None)
    try:
        app.run(main, flags_parser=parse_flags)
    except UserError as error:
        print(f"colorjax: {error}", file=sys.stderr, flush=True)
        exit_process(errors.MISTAKE)
    except stopping.Stopped:
        print("colorjax: stopped", file=sys.stderr, flush=True)
        exit_process(stopping.status())
    except Exception:
        traceback.print_exc()
        exit_process(errors.DEFECT)


def exit_process(status: int) -> None:
    if FLAGS.is_parsed() and FLAGS.multihost:
        os._exit(status)  # a normal exit would wait minutes for the other processes
    sys.exit(status)


if __name__ == "__main__":
    run()
