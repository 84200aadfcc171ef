"""What a playbook is: the JSON that says which trunks to use, how long to ring, and what to do after the answer.

Every fault is reported with its path (`steps.2.audio`), all at once, by pydantic. What depends on the machine (which trunks
exist, which caller ids they allow) is checked by `check_against`.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from dialer.core.agents import AgentRules
from dialer.core.amd import Amd
from dialer.core.hours import CLOSED, CallingHours
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
    Webhook,
)
from dialer.core.targets import ForbiddenTarget, Reach, stream_reach, webhook_reach
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

    `speaks`: a speech command is configured. `streams_privately`: the step `stream` may go to private addresses, without TLS;
    `asks_privately`: so may `webhook`. `asks`: there is a secret to sign its questions with. `agents`: whom calls may be handed
    over to.
    """

    trunks: Mapping[str, frozenset[str] | None]
    audio: frozenset[str] | None = None
    # What calls on each trunk show where the playbook does not choose.
    caller_ids: Mapping[str, str] = field(default_factory=dict)
    speaks: bool = False
    streams_privately: bool = False
    asks: bool = False
    asks_privately: bool = False
    agents: AgentRules = field(default_factory=AgentRules)


NOTHING = Machine({})


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
    if playbook.calling_hours is not None and playbook.calling_hours.closed:
        faults.append(Fault("calling_hours", CLOSED))
    faults += check_steps(playbook.steps, playbook.trunks, machine)
    if playbook.amd is not None and playbook.amd.to is not None:
        faults += _strays([("amd.to", playbook.amd.to)], _labels(playbook.steps))
    return faults


def check_steps(
    steps: Sequence[Step], trunks: Sequence[str], machine: Machine, leads: Callable[[str], bool] = lambda _: False
) -> list[Fault]:
    """The faults of steps that are well formed, of a playbook with these trunks; as `check_against` says.

    `leads` tells whether a label that no step of these has leads somewhere all the same.
    """
    faults: list[Fault] = []
    for path, sound in sounds_of(steps):
        if isinstance(sound, Say):
            if not machine.speaks:
                faults.append(Fault(path, "this server cannot speak: it has no [speech] command"))
        elif machine.audio is not None and sound not in machine.audio:
            faults.append(Fault(path, f"no file {sound!r} in the media directory"))
    for i, step in enumerate(steps):
        faults += [Fault(f"steps.{i}.{key}", reason) for key, reason in _far_faults(step, trunks, machine)]
    labels = [step.label for step in steps]
    faults += [
        Fault(f"steps.{i}.label", f"another step has the label {label!r} already")
        for i, label in enumerate(labels)
        if label is not None and labels.index(label) < i
    ]
    ways = [(f"steps.{i}.{key}", target) for i, step in enumerate(steps) for key, target in _ways_from(step)]
    return faults + _strays([(path, target) for path, target in ways if not leads(target)], _labels(steps))


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
            case Webhook(audio=str(audio)):
                yield f"{path}.audio", audio


def _sound(path: str, part: Play | Say) -> tuple[str, str | Say]:
    return (path, part) if isinstance(part, Say) else (f"{path}.audio", part.audio)


def _far_faults(step: Step, trunks: Sequence[str], machine: Machine) -> Iterator[tuple[str, str]]:
    """What is wrong with those that a step has the call meet, by the key, as far as its text tells."""
    match step:
        case Transfer():
            yield from _transfer_faults(step, trunks, machine)
        case Stream(url=url):
            yield from _url_faults(url, stream_reach(allow_private=machine.streams_privately))
        case Webhook(url=url):
            yield from _url_faults(url, webhook_reach(allow_private=machine.asks_privately))
            if not machine.asks:
                yield "do", "this server asks no programs: it has no webhooks.secret to sign with"


def _url_faults(url: str, reach: Reach) -> Iterator[tuple[str, str]]:
    try:
        reach.read(url)
    except ForbiddenTarget as fault:
        yield "url", str(fault)


def _transfer_faults(step: Transfer, trunks: Sequence[str], machine: Machine) -> Iterator[tuple[str, str]]:
    """What is wrong with a transfer, by the key. A `to` with fields of the person is read when the step's turn comes."""
    if step.mode == "refer":
        for key in BRIDGE_ONLY:
            if getattr(step, key):
                yield key, "is for the mode bridge: with refer it is the callee's side that calls the agent"
    for k, name in enumerate(step.trunks or ()):
        if name not in machine.trunks:
            yield f"trunks.{k}", f"no trunk is named {name!r}"
    trunks = step.trunks or trunks
    if not fields_of(step.to):
        try:
            trunks = machine.agents.read(fill(step.to, {}), trunks, strictly=step.trunks is not None).trunks
        except ValueError as fault:
            yield "to", str(fault)
    if step.caller_id is None:
        return
    for name in trunks:
        allowed = machine.trunks.get(name)
        if allowed is not None and step.caller_id not in allowed:
            shown = "the callee's number" if step.caller_id == "callee" else f"the caller id {step.caller_id!r}"
            yield "caller_id", f"trunk {name!r} does not allow {shown}"


def _labels(steps: Iterable[Step]) -> set[str]:
    return {END, *(step.label for step in steps if step.label is not None)}


def _strays(ways: Iterable[tuple[str, str]], known: Container[str]) -> list[Fault]:
    """Ways that lead nowhere."""
    return [Fault(path, f"no step has the label {target!r}") for path, target in ways if target not in known]


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
