"""The audio of one called leg: its offer/answer state (RFC 3264) and the RTP that follows from it."""

import secrets

from sip.grammar import MalformedMessage
from sip.lab.log import RtpCounts
from sip.lab.media import Recording, RtpLeg, RtpPulse, Sound
from sip.sdp import AudioTarget, Origin, Stream, choose_audio, describe_answer, describe_offer, parse_streams


class CallAudio:
    """Takes the caller's descriptions, gives ours, plays a sound. The RTP port is opened for the first description given."""

    def __init__(self, host: str, pulse: RtpPulse, *, record: bool) -> None:
        self._host, self._pulse, self._record = host, pulse, record
        self._leg: RtpLeg | None = None
        self._streams: tuple[Stream, ...] = ()
        self._chosen: tuple[int, AudioTarget] | None = None
        self._sound: Sound | None = None
        self._described = b""
        self._session, self._version = secrets.randbits(31), 0

    def take_offer(self, body: bytes) -> bool:
        """Take the caller's offer; an empty one means that we are to offer. False when nothing in it can be carried.

        Raises MalformedMessage. In both cases the state stays as it was.
        """
        if not body:
            self._streams, self._described = (), b""
            return True
        streams = parse_streams(body)
        chosen = choose_audio(streams)
        if chosen is None:
            return False
        self._streams, self._chosen, self._described = streams, chosen, b""
        self._follow()
        return True

    def take_answer(self, body: bytes) -> None:
        """Take the caller's answer to our offer; one that cannot be used leaves the leg without a target."""
        if self._streams:
            return  # ours was the answer
        try:
            self._chosen = choose_audio(parse_streams(body))
        except MalformedMessage:
            self._chosen = None
        self._follow()

    def describe(self) -> bytes:
        """Our description: the answer to the last offer, or an offer of our own. The same bytes until a new offer.

        Raises OSError when no RTP port can be had.
        """
        if self._leg is None:
            self._leg = RtpLeg(self._host, self._pulse, record=self._record)
        if not self._described:
            self._version += 1
            origin = Origin(self._host, self._leg.port, self._session, self._version)
            if self._streams and self._chosen:
                self._described = describe_answer(self._streams, *self._chosen, origin)
            else:
                self._described = describe_offer(origin)
            self._follow()
        return self._described

    def play(self, sound: Sound | None) -> None:
        """Send `sound` from now on, None: nothing; as long as the caller wants to hear."""
        self._sound = sound
        self._follow()

    def press(self, keys: str) -> None:
        """Press keys while a sound is sent, as telephone events."""
        if self._leg:
            self._leg.press(keys)

    @property
    def recording(self) -> Recording | None:
        """What was received; None without a port, or when recording is off."""
        return self._leg.recording if self._leg else None

    def close(self) -> RtpCounts:
        """Stop and free the port; the counts up to now."""
        return self._leg.close() if self._leg else RtpCounts()

    def _follow(self) -> None:
        if self._leg:
            self._leg.send_to(self._chosen[1] if self._chosen else None, self._sound)
