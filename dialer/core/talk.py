"""From the answer to the end of a call: carries what the playbook's interpreter says to the disk, the wire and the timers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dialer.core.acts import Act, Alarm, CallAgent, Finish, Note, ScriptEvent, TransferTold, WriteFields
from dialer.core.changes import ContactWritten, StepTaken, TransferMoved, json_text
from dialer.core.disposition import Why
from dialer.core.live import LiveAttempt, Told
from dialer.core.model import LegId, WallMs
from dialer.core.playbook import Machine
from dialer.core.stage import CallIds
from dialer.core.steps import Script


@dataclass(frozen=True, slots=True)
class Hands:
    """Where a talk puts what is to be done. `alarm` is given the token and the seconds, `agent` whom to call."""

    told: Told
    alarm: Callable[[int, float], None]
    agent: Callable[[CallAgent], None]


class Talk:
    """One answered attempt and its script."""

    def __init__(self, attempt: LiveAttempt, leg: LegId, machine: Machine) -> None:
        call, playbook = attempt.call, attempt.lane.campaign.playbook
        values = {**call.contact, "phone": call.phone}
        ids = CallIds(call.uuid, attempt.lane.campaign.uuid, attempt.number)
        self._script = Script(
            leg, playbook.steps, values, attempt.sip_call_id, playbook.amd, ids, playbook.trunks, machine
        )
        self._attempt = attempt
        self._steps = 0

    def begin(self, at: WallMs, hands: Hands) -> Why | None:
        """The answer. A reason when the steps are over: hang up."""
        return self._do(self._script.begin(at), at, hands)

    def feed(self, event: ScriptEvent, at: WallMs, hands: Hands) -> Why | None:
        """Something happened. A reason when the steps are over: hang up."""
        return self._do(self._script.feed(event, at), at, hands)

    def leg_over(self, at: WallMs, hands: Hands) -> None:
        """The call is over, whatever the steps were at."""
        self._do(self._script.leg_over(at, by_us=self._attempt.asked is not None), at, hands)

    def _do(self, acts: Sequence[Act], at: WallMs, hands: Hands) -> Why | None:
        attempt, finished = self._attempt, None
        ids = attempt.id, attempt.lane.campaign.id, attempt.number
        for act in acts:
            match act:
                case Alarm(token, seconds):
                    hands.alarm(token, seconds)
                case Finish(why):
                    finished = why
                case CallAgent():
                    hands.agent(act)
                case TransferTold(stage, detail):
                    hands.told.changes.append(TransferMoved(*ids, at, stage, json_text(detail)))
                case WriteFields(fields):
                    hands.told.changes.append(ContactWritten(*ids, at, attempt.call.phone, json_text(fields)))
                case Note(noted_at, line, result):
                    self._steps += 1
                    told = None if result is None else json_text(result)
                    hands.told.changes.append(StepTaken(*ids, noted_at, self._steps, json_text(line), told))
                case _:
                    hands.told.effects.append(act)
        return finished
