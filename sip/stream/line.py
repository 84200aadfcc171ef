"""What goes over the pair of sockets between a call in its worker and the stream process: one packet for each frame. Pure.

From the worker, every 20 ms: how many frames it has taken so far, played or thrown away, and what the callee said. To the
worker: a frame to be heard, or the word that those which wait are to be thrown away.
"""

import struct
from typing import Final

FRAME_MS: Final = 20
SAMPLE_BYTES: Final = 2
MAX_PACKET: Final = 2_048
AUDIO: Final = b"a"
CLEAR: Final = b"c"
_TAKEN: Final = struct.Struct("<I")


def frame_bytes(sample_rate: int) -> int:
    """Of one frame.

    >>> frame_bytes(8000)
    320
    """
    return sample_rate * FRAME_MS // 1000 * SAMPLE_BYTES


def from_call(taken: int, frame: bytes) -> bytes:
    """The worker's packet."""
    return _TAKEN.pack(taken) + frame


def read_from_call(packet: bytes) -> tuple[int, bytes]:
    """How many frames were taken, and what was said."""
    return _TAKEN.unpack_from(packet)[0], packet[_TAKEN.size :]


def to_call(frame: bytes) -> bytes:
    """A frame to be heard."""
    return AUDIO + frame
