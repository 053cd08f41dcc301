"""Captures libtiff's error messages, so that they appear in the message about the damaged file.

Pillow silences libtiff's warnings but not its errors: libtiff prints them to the standard error of
the process without naming a file. The error handler is global to the process, but it is called in
the thread that decodes, so messages are stored per thread.
"""

import atexit
import contextlib
import ctypes
import functools
import threading

from PIL import _imaging

_MAX_LINE_BYTES = 200
_thread_local = threading.local()


def start_capture() -> None:
    """Clears this thread's captured error, so that the next error is captured."""
    _install_handler()
    _thread_local.error = ""


def captured_error() -> str:
    """Returns libtiff's first error in this thread since `start_capture`; "" if there was none."""
    return getattr(_thread_local, "error", "")


# The arguments are the name of the libtiff function, then those of vprintf.
@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _on_error(module, format, arguments):
    # A damaged fax produces an error for each of its rows; only the first is kept.
    if captured_error():
        return
    line = ctypes.create_string_buffer(_MAX_LINE_BYTES)
    write = ctypes.pythonapi.PyOS_vsnprintf
    write.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    write(line, _MAX_LINE_BYTES, format, arguments)
    message = b": ".join(part for part in (module, line.value) if part)
    _thread_local.error = " ".join(message.decode(errors="replace").split()).rstrip(".")


@functools.cache
def _install_handler() -> None:
    """Registers `_on_error` with libtiff; if libtiff cannot be found, it keeps printing errors."""
    with contextlib.suppress(AttributeError, OSError):
        # The symbol lookup includes the libraries that Pillow's extension module is linked with.
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(ctypes.cast(_on_error, ctypes.c_void_p))
        # After interpreter shutdown, libtiff must not call into Python.
        atexit.register(set_handler, None)
