"""Nobody is called before what the call will play is at hand."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dialer.core.changes import CallSnoozed
from dialer.core.dispatch import Limits
from dialer.core.model import CallId, Disposition, Trunk
from dialer.core.playbook import Playbook
from dialer.core.sounds import Sound, Spoken, Unready, sounds_ahead
from dialer.engine import Engine
from dialer.sound_check import CALLS_AHEAD, SoundCheck
from tests.support.clock import FakeClock, run_in_fake_time
from tests.support.fake_calls import ANSWERS, FakeCallControl
from tests.support.fake_store import FakeStore

SOON = Unready("its speech is being rendered", 0.5)


def playbook(*steps: dict[str, Any]) -> Playbook:
    return Playbook.model_validate({"name": "any", "trunks": ["pbx"], "steps": list(steps)})


HELLO = playbook({"do": "say", "text": "Hello {first_name}"}, {"do": "hangup"})


class FakeLibrary:
    """What is in `faults` is missing; all else is at hand, as a file of its text's name."""

    beep = "beep.wav"

    def __init__(self) -> None:
        self.asked: list[Sound] = []
        self.faults: dict[Sound, Unready] = {}

    def prepare(self, sounds: Iterable[Sound]) -> Unready | None:
        wanted = list(sounds)
        self.asked += wanted
        return next((self.faults[sound] for sound in wanted if sound in self.faults), None)

    def fetch(self, sound: Sound, ready: Callable[[str | None, str], None]) -> None:
        if sound in self.faults:
            ready(None, self.faults[sound].reason)
        else:
            ready("hello.wav", "")


def test_what_is_known_before_the_answer_is_all_but_what_the_call_itself_brings() -> None:
    steps = playbook(
        {"do": "play", "audio": "a.wav"},
        {"do": "gather", "prompt": [{"do": "say", "text": "Hi {first_name|you}", "voice": "es"}]},
        {"do": "say", "text": "You pressed {gathered.digits}"},
        {"do": "set", "custom_fields": {"late": "x"}},
        {"do": "say", "text": "{custom_fields.late} {custom_fields.early}"},
        {"do": "say", "text": "{custom_fields.early}"},
    ).steps
    found = list(sounds_ahead(steps, {"first_name": "Ana", "custom_fields": {"early": 1}}))
    assert found == ["a.wav", Spoken("Hi Ana", "es"), Spoken("1")]


def test_texts_of_the_next_calls_are_asked_for_ahead_and_once() -> None:
    store, library = FakeStore(), FakeLibrary()
    campaign = store.add_campaign(size=100, playbook=HELLO)
    check = SoundCheck(store, library)
    check.look_ahead(campaign, 0)
    assert library.asked == [Spoken(f"Hello No {n}") for n in range(1, CALLS_AHEAD + 1)]
    check.look_ahead(campaign, 0)
    check.look_ahead(campaign, 1)
    assert len(library.asked) == CALLS_AHEAD + 1
    check.look_ahead(campaign, 95)
    assert library.asked[-1] == Spoken("Hello No 100")


def test_what_is_the_same_for_all_is_looked_at_until_it_is_at_hand() -> None:
    store, library = FakeStore(), FakeLibrary()
    campaign = store.add_campaign(size=3, playbook=playbook({"do": "play", "audio": "a.wav"}))
    check = SoundCheck(store, library)
    library.faults["a.wav"] = SOON
    assert check.fault(campaign, store.call(CallId(1))) == SOON
    library.faults.clear()
    for call in (1, 2, 3):
        assert check.fault(campaign, store.call(CallId(call))) is None
    assert len(library.asked) == 2
    check.forget(campaign.id)
    check.fault(campaign, store.call(CallId(1)))
    assert len(library.asked) == 3


class Bench:
    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.store, self.library = clock, FakeStore(), FakeLibrary()
        self.calls = FakeCallControl(places=10, trunks=("pbx",), audio={"hello.wav": 1.0})
        self.engine = Engine(
            clock=clock,
            store=self.store,
            control=self.calls,
            trunks=[Trunk("pbx", 10, 50)],
            limits=Limits(10, 100),
            library=self.library,
        )
        self.engine.start()

    def submit(self, size: int = 1) -> None:
        phones = [f"+34910000{n}{ANSWERS}" for n in range(size)]
        campaign = self.store.add_campaign(size=size, launch_at=self.clock.wall, playbook=HELLO, phones=phones)
        self.engine.submitted(campaign.id)

    @property
    def put_off(self) -> list[str]:
        return [c.reason for batch in self.store.commits for c in batch if isinstance(c, CallSnoozed)]

    async def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        deadline = self.clock.mono + seconds
        while not holds():
            assert self.clock.mono < deadline, "it never came true"
            await asyncio.sleep(0.05)  # of the clock's time


@pytest.mark.parametrize("seconds", [0.5, 15.0])
def test_a_call_that_is_not_ready_is_put_off_with_the_reason_and_others_go_on(seconds: float) -> None:
    async def story(clock: FakeClock) -> None:
        bench = Bench(clock)
        bench.library.faults[Spoken("Hello No 1")] = Unready("no voice", seconds)
        bench.submit(2)
        await bench.until(lambda: len(bench.calls.dialed) == 1)
        assert bench.calls.dialed[0].number == bench.store.calls[CallId(2)].phone
        await bench.until(lambda: "no voice" in bench.put_off)
        bench.library.faults.clear()
        await bench.until(lambda: len(bench.calls.dialed) == 2)
        await bench.until(lambda: bench.store.calls[CallId(1)].finished is Disposition.ANSWERED)
        assert len(bench.store.calls[CallId(1)].attempts) == 1

    clock = FakeClock()
    run_in_fake_time(clock, story(clock))


def test_a_call_that_will_never_be_ready_is_finished_without_an_attempt() -> None:
    async def story(clock: FakeClock) -> None:
        bench = Bench(clock)
        bench.library.faults[Spoken("Hello No 1")] = Unready("no voice", None)
        bench.submit()
        await bench.until(lambda: bench.store.calls[CallId(1)].finished is Disposition.EXPIRED)
        assert bench.calls.dialed == []

    clock = FakeClock()
    run_in_fake_time(clock, story(clock))


def test_a_text_that_fails_on_the_call_is_noted_and_the_steps_go_on() -> None:
    async def story(clock: FakeClock) -> None:
        bench = Bench(clock)
        bench.submit()
        await bench.until(lambda: len(bench.calls.dialed) == 1)
        bench.library.faults[Spoken("Hello No 1")] = Unready("no voice", 5)
        await bench.until(lambda: bench.store.calls[CallId(1)].finished is Disposition.ANSWERED)
        lines = bench.store.calls[CallId(1)].attempts[0].lines
        assert '"fault":"no voice"' in lines[0]
        assert '"do":"hangup"' in lines[1]

    clock = FakeClock()
    run_in_fake_time(clock, story(clock))
