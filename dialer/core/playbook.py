"""What a playbook is: the JSON that says which trunks to use, how long to ring, and what to do after the answer.

Every fault is reported with its path (`steps.2.audio`), all at once, by pydantic. What depends on the machine (which trunks
exist, which caller ids they allow) is checked by `check_against`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from dialer.core.hours import CallingHours

RecallDisposition = Literal["busy", "no_answer", "declined", "unreachable"]
RECALL_ON_DEFAULT: tuple[RecallDisposition, ...] = ("busy", "no_answer", "declined", "unreachable")


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Play(_Closed):
    """Play a WAV file from the media directory to the callee."""

    do: Literal["play"]
    audio: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./ -]*$", max_length=200),
        Field(description="A file of the media directory.", json_schema_extra={"format": "audio-file"}),
    ]

    @field_validator("audio")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        if ".." in value.split("/"):
            raise ValueError("must stay inside the media directory")
        return value


class Wait(_Closed):
    """Let so many seconds pass on the answered call."""

    do: Literal["wait"]
    seconds: Annotated[float, Field(gt=0, le=3600)]


class Hangup(_Closed):
    """End the call."""

    do: Literal["hangup"]


Step = Annotated[Play | Wait | Hangup, Field(discriminator="do")]


class Playbook(_Closed):
    """How to call and what to say. Durations are seconds; `caller_id` None means the trunk's own."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
        Field(json_schema_extra={"pattern": r"\S"}),
    ]
    trunks: Annotated[
        list[Annotated[str, Field(json_schema_extra={"format": "trunk"})]],
        Field(
            min_length=1,
            max_length=16,
            description="Names of the server's trunks, in order of preference.",
            json_schema_extra={"uniqueItems": True},
        ),
    ]
    caller_id: Annotated[str, StringConstraints(pattern=r"^\+?[0-9*#]{1,20}$")] | None = None
    ring_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = 30
    max_call_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600
    recall_on: list[RecallDisposition] = Field(default_factory=lambda: list(RECALL_ON_DEFAULT))
    steps: Annotated[list[Step], Field(max_length=200)] = Field(default_factory=list)
    calling_hours: CallingHours | None = None

    @field_validator("trunks")
    @classmethod
    def _each_trunk_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names a trunk twice")
        return value


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (`steps.0.audio`, dotted) and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers to playbooks: each trunk's allowed caller ids (None: any), and the audio that exists."""

    trunks: Mapping[str, frozenset[str] | None]
    audio: frozenset[str] | None = None
    # What calls on each trunk show where the playbook does not choose.
    caller_ids: Mapping[str, str] = field(default_factory=dict)


def check_against(playbook: Playbook, machine: Machine) -> list[Fault]:
    """The faults of a playbook that is well formed but that this machine cannot carry out; empty when there are none.

    `Machine.audio` None means that the audio files were not looked at.
    """
    faults: list[Fault] = []
    for i, name in enumerate(playbook.trunks):
        if name not in machine.trunks:
            known = ", ".join(sorted(machine.trunks)) or "none is configured"
            faults.append(Fault(f"trunks.{i}", f"no trunk is named {name!r} (known: {known})"))
            continue
        allowed = machine.trunks[name]
        if playbook.caller_id is not None and allowed is not None and playbook.caller_id not in allowed:
            faults.append(Fault("caller_id", f"trunk {name!r} does not allow the caller id {playbook.caller_id!r}"))
            continue
        shown = playbook.caller_id or machine.caller_ids.get(name, "")
        refused = playbook.calling_hours.caller_id_fault(shown) if playbook.calling_hours is not None else None
        if refused is not None:
            faults.append(Fault("caller_id", f"trunk {name!r} would show {shown!r}, but {refused}"))
    if machine.audio is not None:
        for i, step in enumerate(playbook.steps):
            if isinstance(step, Play) and step.audio not in machine.audio:
                faults.append(Fault(f"steps.{i}.audio", f"no file {step.audio!r} in the media directory"))
    return faults
