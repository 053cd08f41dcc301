"""What libtiff says of a damaged file: kept for what the user is told of that file, not printed.

Pillow silences libtiff's warnings but not its errors, which libtiff prints to the standard error of
the process, in lines that name no file. Its handler of errors is one for the process and is called
in the thread that decodes: what it hears is kept by thread.
"""

import atexit
import contextlib
import ctypes
import functools
import threading

from PIL import _imaging

_MOST = 200  # bytes of a line
_of_thread = threading.local()


def listen() -> None:
    """Forgets what was heard in this thread, and from now on keeps the first line."""
    _handle_errors()
    _of_thread.heard = ""


def heard() -> str:
    """The first line that libtiff said in this thread since `listen`; "" if it said nothing."""
    return getattr(_of_thread, "heard", "")


# As vprintf, after the name of what speaks.
@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _hear(module, format, arguments):
    # A damaged fax has a line for each of its own.
    if heard():
        return
    line = ctypes.create_string_buffer(_MOST)
    write = ctypes.pythonapi.PyOS_vsnprintf
    write.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    write(line, _MOST, format, arguments)
    said = b": ".join(part for part in (module, line.value) if part)
    _of_thread.heard = " ".join(said.decode(errors="replace").split()).rstrip(".")


@functools.cache
def _handle_errors() -> None:
    """Has libtiff call `_hear`; where it cannot be found it prints, as it did."""
    with contextlib.suppress(AttributeError, OSError):
        # A name is looked for in what Pillow's own library was linked with, too.
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(ctypes.cast(_hear, ctypes.c_void_p))
        # From then on there is no Python to be called.
        atexit.register(set_handler, None)
