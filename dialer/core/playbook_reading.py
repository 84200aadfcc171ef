"""A playbook from its JSON, or the steps that a program answers with; or all that is wrong with them."""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from dialer.core.intake import plain_reason
from dialer.core.playbook import Fault, Machine, Playbook, check_against, check_steps
from dialer.core.step_kinds import Closed, Step

MOST_STEPS_ANSWERED = 50
# Values in an answer, whatever they are: naming what is wrong with so many takes 5 ms, and the loop that dials waits for that.
MOST_VALUES = 1000

# Their items are named by a key of their own, `do`, which pydantic puts into the path ("steps.0.play.audio").
_LISTS_OF_STEPS = frozenset({"steps", "prompt", "whisper"})

_Model = TypeVar("_Model", bound=Closed)


class Answer(Closed):
    """What a program says that a call is to do next."""

    steps: Annotated[list[Step], Field(max_length=MOST_STEPS_ANSWERED)]


def read_playbook(raw: object, machine: Machine) -> Playbook | list[Fault]:
    """The playbook that `raw` (parsed JSON) describes, or what is wrong with it, all of it, on this machine."""
    found = _read(Playbook, raw, "playbook")
    return check_against(found, machine) or found if isinstance(found, Playbook) else found


def read_answer(
    text: str, trunks: Sequence[str], machine: Machine, leads: Callable[[str], bool] = lambda _: False
) -> Answer | list[Fault]:
    """The answer that `text` holds, or what is wrong with it: as a playbook with these trunks is read.

    `leads` tells whether a label that the answer itself does not have leads somewhere on this call.
    """
    try:
        raw = json.loads(text)
        if _has_more_values_than(MOST_VALUES, raw):
            return [Fault("answer", f"has more than {MOST_VALUES:,} values")]
        found = _read(Answer, raw, "answer")
    except RecursionError:
        return [Fault("answer", "is nested too deep")]
    except ValueError as error:
        return [Fault("answer", f"is not JSON: {error}")]
    if not isinstance(found, Answer):
        return found
    return check_steps(found.steps, trunks, machine, leads) or found


def _has_more_values_than(most: int, raw: object) -> bool:
    left = [raw]
    for value in left:
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if len(left) > most:
            return True
    return False


def _read(model: type[_Model], raw: object, whole: str) -> _Model | list[Fault]:
    """The model that `raw` describes, or what is wrong with its form. `whole` is the path of what concerns all of it."""
    try:
        return model.model_validate(_as_integers(raw))
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False, include_input=False):
            where = [
                str(part)
                for i, part in enumerate(detail["loc"])
                if i < 2 or detail["loc"][i - 2] not in _LISTS_OF_STEPS or not isinstance(detail["loc"][i - 1], int)
            ]
            faults.append(Fault(".".join(where) or whole, plain_reason(detail["type"], detail["msg"])))
        return faults


def _as_integers(value: object) -> object:
    """3.0 is an integer to JSON Schema (6.1.1, mathematical), and to programs that know only one kind of number."""
    if isinstance(value, dict):
        return {key: _as_integers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_integers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
