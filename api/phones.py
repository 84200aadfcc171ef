"""Numbers in queries and bodies, normalized before anything is looked up or stored."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api.backend import Backend
from api.offload import in_thread
from api.problems import bad_request


async def phone_asked(backend: Backend, asked: Mapping[str, str]) -> str | None:
    """The number of the query parameter `phone`; None where it is missing or empty. Raises the problem 400."""
    text = asked.get("phone")
    if not text:
        return None
    # "+" means a space in a query string, and people forget to escape it.
    numbers, faults = await in_thread(
        read_phones, ["+" + text[1:] if text.startswith(" ") else text], backend.read_phone
    )
    if faults:
        raise bad_request(f"phone: {faults[0]['reason']}", [{"field": "phone", "reason": faults[0]["reason"]}])
    return numbers[0]


def read_phones(texts: Sequence[object], read: Callable[[str], str]) -> tuple[list[str], list[dict[str, Any]]]:
    """The numbers that could be read, and `index`, `field`, `reason` of each that could not."""
    numbers: list[str] = []
    faults: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            faults.append({"index": index, "field": "phone", "reason": "must be text"})
            continue
        try:
            numbers.append(read(text))
        except ValueError as error:
            faults.append({"index": index, "field": "phone", "reason": str(error)})
    return numbers, faults
