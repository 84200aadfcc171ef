"""The shapes of answers, for the OpenAPI document; tests hold every answer of a real server against them.

Requests have no shapes here: those come from the models in `dialer.core` that validate them.
"""

from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from dialer.core.amd import Answerer
from dialer.core.breaker import TrunkState
from dialer.core.contact import ContactFields
from dialer.core.explain import Rule
from dialer.core.model import CampaignStatus, Disposition
from dialer.core.playbook import Playbook

Item = TypeVar("Item")

Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
Time = Annotated[
    str,
    Field(
        description="UTC with milliseconds.",
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        examples=["2025-03-01T10:00:00.000Z"],
    ),
]
Count = Annotated[int, Field(ge=0)]
PhoneText = Annotated[str, Field(json_schema_extra={"format": "phone"}, min_length=1, max_length=64)]
State = Literal["scheduled", "live", "finished"]
_EXACT = ConfigDict(extra="forbid")


class Detail(TypedDict):
    """One thing that is wrong: where, and why."""

    index: NotRequired[Annotated[int, Field(description="The place in the array, from 0.")]]
    line: NotRequired[Annotated[int, Field(description="The line of a CSV body, from 1.")]]
    field: NotRequired[str]
    reason: str


@with_config(_EXACT)
class Error(TypedDict):
    """Every error, whatever its origin."""

    error: str
    details: NotRequired[list[Detail]]


@with_config(_EXACT)
class CampaignAccepted(TypedDict):
    """The campaign is durable from here on. `launch_at`, `scheduled_calls` and `error_calls` where a launch_at was given."""

    success: Literal[True]
    message: str
    campaign_id: Uuid
    scheduled: bool
    launch_at: NotRequired[Time]
    total_contacts: Count
    duplicate_contacts: NotRequired[Count]
    scheduled_calls: NotRequired[Count]
    error_calls: NotRequired[Count]


@with_config(_EXACT)
class CallAccepted(TypedDict):
    """The call is durable from here on."""

    success: Literal[True]
    call_id: Uuid
    scheduled: bool


@with_config(_EXACT)
class RehearsedCall(TypedDict):
    """A call that a dry run foresees. `disposition`: what it would come to without an attempt."""

    phone: str
    due_at: Time | None
    disposition: Disposition | None
    reason: str | None


@with_config(_EXACT)
class Rehearsal(TypedDict):
    """What the campaign would do; nothing was stored. Channels, CPS and other campaigns may make it later."""

    success: Literal[True]
    dry_run: Literal[True]
    total_contacts: Count
    duplicate_contacts: Count
    first_attempt_at: Time | None
    last_attempt_at: Time | None
    estimated_end_at: Time | None
    shifted: Annotated[int, Field(ge=0, description="Calls that calling hours move.")]
    suppressed: Count
    expired: Count
    calls: list[RehearsedCall]


@with_config(_EXACT)
class Explanation(TypedDict):
    """The rule that holds a call back now. `clears_at` null: not by itself, or nobody can say."""

    id: Uuid
    rule: Rule
    reason: str
    clears_at: Time | None


@with_config(_EXACT)
class CallCounts(TypedDict):
    """Calls by state; the sum is what was accepted."""

    scheduled: Count
    live: Count
    finished: Count


class Campaign(TypedDict):
    """A campaign and how far it is."""

    id: Uuid
    playbook_id: Uuid
    playbook: Annotated[str, Field(description="The playbook's name.")]
    status: CampaignStatus
    scheduled: bool
    launch_at: Time
    expires_at: Time | None
    recall: Annotated[list[float], Field(description="Minutes, ascending.")]
    created_at: Time
    ended_at: Time | None
    total_contacts: Count
    duplicate_contacts: Count
    calls: CallCounts
    under_review: Annotated[
        int, Field(ge=0, description="Scheduled calls that wait for a person, as the database was restored.")
    ]
    dispositions: Annotated[dict[Disposition, Count], Field(description="Of finished calls.")]
    attempts: Count
    next_attempt_at: Time | None
    estimated_end_at: Time | None


class AgentLeg(TypedDict):
    """Our leg to an agent, for a transfer: an INVITE of its own, which the PBX's CDR knows by `sip_call_id`."""

    agent: Annotated[str, Field(description="The number or SIP URI.")]
    trunk: str
    caller_id: str
    sip_call_id: str
    dialed_at: Time | None
    ringing_at: Time | None
    answered_at: Time | None
    ended_at: Time | None
    disposition: Disposition | None
    reason: str | None
    sip_status: Annotated[int, Field(ge=100, le=699)] | None
    q850_cause: Annotated[int, Field(ge=0, le=127)] | None
    ended_by: Literal["far", "us", "stack"] | None


class Attempt(TypedDict):
    """One try of a call: at most one INVITE dialog."""

    number: Annotated[int, Field(ge=1)]
    due_at: Time
    dialed_at: Time | None
    ringing_at: Time | None
    answered_at: Time | None
    ended_at: Time | None
    trunk: str
    caller_id: str
    disposition: Disposition | None
    reason: str | None
    sip_status: Annotated[int, Field(ge=100, le=699)] | None
    q850_cause: Annotated[int, Field(ge=0, le=127)] | None
    sip_call_id: str
    ended_by: Literal["far", "us", "stack"] | None
    pdd_ms: (
        Annotated[
            Count,
            Field(description="From dialed_at, the first INVITE, to the first 18x, or to the answer without one."),
        ]
        | None
    )
    ring_seconds: Annotated[float, Field(ge=0)] | None
    talk_seconds: Annotated[float, Field(ge=0)] | None
    delay_reason: Annotated[str, Field(description="What had put it off to due_at, such as calling hours.")] | None
    rtp: Annotated[dict[str, float], Field(description="Packets, jitter_ms, rtt_ms.")] | None
    agent_legs: Annotated[list[AgentLeg], Field(description="Of its transfers, in order.")]


class RecordingMade(TypedDict):
    """A recording of the call, fetched by GET /call/{id}/recording?number=; the first has the number 1."""

    name: str
    seconds: float
    ended_by: Literal["key", "silence", "max_seconds", "hangup"]


class WhoAnswered(TypedDict):
    """What answering machine detection found. `after_ms` counts from the answer; `beep` where a machine's tone was awaited."""

    decision: Answerer
    after_ms: Count
    reason: str
    beep: NotRequired[Literal["tone", "silence", "none"]]
    beep_after_ms: NotRequired[Count]
    beep_reason: NotRequired[str]


@with_config(ConfigDict(extra="allow"))
class TransferMade(TypedDict):
    """What a transfer came to. `accepted`: the far side took the REFER, and left without a last word."""

    agent: str
    mode: Literal["bridge", "refer"]
    outcome: Literal["transferred", "busy", "no_answer", "failed", "abandoned", "accepted"]
    reason: NotRequired[str]
    sip_status: NotRequired[int]
    ring_seconds: NotRequired[float]
    talk_seconds: NotRequired[float]
    ended_by: NotRequired[Literal["callee", "agent", "us"]]


class CallResult(TypedDict, total=False):
    """What the call came to beyond its disposition."""

    amd: WhoAnswered
    gathered: dict[str, str]
    custom_fields: dict[str, str]
    recordings: list[RecordingMade]
    transfers: list[TransferMade]


@with_config(ConfigDict(extra="allow"))
class StepTaken(TypedDict):
    """A step of the playbook that an attempt took, with what is known of it."""

    attempt: int
    step: Annotated[int, Field(description="Its place in the playbook, from 0; null: before the first.")] | None
    of_answer: NotRequired[Annotated[int, Field(description="Its place is in this answer of a program, from 1.")]]
    do: str
    at: Time
    ended_at: Time


class Call(TypedDict):
    """One contact in one campaign, or from POST /call. A call whose contact was erased has no phone."""

    id: Uuid
    campaign_id: Uuid | None
    playbook_id: Uuid
    contact: ContactFields
    phone: str | None
    state: State
    disposition: Disposition | None
    under_review: Annotated[bool, Field(description="It is not made before a person releases it.")]
    recall: list[float]
    next_attempt_at: Time | None
    created_at: Time
    result: CallResult | None
    attempts: list[Attempt]
    transcript: NotRequired[Annotated[list[StepTaken], Field(description="Only where one call is shown.")]]


class StoredPlaybook(Playbook):
    """A playbook with its id."""

    model_config = ConfigDict(extra="allow")

    id: Uuid
    created_at: Time
    updated_at: Time


class Contact(ContactFields):
    """A person whom the account knows. Fields that are not known are absent."""

    id: Uuid
    phone: str
    created_at: Time
    updated_at: Time


@with_config(_EXACT)
class ListedNumber(TypedDict):
    """A number on the do-not-call list."""

    phone: str
    added_at: Time


@with_config(_EXACT)
class Added(TypedDict):
    """How many were not on the list before."""

    success: Literal[True]
    added: Count


@with_config(_EXACT)
class Removed(TypedDict):
    """Whether it was on the list: 1 or 0."""

    success: Literal[True]
    removed: Annotated[int, Field(ge=0, le=1)]


EventType = Literal[
    "call.scheduled",
    "call.dialing",
    "call.ringing",
    "call.answered",
    "call.transferring",
    "call.transferred",
    "call.transfer_failed",
    "call.ended",
    "call.recall_scheduled",
    "call.finished",
    "campaign.scheduled",
    "campaign.started",
    "campaign.paused",
    "campaign.resumed",
    "campaign.completed",
    "campaign.cancelled",
]


@with_config(_EXACT)
class WebhookBody(TypedDict):
    """An address for events: https, or http where the server allows private networks. `events` left out or []: all."""

    url: Annotated[str, Field(json_schema_extra={"format": "webhook-url"}, min_length=1, max_length=2000)]
    events: NotRequired[list[EventType]]


@with_config(_EXACT)
class Webhook(TypedDict):
    """An address for events, and how delivery to it goes. gone: it answered 410, and is asked no more."""

    id: Uuid
    url: str
    events: list[EventType]
    created_at: Time
    status: Literal["active", "failing", "gone"]
    delivered_events: Count
    last_delivered_at: Time | None
    failing_since: Time | None
    failures: Annotated[int, Field(ge=0, description="Deliveries in a row that failed.")]
    last_error: str | None
    next_try_at: Time | None
    dead_events: Annotated[int, Field(ge=0, description="Events that could not be delivered in time.")]
    last_dead_at: Time | None


@with_config(_EXACT)
class NewWebhook(Webhook):
    """The same with the secret that signs, shown this once."""

    secret: str


@with_config(_EXACT)
class TrunkFailure(TypedDict):
    """The latest thing that a trunk did wrong."""

    at: Time
    reason: str


@with_config(_EXACT)
class Trunk(TypedDict):
    """A trunk. `probing`: it was down, and is tried with OPTIONS or one call at a time.

    `usable`: calls may be given to it. `calls_per_second_now` is less than `calls_per_second` while it is overloaded. `fault`
    is what stands in the way on this side.
    """

    name: str
    state: TrunkState
    usable: bool
    channels: Count
    channels_in_use: Count
    calls_per_second: Annotated[float, Field(gt=0)]
    calls_per_second_now: Annotated[float, Field(gt=0)]
    registration: Literal["registered", "not registered"] | None
    fault: str | None
    last_failure: TrunkFailure | None


@with_config(_EXACT)
class Alive(TypedDict):
    """The process lives, or is ready."""

    status: Literal["alive", "ready"]


@with_config(_EXACT)
class Page(TypedDict, Generic[Item]):
    """Part of a list; `next_cursor` null: it was the last."""

    items: list[Item]
    next_cursor: str | None


@with_config(_EXACT)
class OneNumber(TypedDict):
    """One number for the list."""

    phone: PhoneText


@with_config(_EXACT)
class ManyNumbers(TypedDict):
    """Up to 10,000 numbers for the list."""

    phones: Annotated[list[PhoneText], Field(min_length=1, max_length=10_000)]


@with_config(_EXACT)
class ReviewOfCampaign(TypedDict):
    """All calls under review of one campaign."""

    campaign_id: Uuid


@with_config(_EXACT)
class ReviewOfCalls(TypedDict):
    """These calls; those that are not under review are passed over."""

    call_ids: Annotated[list[Uuid], Field(min_length=1, max_length=1000)]


@with_config(_EXACT)
class ReviewOfAll(TypedDict):
    """All calls under review of the account."""

    all: Literal[True]


ReviewChoice = ReviewOfCampaign | ReviewOfCalls | ReviewOfAll


@with_config(_EXACT)
class Released(TypedDict):
    """How many calls go on."""

    released: Count


@with_config(_EXACT)
class Cancelled(TypedDict):
    """How many calls were finished as cancelled."""

    cancelled: Count


Document = dict[str, Any]
