"""The steps of a playbook as they are written: one model for each `do`.

A step may carry a `label`, which `goto`, `branch` and `gather` lead to; the label `end` needs no step and hangs up. A step
comes back as it was given: keys that were left out stay out.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
)

from dialer.core.targets import MAX_URL, Reach, stream_reach, webhook_reach
from dialer.core.templates import Template

END = "end"
LONGEST_OUTCOME = 200  # characters that a stream's server may say its conversation came to

_WORD = r"^[A-Za-z_][A-Za-z0-9_-]*$"
Label = Annotated[str, StringConstraints(pattern=_WORD, max_length=64), Field(json_schema_extra={"format": "label"})]
Target = Annotated[str, StringConstraints(pattern=_WORD, max_length=64), Field(json_schema_extra={"format": "target"})]
Word = Annotated[str, StringConstraints(pattern=_WORD, max_length=64)]
Digits = Annotated[str, StringConstraints(pattern=r"^[0-9*#A-D]+$", max_length=32)]


def _stays_inside(audio: str) -> str:
    if ".." in audio.split("/"):
        raise ValueError("must stay inside the media directory")
    return audio


AudioName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./ -]*$", max_length=200),
    AfterValidator(_stays_inside),
    Field(description="A file of the media directory.", json_schema_extra={"format": "audio-file"}),
]
Seconds = Annotated[float, Field(gt=0, le=3600)]
CallerId = Annotated[str, StringConstraints(pattern=r"^\+?[0-9*#]{1,20}$")]


def _each_once(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("names a trunk twice")
    return names


TrunkNames = Annotated[
    list[Annotated[str, Field(json_schema_extra={"format": "trunk"})]],
    Field(
        min_length=1,
        max_length=16,
        description="Names of the server's trunks, in order of preference.",
        json_schema_extra={"uniqueItems": True},
    ),
    AfterValidator(_each_once),
]


class Closed(BaseModel):
    """What every part of a playbook is: frozen, of exact types, and without keys that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StepModel(Closed):
    """What all steps have. `label` None: nothing leads here but the step before."""

    label: Label | None = None

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}

    @field_validator("label")
    @classmethod
    def _is_free(cls, value: str | None) -> str | None:
        if value == END:
            raise ValueError(f"{END!r} is the end of the call, which needs no step")
        return value


class Play(StepModel):
    """Play a WAV file from the media directory to the callee."""

    do: Literal["play"]
    audio: AudioName


class Say(StepModel):
    """Say a text with fields, by the speech command. `voice` None: the server's own."""

    do: Literal["say"]
    text: Annotated[Template, Field(min_length=1)]
    voice: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9+_./-]*$", max_length=64)] | None = None


class Wait(StepModel):
    """Let so many seconds pass on the answered call."""

    do: Literal["wait"]
    seconds: Seconds


class Hangup(StepModel):
    """End the call."""

    do: Literal["hangup"]


class Set(StepModel):
    """Write custom fields of the contact: texts with fields, by the names of the custom fields."""

    do: Literal["set"]
    custom_fields: Annotated[dict[Word, Template], Field(min_length=1, max_length=50)]


class Goto(StepModel):
    """Go on at a label, at most `max_times` in one call; after that, with the next step."""

    do: Literal["goto"]
    to: Target
    max_times: Annotated[int, Field(ge=1, le=100)] = 10


class Branch(StepModel):
    """Go on at the label that `branches` has for the text `on`; else at `otherwise`; without that, with the next step."""

    do: Literal["branch"]
    on: Template
    branches: Annotated[dict[Annotated[str, StringConstraints(max_length=200)], Target], Field(max_length=100)]
    otherwise: Target | None = None


class Gather(StepModel):
    """Take digits from the callee's keys.

    `prompt` is played first, before each of at most `max_tries`; with `barge_in` a digit ends it. The input ends with a key
    of `terminators`, at `max_digits` (no fewer than `min_digits`), or when so many seconds pass without a digit; the first
    is awaited from the end of the prompt. It is good when it has `min_digits` and, where there are `branches`, is one of
    them: then it is kept as `gathered.NAME` with the name `save_as`. After the last try without good input the call goes on
    at `on_no_input` or `on_invalid`, or with the next step.
    """

    do: Literal["gather"]
    prompt: Annotated[
        list[Annotated[Play | Say, Field(discriminator="do")]], Field(max_length=10, default_factory=list)
    ]
    barge_in: bool = True
    min_digits: Annotated[int, Field(ge=1, le=32)] = 1
    max_digits: Annotated[int, Field(ge=1, le=32)] = 1
    terminators: Annotated[str, StringConstraints(pattern=r"^[0-9*#A-D]*$", max_length=16)] = "#"
    first_digit_seconds: Annotated[float, Field(gt=0, le=120)] = 5
    next_digit_seconds: Annotated[float, Field(gt=0, le=60)] = 3
    max_tries: Annotated[int, Field(ge=1, le=10)] = 1
    save_as: Word = "digits"
    branches: Annotated[dict[Digits, Target], Field(max_length=100, default_factory=dict)]
    on_no_input: Target | None = None
    on_invalid: Target | None = None


class Record(StepModel):
    """Record the callee as a WAV file.

    After a `beep`; until `max_seconds`, a key of `terminators`, or `silence_seconds` of silence (None: silence ends
    nothing).
    """

    do: Literal["record"]
    beep: bool = True
    max_seconds: Annotated[float, Field(ge=1, le=3600)] = 60
    silence_seconds: Annotated[float, Field(ge=0.5, le=60)] | None = 3
    terminators: Annotated[str, StringConstraints(pattern=r"^[0-9*#A-D]*$", max_length=16)] = "#"


class Stream(StepModel):
    """Let another program speak with the callee: the call's audio both ways over a WebSocket, 16-bit PCM, 20 ms a message.

    The server at `url` is told the `parameters`, texts with fields, and speaks until it stops, the callee hangs up, or
    `max_seconds` have passed. What it says that the conversation came to is kept as `gathered.NAME` with the name `save_as`,
    and leads to the label that `branches` has for it, or on to the next step. A server that cannot be reached, or is lost,
    leads to `on_failed`, or to the next step.
    """

    do: Literal["stream"]
    url: Annotated[str, Field(max_length=MAX_URL, json_schema_extra={"format": "stream-url"})]
    sample_rate: Literal[8000, 16000] = 8000
    max_seconds: Annotated[float, Field(ge=1, le=86_400)] = 3600
    parameters: Annotated[dict[Word, Template], Field(max_length=50, default_factory=dict)]
    save_as: Word = "outcome"
    branches: Annotated[
        dict[Annotated[str, StringConstraints(max_length=LONGEST_OUTCOME)], Target],
        Field(max_length=100, default_factory=dict),
    ]
    on_failed: Target | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _without_fields(value, stream_reach(allow_private=True))


class Webhook(StepModel):
    """Ask a program what to do next: a signed POST with JSON; the answer is steps, which are taken before the call goes on.

    The program at `url` is told the `parameters`, texts with fields, and what the call has come to; meanwhile the callee hears
    `audio` over and over (None: nothing). Without an answer in `timeout_seconds`, or with one that cannot be used, the call
    goes on at `on_failed`, or with the next step.
    """

    do: Literal["webhook"]
    url: Annotated[str, Field(max_length=MAX_URL, json_schema_extra={"format": "webhook-url"})]
    timeout_seconds: Annotated[float, Field(ge=0.1, le=60)] = 5
    parameters: Annotated[dict[Word, Template], Field(max_length=50, default_factory=dict)]
    audio: AudioName | None = None
    on_failed: Target | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _without_fields(value, webhook_reach(allow_private=True))


def _without_fields(url: str, reach: Reach) -> str:
    # Whose network it leads to is the machine's question; fields in it would let a contact choose the server.
    if "{" in url or "}" in url:
        raise ValueError("must not hold fields: give them as parameters")
    reach.read(url)
    return url


# The keys of a transfer that only our own leg to the agent gives a meaning to.
BRIDGE_ONLY = ("trunks", "caller_id", "ringback", "whisper")


class Transfer(StepModel):
    """Hand the callee over to an agent: a number, or a `sip:` URI whose host one of the server's trunks leads to.

    `bridge` dials the agent on a leg of our own, over `trunks` (None: the playbook's), and joins the two; `refer` asks the
    callee's side to call the agent itself (REFER), and leaves. `caller_id` is what the agent sees: a number, `callee` for the
    callee's own, None for what the callee sees. The callee hears `ringback` over and over (None: a ringing tone); an agent who
    answers hears `whisper` first. `ring_timeout_seconds` counts from the beginning of the step. Without success the call goes
    on at `on_busy` (busy, or declined), `on_no_answer` (also where the agent's phone is off) or `on_failed`, which also stands
    in for the other two; without them, with the next step.
    """

    do: Literal["transfer"]
    to: Annotated[Template, Field(min_length=1, max_length=400)]
    mode: Literal["bridge", "refer"] = "bridge"
    trunks: TrunkNames | None = None
    caller_id: CallerId | Literal["callee"] | None = None
    ring_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = 30
    ringback: AudioName | None = None
    whisper: Annotated[
        list[Annotated[Play | Say, Field(discriminator="do")]], Field(max_length=10, default_factory=list)
    ]
    on_busy: Target | None = None
    on_no_answer: Target | None = None
    on_failed: Target | None = None


Step = Annotated[
    Play | Say | Wait | Hangup | Set | Goto | Branch | Gather | Record | Stream | Webhook | Transfer,
    Field(discriminator="do"),
]
