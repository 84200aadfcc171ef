"""Calls and trunks as records, and as they are seen on the page: with what follows from them, and numbers masked."""

from typing import Any

from api.page.mask import Mask

Record = dict[str, Any]

# What a line of a transcript holds beside what was said and pressed.
_OURS = frozenset({"attempt", "do", "at", "ended_at"})


def seen_trunk(trunk: Record, cps: float, mask: Mask) -> Record:
    """A trunk, and how many INVITEs it starts a second."""
    failure = trunk["last_failure"]
    if failure is not None:
        failure = {**failure, "reason": mask.reason(failure["reason"])}
    return {**trunk, "cps": round(cps, 1), "fault": mask.reason(trunk["fault"]), "last_failure": failure}


def seen_call(call: Record, mask: Mask) -> Record:
    """A call as it stands in a list."""
    seen = {
        **call,
        "phone": mask.phone(call["phone"]),
        "name": mask.text(call["name"]),
        "reason": mask.reason(call["reason"]),
    }
    if call["state"] == "live":
        phase = "talking" if call["answered_at"] else "ringing" if call["ringing_at"] else "dialing"
        seen |= {"phase": phase, "since": call["answered_at"] or call["ringing_at"] or call["dialed_at"]}
    return seen


def seen_whole_call(call: Record, mask: Mask) -> Record:
    """A call as the API shows it, with its steps put to their attempts."""
    contact = call["contact"]
    name = " ".join(filter(None, (contact.get("first_name"), contact.get("last_name")))) or contact.get("company", "")
    lines = [
        {key: value if key in _OURS else mask.value(value) for key, value in line.items()}
        for line in call["transcript"]
    ]
    attempts = [
        {
            **attempt,
            "reason": mask.reason(attempt["reason"]),
            "agent_legs": [
                {**leg, "agent": mask.reason(leg["agent"]), "reason": mask.reason(leg["reason"])}
                for leg in attempt["agent_legs"]
            ],
            "steps": [line for line in lines if line["attempt"] == attempt["number"]],
        }
        for attempt in call["attempts"]
    ]
    return {
        **call,
        "phone": mask.phone(call["phone"]),
        "name": mask.text(name),
        "contact": mask.value(contact),
        "result": mask.value(call["result"]),
        "attempts": attempts,
    }
