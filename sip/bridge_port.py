"""A place in the bridge whose frames are made and taken in Python. Lives in a worker process."""

import pjsua2 as pj

from sip.frames import format_of


class BridgePort(pj.AudioMediaPort):  # type: ignore[misc]
    """The bridge calls it every 20 ms, on a thread of its own, from `enter` to `leave`, whether it is connected or not.

    `leave` it while it is still referred to. The interpreter would take it apart first and out of the bridge last, and
    a call in between finds half an object: that ended the worker (SIGSEGV) once in a thousand ports on a busy machine.
    """

    def enter(self, name: str, rate_hz: int) -> None:
        """Be called from now on: all that the calls need is there by now. Raises ValueError with a reason."""
        try:
            self.createPort(name, format_of(rate_hz))
        except pj.Error as fault:
            raise ValueError(f"there is no place in the bridge: {fault.reason}") from None

    def leave(self) -> None:
        """Be called no more, and connected to nothing. Waits for a call that is under way; nothing else may follow."""
        # What SWIG has for the last reference's end. The C++ destructor takes the port out of the bridge and waits.
        self.__swig_destroy__(self)
