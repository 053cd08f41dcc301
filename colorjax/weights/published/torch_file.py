"""Reads the arrays of a PyTorch state dict, without PyTorch and without trusting the file.

The format is that of PyTorch before 1.6 (`torch/serialization.py`, `_legacy_save`). It consists of
five pickles (a magic number, a version, facts on the writer's machine, the state dict and the keys
of its storages), followed by each storage as a count and its values.

A pickle is a program, and the module `pickle` would execute any code in it. The interpreter here
supports only the operations that build numbers, strings, lists, tuples and dicts. It imports and
calls nothing; the few names that a state dict refers to are represented by plain records.
"""

import io
import math
import pickletools
import struct
from typing import Any, NamedTuple

import numpy as np

from colorjax.errors import UserError

MAX_BYTES = 2**26  # of a whole file; EfficientNet-Lite0 takes 19 MB
MAX_STEPS = 200_000  # of one pickle; EfficientNet-Lite0 takes 10 697
MAX_AXES = 8

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DICT = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_DTYPES: dict[str, np.dtype] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch LongStorage": np.dtype("<i8"),
}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OTHERS = (
    "PROTO STOP MARK TUPLE EMPTY_DICT EMPTY_LIST SETITEM SETITEMS APPEND APPENDS BINPUT "
    "LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BUILD BINPERSID"
)
_KNOWN = {*_CONSTANTS, *_VALUES, *_TUPLES, *_OTHERS.split()}
_OPERATIONS = {op.code.encode("latin-1"): op for op in pickletools.opcodes if op.name in _KNOWN}


class _Name(NamedTuple):
    """A name that a pickle refers to; it is never imported."""

    text: str  # "module name"


class _Storage(NamedTuple):
    """A flat array that is stored later in the file."""

    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    """A strided view of a storage; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Fault(Exception):
    """A fault of a file; the message is a clause."""


def read_state_dict(data: bytes, name: str) -> dict[str, np.ndarray]:
    """Returns the arrays of the state dict in `data`, by name: float32 or int64, of any shape.

    `name` is the name of the file in error messages. Raises UserError if `data` is not a state dict
    of this format, is too large, truncated or followed by other data, contains anything but float32
    and int64 arrays, has an array that exceeds its storage, or has values that are NaN or infinite.
    """
    try:
        if len(data) > MAX_BYTES:
            raise _Fault(f"it has {len(data)} bytes, want {MAX_BYTES} at most")
        file = io.BytesIO(data)
        tensors = _read_tensors(file)
        values = _read_storages(file, _storages(tensors))
        return {key: _array(key, tensor, values) for key, tensor in tensors.items()}
    except _Fault as fault:
        raise UserError(f"{name} is not a valid PyTorch state dict: {fault}") from fault


# Reading the parts of a file


def _read_tensors(file: io.BytesIO) -> dict[str, _Tensor]:
    """Reads the headers and the state dict, whose tensors describe its arrays."""
    for what, wanted in (("magic number", _MAGIC), ("version", _VERSION)):
        found = _unpickle(file)
        if found != wanted:
            raise _Fault(f"its {what} is {_shown(found)}, want {wanted}")
    machine = _unpickle(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise _Fault("it was not written on a little-endian machine")
    found = _unpickle(file)
    if not isinstance(found, dict):
        raise _Fault(f"it holds {_shown(found)}, want a dict of arrays")
    for key, tensor in found.items():
        if not isinstance(tensor, _Tensor):
            raise _Fault(f"{_shown(key)} is {_shown(tensor)}, want an array")
    size = sum(math.prod(t.shape) * t.storage.dtype.itemsize for t in found.values())
    if size > MAX_BYTES:  # many arrays may lie in one storage
        raise _Fault(f"its arrays take {_shown(size)} bytes, want {MAX_BYTES} at most")
    return found


def _storages(tensors: dict[str, _Tensor]) -> dict[str, _Storage]:
    """Returns the storages of the tensors, by key."""
    storages: dict[str, _Storage] = {}
    for tensor in tensors.values():
        storage = tensor.storage
        if storages.setdefault(storage.key, storage) != storage:
            raise _Fault(f"it describes the storage {_shown(storage.key)} in two ways")
    return storages


def _read_storages(file: io.BytesIO, storages: dict[str, _Storage]) -> dict[str, np.ndarray]:
    """Reads the storages, which follow one another to the end of the file: key -> values."""
    keys = _unpickle(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _Fault(f"its storages are {_shown(keys)}, want a list of their keys")
    if len(set(keys)) != len(keys) or set(keys) != storages.keys():
        raise _Fault(
            f"it lists {len(keys)} storages, {len(set(keys))} different ones, want the "
            f"{len(storages)} that its arrays lie in"
        )
    values = {}
    for storage in map(storages.__getitem__, keys):
        header = file.read(8)
        if len(header) < 8:
            raise _Fault(f"it ends before the storage {_shown(storage.key)}")
        (count,) = struct.unpack("<q", header)
        if count != storage.length:
            raise _Fault(
                f"the storage {_shown(storage.key)} has {count} values, want {storage.length}"
            )
        size = count * storage.dtype.itemsize
        data = file.read(size)
        if len(data) < size:
            raise _Fault(
                f"it ends after {len(data)} of {size} bytes of the storage {_shown(storage.key)}"
            )
        values[storage.key] = np.frombuffer(data, storage.dtype)
    rest = len(file.read())
    if rest:
        raise _Fault(f"{rest} bytes follow its last storage, want none")
    return values


def _array(key: str, tensor: _Tensor, values: dict[str, np.ndarray]) -> np.ndarray:
    """Copies the values of a tensor from its storage."""
    flat = values[tensor.storage.key]
    # The stride of an axis with one element has no effect, and may be any number.
    steps = [s if n > 1 else 0 for n, s in zip(tensor.shape, tensor.strides, strict=True)]
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, steps, strict=True))
    if last >= len(flat) or math.prod(tensor.shape) > len(flat):
        raise _Fault(
            f"{_shown(key)} of shape {_shown(tensor.shape)} reaches to value {_shown(last)} of a "
            f"storage of {len(flat)}"
        )
    strides = [s * flat.itemsize for s in steps]
    array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides).copy()
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise _Fault(f"{_shown(key)} has {bad} values that are NaN or infinite")
    return array


# Interpreting pickles


def _unpickle(file: io.BytesIO) -> Any:
    """Returns the object that the next pickle of `file` builds."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any
    for _ in range(MAX_STEPS):
        place = file.tell()
        code = file.read(1)
        operation = _OPERATIONS.get(code)
        if operation is None:
            what = f"has {code!r}" if code else "ends"
            raise _Fault(f"it {what} at byte {place}, where a state dict has an operation")
        try:
            if operation.name == "GLOBAL":
                argument = _read_name(file)
            else:
                argument = operation.arg.reader(file) if operation.arg else None
            if operation.name == "STOP":
                (result,) = stack
                return result
            _execute(operation.name, argument, stack, marks, memo)
        except (ValueError, TypeError, LookupError) as error:
            raise _Fault(f"its {operation.name} at byte {place} makes no sense") from error
    raise _Fault(f"it has a pickle of more than {MAX_STEPS} operations")


def _execute(name: str, argument: Any, stack: list, marks: list[int], memo: dict[int, Any]) -> None:
    """Executes one operation; the Python module `pickletools` documents them."""
    if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _VALUES:
        stack.append(argument)
    elif name in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if name == "EMPTY_DICT" else [])
    elif name == "MARK":
        marks.append(len(stack))
    elif name == "TUPLE" or name in _TUPLES:
        stack.append(tuple(_pop_from(stack, marks.pop() if name == "TUPLE" else -_TUPLES[name])))
    elif name in ("SETITEM", "SETITEMS"):
        _set_items(stack, _pop_from(stack, marks.pop() if name == "SETITEMS" else -2))
    elif name in ("APPEND", "APPENDS"):
        items = _pop_from(stack, marks.pop() if name == "APPENDS" else -1)
        _expect(stack[-1], list).extend(items)
    elif name in ("BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "GLOBAL":
        if argument not in (_DICT, _TENSOR, *_DTYPES):
            raise _Fault(f"it names {_shown(argument)}, which a state dict does not need")
        stack.append(_Name(argument))
    elif name == "BINPERSID":
        stack.append(_parse_storage(stack.pop()))
    elif name == "REDUCE":
        stack.append(_call(*_pop_from(stack, -2)))
    elif name == "BUILD":  # sets attributes of the dict (versions of modules), which are dropped
        stack.pop()
        _expect(stack[-1], dict)


def _read_name(file: io.BytesIO) -> str:
    """Reads two lines, a module and a name in it; `pickletools` would warn about backslashes."""
    *lines, rest = (file.readline() + file.readline()).decode("ascii").split("\n")
    if len(lines) != 2 or rest:
        raise ValueError("no two lines")
    return " ".join(lines)


def _pop_from(stack: list, start: int) -> list:
    """Pops all items from index `start` on; a negative index counts from the top of the stack."""
    items = stack[start:]
    if start < -len(stack) or start > len(stack):
        raise IndexError("the stack is too short")
    del stack[start:]
    return items


def _set_items(stack: list, items: list) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        _expect(stack[-1], dict)[_expect(key, str)] = value


def _parse_storage(reference: Any) -> _Storage:
    """Parses the reference to a storage: ("storage", type, key, device, count, no view)."""
    word, kind, key, _, count, view = _expect(reference, tuple)
    if word != "storage" or view is not None:
        raise ValueError("not a whole storage")
    return _Storage(_expect(key, str), _DTYPES[_expect(kind, _Name).text], _expect_natural(count))


def _call(function: Any, arguments: Any) -> dict | _Tensor:
    """Returns the empty dict or the tensor that a call would create."""
    if _expect(function, _Name).text == _DICT:
        if arguments != ():
            raise ValueError("an ordered dict that is not empty at first")
        return {}
    if function.text != _TENSOR:
        raise ValueError("a call of something else")
    storage, offset, shape, strides, _, _ = _expect(arguments, tuple)
    if len(_expect(shape, tuple)) != len(_expect(strides, tuple)) or len(shape) > MAX_AXES:
        raise ValueError("another number of strides than of axes, or too many")
    if 0 in map(_expect_natural, shape):
        raise ValueError("an array without values")
    strides = tuple(map(_expect_natural, strides))
    return _Tensor(_expect(storage, _Storage), _expect_natural(offset), shape, strides)


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"want a {kind.__name__}")
    return value


def _expect_natural(value: Any) -> int:
    if not 0 <= _expect(value, int) < 2**63:
        raise ValueError("want a number of 63 bits, not negative")
    return value


def _shown(value: Any) -> str:
    """Formats a value of a file for a message; only its type if its repr could be very long."""
    if value is None or isinstance(value, (bool, int, str)):
        text = repr(value)
    elif isinstance(value, tuple) and all(type(part) is int for part in value):
        text = repr(value)
    else:
        return f"a {type(value).__name__.strip('_').lower()}"
    return text if len(text) <= 60 else f"{text[:57]}..."
