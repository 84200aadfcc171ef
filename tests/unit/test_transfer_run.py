"""A transfer as the playbook's interpreter goes through it: what the callee and the agent hear, where the call goes on."""

import re
from typing import Any

import pytest

from dialer.core.acts import AgentAnswered, AgentGone, AgentRang, CallAgent, Finish, ScriptEvent, TransferTold
from dialer.core.agents import Agent, AgentRules
from dialer.core.changes import TransferStage
from dialer.core.effects import Bridge, PlayAudio, Refer, RingBack, Speak, StopAudio
from dialer.core.events import EndedBy, Referred
from dialer.core.model import Disposition, LegId, WallMs
from dialer.core.phone import PhoneRules
from dialer.core.playbook import Machine, Playbook
from dialer.core.steps import Script
from tests.unit.test_steps import LEG, Played

AGENT, THERE = "+34910000009", LegId(9)
RULES = AgentRules(PhoneRules(re.compile("[0-9]{4}")), domains={"pbx.example": ("pbx",)})
SORRY = {"label": "sorry", "do": "play", "audio": "sorry.wav"}


class Handed(Played):
    """A script whose first step is a transfer; what is told of it is in `told`."""

    def __init__(self, *steps: dict[str, Any], **values: Any) -> None:
        playbook = Playbook.model_validate({"name": "any", "trunks": ["pbx", "carrier"], "steps": list(steps)})
        self.script = Script(LEG, playbook.steps, values, trunks=playbook.trunks, machine=Machine({}, agents=RULES))
        self.at = WallMs(0)
        self.acts = []
        self._take(self.script.begin(self.at))

    def happen(self, event: ScriptEvent) -> None:
        self._take(self.script.feed(event, self.at))

    def rings(self) -> None:
        self.happen(AgentRang(self.at))

    def answers(self) -> None:
        self.happen(AgentAnswered(self.at, THERE))

    def gone(self, disposition: Disposition, reason: str = "", status: int | None = None) -> None:
        self.happen(AgentGone(self.at, disposition, reason, EndedBy.FAR, status))

    def referred(self, status: int, reason: str = "", **more: bool) -> None:
        token = next(act.token for act in self.acts if isinstance(act, Refer))
        self.happen(Referred(LEG, self.at, token, status, reason, **more))

    @property
    def told(self) -> list[tuple[TransferStage, dict[str, Any]]]:
        return [(act.stage, dict(act.detail)) for act in self.acts if isinstance(act, TransferTold)]

    @property
    def line(self) -> dict[str, Any]:
        return {
            key: value for key, value in self.lines[0].items() if key not in {"step", "do", "at", "ended_at", "mode"}
        }


def transfer(to: str = AGENT, **keys: Any) -> dict[str, Any]:
    return {"do": "transfer", "to": to, **keys}


def test_the_callee_hears_a_phone_ring_until_the_agent_answers_and_then_the_agent() -> None:
    call = Handed(transfer(ring_timeout_seconds=20))
    agent = Agent(AGENT, "", ("pbx", "carrier"))
    assert call.last == [CallAgent(agent, None, 20), RingBack(LEG, call.token)]
    call.played()
    assert call.last == [RingBack(LEG, call.token)]
    call.at = WallMs(2_000)
    call.rings()
    call.at = WallMs(5_000)
    call.answers()
    told = TransferTold(TransferStage.TRANSFERRED, {"agent": AGENT, "mode": "bridge"})
    assert call.last == [StopAudio(LEG), Bridge(LEG, THERE), told]
    call.at = WallMs(65_000)
    call.gone(Disposition.ANSWERED, "BYE")
    assert call.last == [Finish()]
    outcome = {"agent": AGENT, "outcome": "transferred", "ring_seconds": 3, "talk_seconds": 60, "ended_by": "agent"}
    assert call.line == outcome
    assert call.result == {"transfers": [{"mode": "bridge", **outcome}]}


def test_an_agent_may_be_told_whose_call_it_is_while_the_callee_hears_music() -> None:
    whisper = [{"do": "say", "text": "Call from {first_name}"}, {"do": "play", "audio": "beep.wav"}]
    call = Handed(transfer(ringback="music.wav", whisper=whisper), first_name="Ana")
    music = call.token
    assert call.last[1:] == [PlayAudio(LEG, music, "music.wav")]
    call.answers()
    assert call.last == [Speak(THERE, call.token, "Call from Ana", "")]
    call.played(music)
    assert call.last == [PlayAudio(LEG, call.token, "music.wav")]
    call.played(call.token - 1)
    assert call.last == [PlayAudio(THERE, call.token, "beep.wav")]
    call.played(complete=False, reason="no such file")
    assert [type(act) for act in call.last] == [StopAudio, Bridge, TransferTold]
    call.hung_up()
    assert call.line["fault"] == "no such file"


def test_a_ringback_that_cannot_be_played_is_not_tried_for_ever() -> None:
    call = Handed(transfer(ringback="music.wav"))
    call.played(complete=False, reason="music.wav: no such file")
    assert call.last == []
    call.answers()
    assert [type(act) for act in call.last] == [Bridge, TransferTold]


BUSY, GONE = {"on_busy": "sorry"}, {"on_failed": "sorry"}
ABSENT = {"on_no_answer": "sorry"}


@pytest.mark.parametrize(
    ("disposition", "outcome", "ways"),
    [
        (Disposition.BUSY, "busy", BUSY),
        (Disposition.DECLINED, "busy", BUSY),
        (Disposition.NO_ANSWER, "no_answer", ABSENT),
        (Disposition.UNREACHABLE, "no_answer", ABSENT),
        (Disposition.TRUNK_FAILURE, "failed", GONE),
        (Disposition.INVALID_NUMBER, "failed", GONE),
        (Disposition.BUSY, "busy", GONE),
        (Disposition.NO_ANSWER, "no_answer", GONE),
    ],
)
def test_without_the_agent_the_call_goes_on_where_the_playbook_says(
    disposition: Disposition, outcome: str, ways: dict[str, str]
) -> None:
    call = Handed(transfer(**ways), {"do": "hangup"}, SORRY)
    call.gone(disposition, "Busy Here", 486)
    assert [type(act) for act in call.last] == [StopAudio, TransferTold, PlayAudio]
    assert call.line == {"agent": AGENT, "outcome": outcome, "reason": "Busy Here", "sip_status": 486, "to": "sorry"}
    assert call.told == [
        (
            TransferStage.FAILED,
            {"mode": "bridge", "agent": AGENT, "outcome": outcome, "reason": "Busy Here", "sip_status": 486},
        )
    ]


def test_without_a_way_named_the_next_step_follows() -> None:
    call = Handed(transfer(on_busy="end"), SORRY)
    call.gone(Disposition.NO_ANSWER)
    assert call.last[-1] == PlayAudio(LEG, call.token, "sorry.wav")


def test_an_agent_who_hangs_up_before_being_joined_has_declined() -> None:
    call = Handed(transfer(whisper=[{"do": "play", "audio": "from-ana.wav"}], on_busy="sorry"), SORRY)
    call.answers()
    call.gone(Disposition.ANSWERED, "BYE", 200)
    assert call.last[-1] == PlayAudio(LEG, call.token, "sorry.wav")
    assert call.line["outcome"] == "busy"


@pytest.mark.parametrize(("joined", "by_us"), [(True, False), (True, True), (False, False), (False, True)])
def test_a_callee_who_is_gone_leaves_a_line_and_a_result(joined: bool, by_us: bool) -> None:
    call = Handed(transfer(), SORRY)
    if joined:
        call.answers()
    call.at = WallMs(1_500)
    call._take(call.script.leg_over(call.at, by_us=by_us))
    assert call.last == []
    if joined:
        ended_by = "us" if by_us else "callee"
        talked = {"outcome": "transferred", "talk_seconds": 1.5, "ended_by": ended_by}
    else:
        talked = {"outcome": "abandoned"}
    assert call.line == {"agent": AGENT, **talked, "cut_off": True}
    assert call.result["transfers"][0]["outcome"] == talked["outcome"]


@pytest.mark.parametrize(
    ("written", "contact"),
    [
        ("{custom_fields.agent}", {"agent": "tel:123"}),
        ("{custom_fields.agent}", {}),
        ("{custom_fields.agent}", {"agent": "sip:a@b"}),
    ],
)
def test_an_agent_that_a_contacts_field_names_is_read_as_a_strangers_word(
    written: str, contact: dict[str, str]
) -> None:
    call = Handed(transfer(written, on_failed="sorry"), {"do": "hangup"}, SORRY, custom_fields=contact)
    call.time_up()
    assert call.last[-1] == PlayAudio(LEG, call.token, "sorry.wav")
    assert call.line["outcome"] == "failed"
    assert call.line["reason"]


def test_a_contacts_field_may_name_the_agent() -> None:
    call = Handed(transfer("sip:{custom_fields.agent|sales}@pbx.example", caller_id="callee"))
    assert call.last[0] == CallAgent(Agent("", "sip:sales@pbx.example", ("pbx",)), "callee", 30)


def test_refer_asks_the_callees_side_and_hangs_up_once_that_has_the_agent() -> None:
    call = Handed(transfer("1001", mode="refer", ring_timeout_seconds=20))
    refer, told, alarm = call.last
    assert refer == Refer(LEG, alarm.token, "1001", "")
    assert told == TransferTold(TransferStage.TRANSFERRING, {"agent": "1001", "mode": "refer"})
    assert alarm.seconds == 20
    for status, reason in ((202, "Accepted"), (100, "Trying"), (180, "Ringing")):
        call.referred(status, reason)
        assert call.last == []
    call.referred(200, "OK", final=True)
    assert call.last[-1] == Finish()
    assert call.line == {"agent": "1001", "outcome": "transferred", "sip_status": 200}
    assert [stage for stage, _ in call.told] == [TransferStage.TRANSFERRING, TransferStage.TRANSFERRED]


@pytest.mark.parametrize(
    ("status", "refused", "outcome"),
    [
        (486, False, "busy"),
        (603, False, "busy"),
        (480, False, "no_answer"),
        (404, False, "failed"),
        (603, True, "failed"),
    ],
)
def test_what_the_far_side_says_of_a_refer_decides_where_the_call_goes_on(
    status: int, refused: bool, outcome: str
) -> None:
    call = Handed(transfer("1001", mode="refer", on_failed="sorry"), {"do": "hangup"}, SORRY)
    call.referred(status, "No", final=True, refused=refused)
    assert call.last[-1] == PlayAudio(LEG, call.token, "sorry.wav")
    assert (call.line["outcome"], call.line["sip_status"]) == (outcome, status)


def test_a_refer_without_a_last_word_in_time_is_no_answer() -> None:
    call = Handed(transfer("1001", mode="refer", on_no_answer="sorry"), {"do": "hangup"}, SORRY)
    call.referred(202)
    call.time_up()
    assert call.line["outcome"] == "no_answer"
    assert call.last[-1] == PlayAudio(LEG, call.token, "sorry.wav")


@pytest.mark.parametrize(("accepted", "outcome"), [(True, "accepted"), (False, "abandoned")])
def test_a_far_side_that_leaves_after_it_took_a_refer_has_the_callee(accepted: bool, outcome: str) -> None:
    call = Handed(transfer("1001", mode="refer"))
    if accepted:
        call.referred(202)
    call.hung_up()
    assert call.line["outcome"] == outcome
