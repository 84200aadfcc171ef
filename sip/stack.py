"""The functions of the SIP stack that lie below pjsua2, by ctypes. Lives in a worker process.

pjsua2's library exports the whole stack. What SWIG left out is called here as C calls it, on the worker's one thread.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final

import _pjsua2

# PyDLL would hold the interpreter's lock while the stack calls back; pjsua2's own callbacks take it.
_LIBRARY: Final = ctypes.CDLL(_pjsua2.__file__)
Pointer: Final = ctypes.c_void_p
Status: Final = ctypes.c_int  # pj_status_t: 0 is success


def function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:  # noqa: ANN401 - C types
    """The stack's function of that name. Raises AttributeError where this build has none."""
    found = getattr(_LIBRARY, name)
    found.restype, found.argtypes = result, arguments
    return found  # type: ignore[no-any-return]
