"""A playbook from its JSON, or all that is wrong with it. For the API and the command line."""

from pydantic import ValidationError

from dialer.core.playbook import Fault, Machine, Playbook, check_against


def read_playbook(raw: object, machine: Machine) -> Playbook | list[Fault]:
    """The playbook that `raw` (parsed JSON) describes, or what is wrong with it, all of it, on this machine."""
    try:
        playbook = Playbook.model_validate(raw)
    except ValidationError as error:
        faults = []
        for detail in error.errors(include_url=False, include_input=False):
            # The discriminator of a step stands in the path that pydantic gives ("steps.0.play.audio").
            where = [str(part) for part in detail["loc"]]
            if len(where) > 2 and where[0] == "steps":
                del where[2]
            faults.append(Fault(".".join(where) or "playbook", _reason(detail["type"], detail["msg"])))
        return faults
    return check_against(playbook, machine) or playbook


def _reason(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "no such key"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]
