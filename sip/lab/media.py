"""The RTP of the called side: one timer that sends for all calls, and one socket for each call that counts what comes.

A packet is 20 ms of G.711 (160 octets, RFC 3551). One tick serves every call, so a hundred calls cost a hundred sendto and
no hundred timers.
"""

import asyncio
import secrets
import struct
import wave
from array import array
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from sip.g711 import RATE_HZ, SILENCE, decode, encode, tone
from sip.lab.datagrams import Address, UdpSocket
from sip.lab.keys import KeyPresses
from sip.lab.log import Instant, RtpCounts
from sip.lab.voices import Speech
from sip.sdp import AudioTarget, Codec

PACKET_SECONDS: Final = 0.02
PACKET_SAMPLES: Final = 160
MAX_CATCH_UP_PACKETS: Final = 5
MAX_RECORDED_OCTETS: Final = RATE_HZ * 600
_MAX_MISSING: Final = 3_000  # RFC 3550 A.1 MAX_DROPOUT: a larger jump is a new beginning, not a loss
_HEADER: Final = struct.Struct("!BBHII")
_MARKER: Final = 0x80

# A number is a tone of so many hertz, a multiple of 50, so that 20 ms of it repeat without a click.
Sound = Literal["ringback", "silence"] | int | Speech


@lru_cache(maxsize=32)
def _payloads(sound: Sound, codec: Codec) -> tuple[bytes, ...]:
    """The packets of a sound. The last one is sent for ever."""
    match sound:
        case int():
            return (tone(codec, sound),)
        case "ringback":
            return (tone(codec, 400, 450),)
        case "silence":
            return (bytes([SILENCE[codec]]) * PACKET_SAMPLES,)
        case Speech(render=render):
            octets = encode(array("h", render()), codec)
            whole = len(octets) - len(octets) % PACKET_SAMPLES
            said = (octets[at : at + PACKET_SAMPLES] for at in range(0, whole, PACKET_SAMPLES))
            return (*said, *_payloads("silence", codec))


class Recording:
    """What one call received, in the order of its sequence numbers; lost packets are silence. Ten minutes at most."""

    def __init__(self) -> None:
        self._pcm = bytearray()

    def add(self, payload: bytes, codec: Codec, lost_packets: int) -> None:
        """Append a payload, after silence for what was lost before it."""
        room = 2 * MAX_RECORDED_OCTETS - len(self._pcm)
        self._pcm += bytes(min(2 * len(payload) * lost_packets, room))
        self._pcm += decode(payload, codec)[: 2 * MAX_RECORDED_OCTETS - len(self._pcm)]

    def pcm(self) -> bytes:
        """16-bit samples in the machine's byte order, mono, 8 kHz."""
        return bytes(self._pcm)

    def save(self, path: Path) -> None:
        """Write a WAV file."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(self.pcm())


class Reception:
    """Counts one stream of packets (RFC 3550 A.1, without its probation): feed it, then read the counts."""

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        self.longest_gap_seconds = 0.0
        self._ssrc: int | None = None
        self._next = 0
        self._missing: set[int] = set()
        self._last_at = 0.0

    def packet(self, ssrc: int, sequence: int, at: float) -> int | None:
        """Count a packet received at monotonic `at`. How many were lost just before it; None when it is late or twice."""
        if self.received:
            self.longest_gap_seconds = max(self.longest_gap_seconds, at - self._last_at)
        self.received += 1
        self._last_at = at
        ahead = (sequence - self._next) & 0xFFFF
        if ssrc != self._ssrc or _MAX_MISSING <= ahead < 0x10000 - _MAX_MISSING:
            self._ssrc, self._next = ssrc, (sequence + 1) & 0xFFFF
            self._missing.clear()
            return 0
        if ahead >= _MAX_MISSING:
            if sequence in self._missing:
                self._missing.remove(sequence)
                self.lost -= 1
            return None
        if ahead:
            if len(self._missing) > _MAX_MISSING:
                self._missing.clear()
            self._missing.update((self._next + n) & 0xFFFF for n in range(ahead))
            self.lost += ahead
        self._next = (sequence + 1) & 0xFFFF
        return ahead


class RtpPulse:
    """Every 20 ms, one packet on every leg that sends. It rests while no leg does."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._sending: set[RtpLeg] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    def add(self, leg: "RtpLeg") -> None:
        """Begin to send on `leg`."""
        self._sending.add(leg)
        if self._timer is None:
            self._due_at = self._loop.time()
            self._timer = self._loop.call_at(self._due_at, self._tick)

    def discard(self, leg: "RtpLeg") -> None:
        """Stop sending on `leg`; nothing when it does not send."""
        self._sending.discard(leg)

    def _tick(self) -> None:
        # Late ticks are made up for, so that the stream keeps its rate; after a long stall it goes on from now.
        behind = int((self._loop.time() - self._due_at) / PACKET_SECONDS)
        for _ in range(min(1 + behind, MAX_CATCH_UP_PACKETS)):
            for leg in self._sending:
                leg.send_packet()
        self._due_at += PACKET_SECONDS * (1 + behind)
        self._timer = self._loop.call_at(self._due_at, self._tick) if self._sending else None


class RtpLeg:
    """One call's audio: an even port on `host`, a sender driven by the pulse, and the counts of what arrived.

    Raises OSError when no port is free. Nothing is sent before `send_to`, nothing after `close`.
    """

    def __init__(self, host: str, pulse: RtpPulse, *, record: bool) -> None:
        self._socket = _open_even_port(host, self._received)
        self.port = self._socket.port
        self._pulse = pulse
        self._reception = Reception()
        self.recording = Recording() if record else None
        self._target: AudioTarget | None = None
        self._address: Address = ("", 0)
        self._sound: Sound | None = None
        self._payloads: tuple[bytes, ...] = ()
        self._next_payload = 0
        self._sent = 0
        self._sequence = secrets.randbelow(0x8000)
        self._timestamp, self._ssrc = secrets.randbits(32), secrets.randbits(32)
        self._marker = _MARKER
        self._keys = KeyPresses()
        self._key_began = 0

    def press(self, keys: str) -> None:
        """Press keys, as telephone events between the packets of the sound; where the caller takes none, nothing happens."""
        if self._target is not None and self._target.events is not None:
            self._keys.press(keys)

    def send_to(self, target: AudioTarget | None, sound: Sound | None) -> None:
        """From the next tick send `sound` to `target`, and take its codec for what comes.

        Nothing is sent without either, or while the target does not listen. A speech that has begun goes on where it was.
        """
        self._target = target
        if target is None or sound is None or not target.listens:
            self._pulse.discard(self)
            return
        self._address = (target.host, target.port)
        self._payloads = _payloads(sound, target.codec)
        if sound != self._sound:
            self._sound, self._next_payload = sound, 0
        self._marker = _MARKER  # RFC 3551 4.1: set on the first packet of a talkspurt
        self._pulse.add(self)

    def close(self) -> RtpCounts:
        """Stop, free the port and tell the counts. Again: the same counts."""
        self._pulse.discard(self)
        self._socket.drain()  # what came before the BYE counts, though the BYE was read first
        self._socket.close()
        gap_ms = round(self._reception.longest_gap_seconds * 1000, 3)
        return RtpCounts(self._sent, self._reception.received, self._reception.lost, gap_ms)

    def send_packet(self) -> None:
        """One packet; the pulse calls this."""
        if self._target is None:
            return
        key = self._keys.packet() if self._target.events is not None else None
        if key is not None and self._target.events is not None:
            payload, begins = key
            if begins:
                self._key_began = self._timestamp
            kind = self._target.events | (_MARKER if begins else 0)
            header = _HEADER.pack(0x80, kind, self._sequence, self._key_began, self._ssrc)
            self._sent += self._socket.send(header + payload, self._address)
        else:
            kind = self._target.payload_type | self._marker
            header = _HEADER.pack(0x80, kind, self._sequence, self._timestamp, self._ssrc)
            payload = self._payloads[min(self._next_payload, len(self._payloads) - 1)]
            self._sent += self._socket.send(header + payload, self._address)
            self._next_payload += 1
            self._marker = 0
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + PACKET_SAMPLES) & 0xFFFFFFFF

    def _received(self, data: bytes, source: Address, received: Instant) -> None:
        del source  # a caller behind NAT sends from elsewhere than its description says
        if len(data) < _HEADER.size or data[0] >> 6 != 2:
            return
        _, kind, sequence, _, ssrc = _HEADER.unpack_from(data)
        lost = self._reception.packet(ssrc, sequence, received.monotonic)
        if self.recording and self._target and lost is not None and kind & 0x7F == self._target.payload_type:
            self.recording.add(_payload(data), self._target.codec, lost)


def _payload(packet: bytes) -> bytes:
    """What stands behind the header, its CSRC list and extension, without padding (RFC 3550 section 5.1)."""
    start = _HEADER.size + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
    end = len(packet) - (packet[-1] if packet[0] & 0x20 else 0)
    return packet[start : max(start, end)]


def _open_even_port(host: str, on_datagram: Callable[[bytes, Address, Instant], None]) -> UdpSocket:
    while True:  # the kernel's free ports are even every other time
        opened = UdpSocket(host, 0, on_datagram, max_bytes=2_048)
        if opened.port % 2 == 0:
            return opened
        opened.close()
