"""A playbook from its JSON, or all that is wrong with it. For the API and the command line."""

from pydantic import ValidationError

from dialer.core.intake import plain_reason
from dialer.core.playbook import Fault, Machine, Playbook, check_against


def read_playbook(raw: object, machine: Machine) -> Playbook | list[Fault]:
    """The playbook that `raw` (parsed JSON) describes, or what is wrong with it, all of it, on this machine."""
    try:
        playbook = Playbook.model_validate(raw)
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
