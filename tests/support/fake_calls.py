"""A `CallControl` without a network: the end of the number decides, as in the lab, and time is the event loop's."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from dialer.core.events import (
    Answered,
    DigitPressed,
    EndedBy,
    Heard,
    InviteSent,
    LegEnded,
    LegEvent,
    LegLost,
    LegRefused,
    PlayEnded,
    Rang,
    RecordEnded,
    Referred,
    StreamEnd,
    StreamEnded,
    StreamOpened,
)
from dialer.core.model import LegId, WallMs
from dialer.ports import DialOrder, StreamOrder

ANSWERS_AND_HANGS_UP, ANSWERS, RINGS = "01", "02", "10"
REFUSALS = {"404": 1, "480": 20, "486": 17, "503": 34, "603": 21}  # SIP status by number's end, with the Q.850 cause


@dataclass
class FakeLeg:
    order: DialOrder
    answered: bool = False
    sip_status: int = 0
    playing: list[int] = field(default_factory=list)
    recording: int | None = None
    listened_to: bool = False
    stream: int | None = None
    keys: str = ""


class FakeCallControl:
    """`audio` names the files that can be played, with their seconds; streams to `servers` are opened.

    Numbers that end otherwise get no reply at all.
    """

    def __init__(
        self,
        *,
        places: int = 4,
        trunks: tuple[str, ...] = ("far",),
        audio: dict[str, float] | None = None,
        servers: tuple[str, ...] = (),
    ) -> None:
        self.legs: dict[LegId, FakeLeg] = {}
        self.dialed: list[DialOrder] = []
        self.asked: list[str] = []
        self.bridged: list[tuple[LegId, LegId]] = []
        self._places, self._trunks, self._audio = places, trunks, audio or {}
        self._servers = servers
        self._receive: Callable[[LegEvent], None] = lambda _: None

    def listen(self, receive: Callable[[LegEvent], None]) -> None:
        self._receive = receive

    def dial(self, leg: LegId, order: DialOrder) -> None:
        if order.trunk not in self._trunks:
            self._soon(lambda: LegRefused(leg, self._now(), f"there is no trunk {order.trunk}", transient=False))
        elif order.beside is not None and order.beside not in self.legs:
            self._soon(lambda: LegRefused(leg, self._now(), "there is no such leg to be beside", transient=True))
        elif not _is_fit(order):
            self._soon(lambda: LegRefused(leg, self._now(), "not a number that can be dialed", transient=False))
        elif self.free_places() == 0:
            self._soon(lambda: LegRefused(leg, self._now(), "no free place", transient=True))
        else:
            self.legs[leg] = FakeLeg(order)
            self.dialed.append(order)
            self._soon(lambda: InviteSent(leg, self._now(), json.dumps({"call_id": order.sip_call_id})))
            asyncio.get_running_loop().call_soon(self._far_side, leg)

    def _far_side(self, leg: LegId) -> None:
        found = self.legs.get(leg)
        if found is None:
            return
        number = _user(found.order)
        status = next((status for status in REFUSALS if number.endswith(status)), None)
        if status is not None:
            self.end(leg, EndedBy.FAR, sip_status=int(status), q850=REFUSALS[status])
        elif number.endswith((ANSWERS, ANSWERS_AND_HANGS_UP, RINGS)):
            found.sip_status = 180
            dialog = json.dumps({"call_id": found.order.sip_call_id})
            self._soon(lambda: Rang(leg, self._now(), 180, dialog=dialog))
            if not number.endswith(RINGS):
                found.answered, found.sip_status = True, 200
                self._soon(lambda: Answered(leg, self._now(), dialog))
            if number.endswith(ANSWERS_AND_HANGS_UP):
                asyncio.get_running_loop().call_later(0.05, lambda: self.end(leg, EndedBy.FAR, q850=16))

    def end(self, leg: LegId, by: EndedBy, *, sip_status: int = 0, q850: int | None = None) -> None:
        """End a leg as the far side would, or the stack."""
        found = self.legs.pop(leg, None)
        if found is None:
            return
        for token in found.playing:
            self._tell(PlayEnded(leg, token, complete=False, reason="the call ended", leg_over=True))
        if found.recording is not None:
            self._tell(RecordEnded(leg, found.recording, 1.0, leg_over=True))
        if found.stream is not None:
            self._tell(StreamEnded(leg, found.stream, StreamEnd.STOPPED, "hangup", leg_over=True))
        reason = "we hung up" if by is EndedBy.US else "the far side"
        self._tell(LegEnded(leg, self._now(), by, sip_status or found.sip_status, q850, reason=reason))

    def lose(self) -> None:
        """The worker of all legs dies."""
        for leg in list(self.legs):
            del self.legs[leg]
            self._tell(LegLost(leg, self._now(), "its worker ended: killed by signal 9"))

    def hang_up(self, leg: LegId) -> None:
        asyncio.get_running_loop().call_soon(lambda: self.end(leg, EndedBy.US))

    def play(self, leg: LegId, token: int, audio: str) -> None:
        found, seconds = self.legs.get(leg), self._audio.get(audio)
        if found is None or seconds is None:
            self._soon(lambda: PlayEnded(leg, token, complete=False, reason=f"{audio}: cannot be played"))
            return
        found.playing.append(token)
        asyncio.get_running_loop().call_later(seconds, self._played, leg, token)

    def _played(self, leg: LegId, token: int) -> None:
        found = self.legs.get(leg)
        if found is not None and token in found.playing:
            found.playing.remove(token)
            self._tell(PlayEnded(leg, token, complete=True))

    def stop_playing(self, leg: LegId) -> None:
        found = self.legs.get(leg)
        while found is not None and found.playing:
            over = PlayEnded(leg, found.playing.pop(), complete=False, reason="stopped")
            asyncio.get_running_loop().call_soon(self._tell, over)

    def record(self, leg: LegId, token: int, name: str, max_seconds: float) -> None:
        found = self.legs.get(leg)
        if found is None:
            self._soon(lambda: RecordEnded(leg, token, 0.0, "the call is over", leg_over=True))
            return
        self.stop_recording(leg)
        found.recording = token
        asyncio.get_running_loop().call_later(max_seconds, self._recorded, leg, token)

    def stop_recording(self, leg: LegId) -> None:
        found = self.legs.get(leg)
        if found is not None and found.recording is not None:
            asyncio.get_running_loop().call_soon(self._recorded, leg, found.recording)

    def _recorded(self, leg: LegId, token: int) -> None:
        found = self.legs.get(leg)
        if found is not None and found.recording == token:
            found.recording = None
            self._tell(RecordEnded(leg, token, 1.0))

    def listen_to(self, leg: LegId) -> None:
        found = self.legs.get(leg)
        if found is not None and not found.listened_to:
            found.listened_to = True
            asyncio.get_running_loop().call_later(0.02, self._hear, leg)

    def _hear(self, leg: LegId) -> None:
        """The line says the same all the time: a person who waits."""
        found = self.legs.get(leg)
        if found is not None and found.listened_to:
            self._tell(Heard(leg, self._now(), [60], [0]))
            asyncio.get_running_loop().call_later(0.02, self._hear, leg)

    def stop_listening(self, leg: LegId) -> None:
        found = self.legs.get(leg)
        if found is not None:
            found.listened_to = False

    def stream(self, leg: LegId, token: int, order: StreamOrder) -> None:
        found = self.legs.get(leg)
        if found is None:
            self._soon(lambda: StreamEnded(leg, token, StreamEnd.STOPPED, leg_over=True))
        elif order.url not in self._servers:
            self._soon(lambda: StreamEnded(leg, token, StreamEnd.FAILED, "there is no such server"))
        else:
            found.stream = token
            self._soon(lambda: StreamOpened(leg, token))

    def press_stream_key(self, leg: LegId, digit: str) -> None:
        found = self.legs.get(leg)
        if found is not None and found.stream is not None:
            found.keys += digit

    def stop_stream(self, leg: LegId, reason: str) -> None:
        asyncio.get_running_loop().call_soon(self.end_stream, leg, StreamEnd.STOPPED, reason)

    def end_stream(self, leg: LegId, by: StreamEnd, reason: str = "", outcome: str = "") -> None:
        """The server ends the leg's stream, or it is lost."""
        found = self.legs.get(leg)
        if found is not None and found.stream is not None:
            token, found.stream = found.stream, None
            self._tell(StreamEnded(leg, token, by, reason, outcome))

    def bridge(self, leg: LegId, other: LegId) -> None:
        if leg in self.legs and other in self.legs:
            self.bridged.append((leg, other))

    def refer(self, leg: LegId, token: int, number: str, uri: str) -> None:
        order = DialOrder("", number, "", "", uri)
        agent = _user(order)
        status = next((int(status) for status in REFUSALS if agent.endswith(status)), 200)
        if leg not in self.legs or not _is_fit(order):
            self._soon(lambda: Referred(leg, self._now(), token, 0, "cannot be sent", final=True, refused=True))
            return
        self._soon(lambda: Referred(leg, self._now(), token, 202, "Accepted"))
        self._soon(lambda: Referred(leg, self._now(), token, 180, "Ringing"))
        if not agent.endswith(RINGS):
            self._soon(lambda: Referred(leg, self._now(), token, status, "", final=True))

    def press(self, leg: LegId, digits: str) -> None:
        """The callee presses keys."""
        for digit in digits:
            self._tell(DigitPressed(leg, self._now(), digit))

    def ask(self, trunk: str, ended: Callable[[str | None], None]) -> None:
        self.asked.append(trunk)
        reason = None if trunk in self._trunks else f"there is no trunk {trunk}"
        asyncio.get_running_loop().call_soon(ended, reason)

    def free_places(self) -> int:
        return self._places - len(self.legs)

    def _now(self) -> WallMs:
        return WallMs(round(asyncio.get_running_loop().time() * 1000))

    def _soon(self, event: Callable[[], LegEvent]) -> None:
        asyncio.get_running_loop().call_soon(lambda: self._tell(event()))

    def _tell(self, event: LegEvent) -> None:
        self._receive(event)


def _user(order: DialOrder) -> str:
    return order.uri.removeprefix("sip:").partition("@")[0] or order.number


def _is_fit(order: DialOrder) -> bool:
    """A number, or the URI of one at the far side."""
    return _user(order).lstrip("+").isdigit() and order.uri.rpartition("@")[2] in {"", "127.0.0.1"}
