"""The stack's INVITE session of a call, one floor below pjsua2: ended so that its real end is told. Lives in a worker process.

pjsua2's own `hangup` tells of the end as soon as it is called, with a status that it makes up, and is silent about the rest:
the final response, its Reason header, and the moment at which the call's place is free. The session (pjsip_inv_session) sends
the same CANCEL or BYE, and pjsua2 then tells of the call's states as of one that the far side ends.
"""

import ctypes
from typing import Final

import pjsua2 as pj

from sip.stack import Pointer, Status, function

_UNSPECIFIED: Final = 0  # the cause is not told to anybody
_dialog_of: Final = function("pjsip_tsx_get_dlg", Pointer, Pointer)
_session_of: Final = function("pjsip_dlg_get_inv_session", Pointer, Pointer)
_end: Final = function("pjsip_inv_end_session", Status, Pointer, ctypes.c_int, Pointer, ctypes.POINTER(Pointer))
_send: Final = function("pjsip_inv_send_msg", Status, Pointer, Pointer)
_respond: Final = function("pjsip_dlg_respond", Status, Pointer, Pointer, ctypes.c_int, Pointer, Pointer, Pointer)


class InviteSession:
    """The session that a transaction belongs to. It is gone once the call was told to be DISCONNECTED."""

    def __init__(self, transaction: pj.SipTransaction) -> None:
        self._dialog = _dialog_of(int(transaction.pjTransaction))
        self._session = _session_of(self._dialog)

    def end(self) -> bool:
        """Send CANCEL or BYE, as the session's state wants; a CANCEL waits for a provisional response (RFC 3261 9.1).

        False when the stack could not: the session is over, or has no way to the far side any more.
        """
        message = Pointer()
        if self._session is None or _end(self._session, _UNSPECIFIED, None, ctypes.byref(message)):
            return False
        return message.value is None or not _send(self._session, message)

    def answer(self, request: pj.SipRxData, status: int) -> None:
        """Answer a request of the far side inside the call, in the callback that tells of it."""
        _respond(self._dialog, int(request.pjRxData), status, None, None, None)
