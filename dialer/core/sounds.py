"""What a call will play and say: known before it is dialed, but for texts that depend on the call itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dialer.core.playbook import sounds_of
from dialer.core.step_kinds import Say, Set, Step
from dialer.core.templates import fields_of, fill


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text to be said. `voice` "": the server's own."""

    text: str
    voice: str = ""


# A file of the media directory, by its name, or a text.
Sound = str | Spoken


@dataclass(frozen=True, slots=True)
class Unready:
    """Something that a call will play is not at hand. Ask again in `seconds`; None: it will never be."""

    reason: str
    seconds: float | None


def sounds_ahead(steps: Sequence[Step], values: Mapping[str, Any]) -> Iterator[Sound]:
    """What the steps may play or say to the person with these values, as far as it is known before the answer.

    Texts with what is gathered on the call, or with custom fields that the steps write, are not.
    """
    written = {f"custom_fields.{name}" for step in steps if isinstance(step, Set) for name in step.custom_fields}
    for _, part in sounds_of(steps):
        if isinstance(part, str):
            yield part
        elif not any(field in written or field.startswith("gathered.") for field in fields_of(part.text)):
            yield Spoken(fill(part.text, values), part.voice or "")


def is_personal(steps: Sequence[Step]) -> bool:
    """Whether what is said differs from person to person."""
    return any(isinstance(part, Say) and fields_of(part.text) for _, part in sounds_of(steps))
