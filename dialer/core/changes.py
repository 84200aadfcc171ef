"""What has to be on disk: each change is one fact about one attempt, call or campaign, stored in the order given.

A batch of changes is one transaction. The store keeps the campaign's counts in the same transaction, so that
scheduled + live + finished = accepted holds in every state that a crash can leave behind.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, WallMs


def json_text(value: object) -> str:
    """JSON as it is stored: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class AttemptArmed:
    """Attempt `number` of the call begins; its INVITE leaves at `fire_at`, not before this is on disk.

    Removes the call's timer. For `number` 1 the campaign's cursor moves past the call. `due_at` is when it was to happen,
    `delay_reason` what had put it off to then (None: nothing). `phone` is for the log: the call's own row has it.
    """

    call: CallId
    campaign: CampaignId
    number: int
    due_at: WallMs
    fire_at: WallMs
    trunk: str
    caller_id: str
    sip_call_id: str
    phone: str = ""
    delay_reason: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRetried:
    """A technical retry inside an open attempt: a new INVITE, after the final answer to the one before."""

    call: CallId
    number: int
    fire_at: WallMs
    trunk: str
    caller_id: str
    sip_call_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptDialed:
    """The INVITE has left. Only the first INVITE of an attempt sets `dialed_at`."""

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    dialog: str


@dataclass(frozen=True, slots=True)
class AttemptRinging:
    """The first 18x."""

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    dialog: str


@dataclass(frozen=True, slots=True)
class AttemptAnswered:
    """CONFIRMED was reached."""

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    dialog: str


@dataclass(frozen=True, slots=True)
class AttemptWithdrawn:
    """A person cancelled the call while this attempt was under way: whatever becomes of it, no recall follows."""

    call: CallId
    campaign: CampaignId
    number: int


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step of the playbook is over. `position` counts the attempt's steps from 1; `line` is its JSON in the transcript.

    `result` is the JSON of all that the call has come to, where this step changed it; None: it did not.
    """

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    position: int
    line: str
    result: str | None = None


@dataclass(frozen=True, slots=True)
class ContactWritten:
    """The playbook wrote custom fields of the contact (a JSON object of texts); the others stay."""

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    phone: str
    custom_fields: str


@dataclass(frozen=True, slots=True)
class AgentArmed:
    """A leg to an agent begins, for an answered attempt; its INVITE leaves at `fire_at`, not before this is on disk.

    `position` counts the attempt's agent legs from 1. `agent` is the number or URI. It is given up at `until` at the latest.
    """

    call: CallId
    campaign: CampaignId
    number: int
    position: int
    fire_at: WallMs
    until: WallMs
    agent: str
    trunk: str
    caller_id: str
    sip_call_id: str


class LegStage(StrEnum):
    """How far a leg has come."""

    DIALED = "dialed"
    RINGING = "ringing"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class AgentMoved:
    """An agent's leg has come so far. `dialog` is what a later process would need to end it."""

    call: CallId
    campaign: CampaignId
    number: int
    position: int
    stage: LegStage
    at: WallMs
    dialog: str


@dataclass(frozen=True, slots=True)
class AgentEnded:
    """An agent's leg is over; that may be after its attempt. The fields are those of `AttemptEnded`."""

    call: CallId
    campaign: CampaignId
    number: int
    position: int
    at: WallMs
    disposition: Disposition
    reason: str
    sip_status: int | None
    q850: int | None
    ended_by: str


class TransferStage(StrEnum):
    """How far a transfer has come: somebody calls the agent, the callee has the agent, or will not."""

    TRANSFERRING = "transferring"
    TRANSFERRED = "transferred"
    FAILED = "transfer_failed"


@dataclass(frozen=True, slots=True)
class TransferMoved:
    """What programs are told of a transfer: `detail` is a JSON object. Nothing else is stored of it."""

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    stage: TransferStage
    detail: str


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The attempt is over. `sip_status` and `q850` None where the far side sent none; `ended_by` far, us or stack."""

    call: CallId
    campaign: CampaignId
    number: int
    at: WallMs
    disposition: Disposition
    reason: str
    sip_status: int | None
    q850: int | None
    ended_by: str
    rtp: str | None = None


@dataclass(frozen=True, slots=True)
class RecallScheduled:
    """Attempt `number` of the call is due at `due_at`: a timer row."""

    call: CallId
    campaign: CampaignId
    number: int
    due_at: WallMs


@dataclass(frozen=True, slots=True)
class CallSnoozed:
    """The call's next attempt moves to `due_at` without counting: a timer row, and the cursor passes a first attempt.

    It ends a review of the call.
    """

    call: CallId
    campaign: CampaignId
    number: int
    due_at: WallMs
    reason: str


@dataclass(frozen=True, slots=True)
class CallFinished:
    """The call has its final state. `attempted` False: it never had an attempt.

    Removes the call's timer, and ends its review. The cursor stays: a single call may be cancelled far ahead of it, and one
    that is reached when it is finished already (`CallRecord.finished`) is passed over.
    """

    call: CallId
    campaign: CampaignId
    at: WallMs
    disposition: Disposition
    reason: str
    attempted: bool


@dataclass(frozen=True, slots=True)
class CampaignMoved:
    """The campaign's status is now `status`. Cancelling finishes all its pending calls as `cancelled` in the same step."""

    campaign: CampaignId
    at: WallMs
    status: CampaignStatus


Change = (
    AttemptArmed
    | AttemptRetried
    | AttemptDialed
    | AttemptRinging
    | AttemptAnswered
    | AttemptWithdrawn
    | StepTaken
    | ContactWritten
    | AgentArmed
    | AgentMoved
    | AgentEnded
    | TransferMoved
    | AttemptEnded
    | RecallScheduled
    | CallSnoozed
    | CallFinished
    | CampaignMoved
)
