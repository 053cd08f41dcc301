"""The local cache: later processes load compiled programs; damaged entries are replaced."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import colorjax
from colorjax.coloring import colorize, hints
from colorjax.coloring.network import functions, hint_propagation, transfer
from colorjax.models import task
from colorjax.ops import joining
from colorjax.weights import local_cache, programs


@pytest.fixture
def folder(tmp_path):
    """The folder of the cache during a test."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def counting_function():
    """A function, and a list that grows by one at every trace."""
    traced = []

    def scaled(tree, by, *, sign="plus"):
        traced.append(sign)
        return {"result": (tree["x"] * by if sign == "plus" else tree["x"] * -by)}

    return scaled, traced


def new_program(facts=None):
    function, traced = counting_function()
    program = programs.Program(function, jax.local_devices()[0], facts=facts, static=["sign"])
    return program, traced


X = {"x": np.arange(4, dtype=np.float32)}


def test_a_program_is_traced_once_per_input_shape_and_static_argument(folder):
    program, traced = new_program()
    for by in (2.0, 3.0):
        assert program(X, np.float32(by))["result"].tolist() == [0, by, 2 * by, 3 * by]
    assert program(X, np.float32(2), sign="minus")["result"].tolist() == [0, -2, -4, -6]
    program({"x": np.zeros(3, np.float32)}, np.float32(2))
    assert traced == ["plus", "minus", "plus"] and len(program.compiled) == 3


def test_numpy_arrays_are_passed_on_without_device_put(folder, monkeypatch):
    program, moved, by = new_program()[0], [], np.full(4, 2, np.float32)
    program(X, by)
    monkeypatch.setattr(jax, "device_put", lambda *given: moved.append(given))
    assert program(X, by)["result"].tolist() == [0, 2, 4, 6] and not moved


def test_a_cached_program_is_not_traced_again_and_gives_the_same(folder):
    first = new_program()[0](X, np.float32(2))["result"]
    program, traced = new_program()
    assert program(X, np.float32(2))["result"].tolist() == first.tolist() and not traced
    assert len(list(folder.glob("*.kept"))) == 1


def test_the_cache_key_covers_all_code_that_makes_programs():
    package = Path(colorjax.__file__).parent
    found = {pattern: set(package.glob(pattern)) for pattern in local_cache.SOURCES.split()}
    assert all(found.values()), found
    covered = set().union(*found.values())
    modules = [
        functions,
        hint_propagation,
        hints,
        colorize,
        programs,
        task,
        joining,
        local_cache,
        transfer,
    ]
    assert {Path(module.__file__) for module in modules} <= covered


@pytest.mark.parametrize("change", ["facts", "config", "flags", "sources"])
def test_a_program_with_other_inputs_is_recompiled(folder, monkeypatch, change):
    new_program()[0](X, np.float32(2))
    if change == "flags":
        monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " ")
    if change == "sources":
        monkeypatch.setattr(local_cache, "sources", lambda: "others")
    precision = "float32" if change == "config" else None
    with jax.default_matmul_precision(precision):
        program, traced = new_program("others" if change == "facts" else None)
        program(X, np.float32(2))
    assert traced == ["plus"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another kind"])
def test_a_damaged_program_is_never_used_and_is_replaced(folder, damage):
    new_program()[0](X, np.float32(2))
    (file,) = folder.glob("*.kept")
    whole = file.read_bytes()
    if damage == "of another kind":
        local_cache.write(file.stem, b"no program")
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        file.write_bytes({"cut": whole[:-20], "flipped": flipped, "empty": b""}[damage])
    program, traced = new_program()
    assert program(X, np.float32(2))["result"].tolist() == [0, 2, 4, 6] and traced
    again, traced = new_program()
    assert again(X, np.float32(2))["result"].tolist() == [0, 2, 4, 6] and not traced


def test_a_folder_that_cannot_be_written_is_ignored(folder, tmp_path):
    (tmp_path / "file").write_text("")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file"))
    program, traced = new_program()
    assert program(X, np.float32(2))["result"].tolist() == [0, 2, 4, 6] and traced == ["plus"]
    assert local_cache.read("anything") is None


def test_nothing_is_cached_if_jaxs_cache_is_disabled(folder):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        local_cache.write("one", b"content")
        assert local_cache.read("one") is None and not list(folder.iterdir())
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def test_entries_are_deleted_if_they_were_not_read_for_months(folder):
    for name in ("old", "read"):
        local_cache.write(name, b"content")
        long_ago = time.time() - local_cache.UNUSED - 60
        os.utime(folder / f"{name}.kept", (long_ago, long_ago))
    assert local_cache.read("read") == b"content"
    local_cache.write("new", b"content")
    assert sorted(path.stem for path in folder.iterdir()) == ["new", "read"]


@pytest.mark.slow
def test_a_second_script_loads_compiled_programs_and_leaves_jax_unchanged(tmp_path):
    code = (
        "import sys, jax, numpy as np; from colorjax import Colorizer;"
        "assert 'flax' not in sys.modules; before = dict(jax.config.values);"
        "x = np.arange(60 * 48, dtype=np.uint8).reshape(60, 48);"
        "(one,) = Colorizer(size=16).colorize_arrays([x]);"
        "assert dict(jax.config.values) == before; print('flax' in sys.modules, one.sum())"
    )
    variables = {"JAX_COMPILATION_CACHE_DIR": "", "COLORJAX_HOME": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    )
    assert first.stdout.split()[0] == "True" and second.stdout.split()[0] == "False"
    assert first.stdout.split()[1] == second.stdout.split()[1]
    assert not first.stderr and not second.stderr
    assert len(list((tmp_path / "compiled").glob("*.kept"))) == 4


@pytest.mark.slow
def test_a_program_from_jaxs_own_cache_works_in_every_process(tmp_path):
    code = (
        "import jax, numpy as np; from colorjax.weights.programs import Program;"
        "normed = lambda x, y: jax.lax.rsqrt((x @ y + x) ** 2 + 1).sum(0);"
        "one = Program(normed, jax.local_devices()[0]); x = np.ones((64, 64), np.float32);"
        "print(one(x, x).sum())"
    )
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    outputs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append((done.stdout, done.stderr))
        # Deletes colorjax's entries; JAX's stay.
        if len(outputs) == 1:
            assert list(tmp_path.glob("*-cache"))
            for path in tmp_path.glob("*.kept"):
                path.unlink()
    assert len(set(outputs)) == 1 and outputs[0][0].strip() and not outputs[0][1]
