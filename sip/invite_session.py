"""The stack's INVITE session of a call, one floor below pjsua2: ended so that its real end is told. Lives in a worker process.

pjsua2's own `hangup` tells of the end as soon as it is called, with a status that it makes up, and is silent about the rest:
the final response, its Reason header, and the moment at which the call's place is free. The session (pjsip_inv_session) sends
the same CANCEL or BYE, and pjsua2 then tells of the call's states as of one that the far side ends.
"""

import ctypes
from typing import Any, Final

import _pjsua2
import pjsua2 as pj

# PyDLL would hold the interpreter's lock while the stack calls back; pjsua2's own callbacks take it.
_STACK: Final = ctypes.CDLL(_pjsua2.__file__)
_POINTER: Final = ctypes.c_void_p
_UNSPECIFIED: Final = 0  # the cause is not told to anybody


def _function(name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - C types
    function = getattr(_STACK, name)
    function.restype, function.argtypes = result, arguments
    return function


_dialog_of: Final = _function("pjsip_tsx_get_dlg", _POINTER, _POINTER)
_session_of: Final = _function("pjsip_dlg_get_inv_session", _POINTER, _POINTER)
_end: Final = _function(
    "pjsip_inv_end_session", ctypes.c_int, _POINTER, ctypes.c_int, _POINTER, ctypes.POINTER(_POINTER)
)
_send: Final = _function("pjsip_inv_send_msg", ctypes.c_int, _POINTER, _POINTER)


class InviteSession:
    """The session that a transaction belongs to. It is gone once the call was told to be DISCONNECTED."""

    def __init__(self, transaction: pj.SipTransaction) -> None:
        self._session = _session_of(_dialog_of(int(transaction.pjTransaction)))

    def end(self) -> bool:
        """Send CANCEL or BYE, as the session's state wants; a CANCEL waits for a provisional response (RFC 3261 9.1).

        False when the stack could not: the session is over, or has no way to the far side any more.
        """
        message = _POINTER()
        if self._session is None or _end(self._session, _UNSPECIFIED, None, ctypes.byref(message)):
            return False
        return message.value is None or not _send(self._session, message)
