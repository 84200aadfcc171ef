"""Frames of the bridge as bytes. Lives in a worker process.

SWIG hands a frame's samples out as a C++ vector, and copies them one by one where Python asks for bytes: that took three
times what is done here, where the vector's own memory is read and written. Its first word is where that begins.
"""

import ctypes
from typing import Final

import pjsua2 as pj

FRAME_MICROSECONDS: Final = 20_000
SAMPLE_BITS: Final = 16


def format_of(rate_hz: int) -> pj.MediaFormatAudio:
    """16-bit samples, one channel, 20 ms a frame."""
    made = pj.MediaFormatAudio()
    made.init(pj.PJMEDIA_FORMAT_PCM, rate_hz, 1, FRAME_MICROSECONDS, SAMPLE_BITS)
    return made


def samples_of(frame: pj.MediaFrame) -> bytes:
    """What the frame holds; b"" where nothing is sent."""
    if frame.type != pj.PJMEDIA_FRAME_TYPE_AUDIO or not frame.size:
        return b""
    return ctypes.string_at(_memory(frame.buf), frame.size)


def fill(frame: pj.MediaFrame, samples: bytes) -> None:
    """Let the frame hold these samples."""
    frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
    held = frame.buf  # named, because its parts die with it
    held.resize(len(samples))
    ctypes.memmove(_memory(held), samples, len(samples))
    frame.size = len(samples)


def _memory(held: pj.ByteVector) -> int:
    return ctypes.c_void_p.from_address(int(held.this)).value or 0
