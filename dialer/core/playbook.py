"""What a playbook is: the JSON that says which trunks to use, how long to ring, and what to do after the answer.

Every fault is reported with its path (`steps.2.audio`), all at once, by pydantic. What depends on the machine (which trunks
exist, which caller ids they allow) is checked by `check_against`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from dialer.core.agents import AgentRules
from dialer.core.amd import Amd
from dialer.core.hours import CallingHours
from dialer.core.step_kinds import (
    BRIDGE_ONLY,
    END,
    Branch,
    CallerId,
    Closed,
    Gather,
    Goto,
    Play,
    Say,
    Step,
    Stream,
    Transfer,
    TrunkNames,
)
from dialer.core.targets import ForbiddenTarget, stream_reach
from dialer.core.templates import fields_of, fill

RecallDisposition = Literal["busy", "no_answer", "declined", "unreachable", "machine"]
RECALL_ON_DEFAULT: tuple[RecallDisposition, ...] = ("busy", "no_answer", "declined", "unreachable")


class Playbook(Closed):
    """How to call and what to say. Durations are seconds; `caller_id` None means the trunk's own."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
        # U+0085 is white space in Unicode, and to those who strip, but not in the regular expressions of JSON Schema.
        Field(json_schema_extra={"pattern": r"[^\s\u0085]"}),
    ]
    trunks: TrunkNames
    caller_id: CallerId | None = None
    ring_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = 30
    max_call_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600
    recall_on: list[RecallDisposition] = Field(default_factory=lambda: list(RECALL_ON_DEFAULT))
    steps: Annotated[list[Step], Field(max_length=200)] = Field(default_factory=list)
    calling_hours: CallingHours | None = None
    amd: Amd | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (`steps.0.audio`, dotted) and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine offers to playbooks: each trunk's allowed caller ids (None: any), and the audio that exists.

    `speaks`: a speech command is configured. `streams_privately`: the step `stream` may go to private addresses, without TLS.
    `agents`: whom calls may be handed over to.
    """

    trunks: Mapping[str, frozenset[str] | None]
    audio: frozenset[str] | None = None
    # What calls on each trunk show where the playbook does not choose.
    caller_ids: Mapping[str, str] = field(default_factory=dict)
    speaks: bool = False
    streams_privately: bool = False
    agents: AgentRules = field(default_factory=AgentRules)


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
    for path, sound in sounds_of(playbook.steps):
        if isinstance(sound, Say):
            if not machine.speaks:
                faults.append(Fault(path, "this server cannot speak: it has no [speech] command"))
        elif machine.audio is not None and sound not in machine.audio:
            faults.append(Fault(path, f"no file {sound!r} in the media directory"))
    for i, step in enumerate(playbook.steps):
        faults += [Fault(f"steps.{i}.{key}", reason) for key, reason in _far_faults(step, playbook, machine)]
    return faults + _flow_faults(playbook)


def sounds_of(steps: Sequence[Step]) -> Iterator[tuple[str, str | Say]]:
    """What is played (the names of files) or said anywhere in the steps, with the paths."""
    for i, step in enumerate(steps):
        path = f"steps.{i}"
        match step:
            case Play() | Say():
                yield _sound(path, step)
            case Gather():
                yield from (_sound(f"{path}.prompt.{k}", part) for k, part in enumerate(step.prompt))
            case Transfer():
                yield from (_sound(f"{path}.whisper.{k}", part) for k, part in enumerate(step.whisper))
                if step.ringback is not None:
                    yield f"{path}.ringback", step.ringback


def _sound(path: str, part: Play | Say) -> tuple[str, str | Say]:
    return (path, part) if isinstance(part, Say) else (f"{path}.audio", part.audio)


def _far_faults(step: Step, playbook: Playbook, machine: Machine) -> Iterator[tuple[str, str]]:
    """What is wrong with those that a step has the call meet, by the key, as far as its text tells."""
    match step:
        case Transfer():
            yield from _transfer_faults(step, playbook, machine)
        case Stream(url=url):
            try:
                stream_reach(allow_private=machine.streams_privately).read(url)
            except ForbiddenTarget as fault:
                yield "url", str(fault)


def _transfer_faults(step: Transfer, playbook: Playbook, machine: Machine) -> Iterator[tuple[str, str]]:
    """What is wrong with a transfer, by the key. A `to` with fields of the person is read when the step's turn comes."""
    if step.mode == "refer":
        for key in BRIDGE_ONLY:
            if getattr(step, key):
                yield key, "is for the mode bridge: with refer it is the callee's side that calls the agent"
    for k, name in enumerate(step.trunks or ()):
        if name not in machine.trunks:
            yield f"trunks.{k}", f"no trunk is named {name!r}"
    trunks = step.trunks or playbook.trunks
    if not fields_of(step.to):
        try:
            trunks = list(machine.agents.read(fill(step.to, {}), trunks, strictly=step.trunks is not None).trunks)
        except ValueError as fault:
            yield "to", str(fault)
    if step.caller_id is None:
        return
    for name in trunks:
        allowed = machine.trunks.get(name)
        if allowed is not None and step.caller_id not in allowed:
            shown = "the callee's number" if step.caller_id == "callee" else f"the caller id {step.caller_id!r}"
            yield "caller_id", f"trunk {name!r} does not allow {shown}"


def _flow_faults(playbook: Playbook) -> list[Fault]:
    """Labels that stand twice, and ways that lead nowhere."""
    faults: list[Fault] = []
    known = {END}
    for i, step in enumerate(playbook.steps):
        if step.label is not None:
            if step.label in known:
                faults.append(Fault(f"steps.{i}.label", f"another step has the label {step.label!r} already"))
            known.add(step.label)
    ways = [(f"steps.{i}.{key}", target) for i, step in enumerate(playbook.steps) for key, target in _ways_from(step)]
    if playbook.amd is not None and playbook.amd.to is not None:
        ways.append(("amd.to", playbook.amd.to))
    return faults + [Fault(path, f"no step has the label {target!r}") for path, target in ways if target not in known]


def _ways_from(step: Step) -> Iterator[tuple[str, str]]:
    """Each label that the step may lead to, with the key that names it."""
    if isinstance(step, Goto):
        yield "to", step.to
        return
    if isinstance(step, Branch | Gather | Stream):
        yield from ((f"branches.{case}", target) for case, target in step.branches.items())
    for key in ("otherwise", "on_no_input", "on_invalid", "on_busy", "on_no_answer", "on_failed"):
        target = getattr(step, key, None)
        if target is not None:
            yield key, target
