"""A playbook from its JSON, or all that is wrong with it. For the API and the command line."""

from pydantic import ValidationError

from dialer.core.intake import plain_reason
from dialer.core.playbook import Fault, Machine, Playbook, check_against


def read_playbook(raw: object, machine: Machine) -> Playbook | list[Fault]:
    """The playbook that `raw` (parsed JSON) describes, or what is wrong with it, all of it, on this machine."""
    try:
        playbook = Playbook.model_validate(_whole(raw))
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False, include_input=False):
            # The discriminator of a step stands in the path that pydantic gives ("steps.0.play.audio").
            where = [
                str(part)
                for i, part in enumerate(detail["loc"])
                if i < 2 or detail["loc"][i - 2] not in {"steps", "prompt"} or not isinstance(detail["loc"][i - 1], int)
            ]
            faults.append(Fault(".".join(where) or "playbook", plain_reason(detail["type"], detail["msg"])))
        return faults
    return check_against(playbook, machine) or playbook


def _whole(value: object) -> object:
    """3.0 is an integer to JSON Schema (6.1.1, mathematical), and to programs that know only one kind of number."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
