"""What is known of a person: the fields of a contact, their limits, and how later values join earlier ones."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from msgspec.json import decode, encode
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

LONGEST_TEXT = 1000
LARGEST_CUSTOM_FIELDS = 16_384
DEEPEST_CUSTOM_FIELDS = 16

Fields = dict[str, Any]
_Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]


# A TypedDict and not a model: it validates in a fifth of the time, and what comes out is what is stored.
@with_config(ConfigDict(extra="ignore", strict=True, cache_strings="keys"))
class ContactFields(TypedDict, total=False):
    """The fields that a contact may have beside its phone. Those that were not given are absent, never None."""

    first_name: _Text
    last_name: _Text
    email: _Text
    company: _Text
    job_title: _Text
    address: _Text
    city: _Text
    state: _Text
    country: _Text
    postal_code: _Text
    timezone: Annotated[_Text, Field(description="An IANA name.", json_schema_extra={"format": "iana-timezone"})]
    utm_source: _Text
    utm_medium: _Text
    utm_campaign: _Text
    utm_term: _Text
    utm_content: _Text
    custom_fields: dict[str, Any]


_ADAPTER = TypeAdapter(ContactFields)

_REASONS = {
    "string_type": "must be a string",
    "string_too_long": f"must be at most {LONGEST_TEXT} characters",
    "string_unicode": "holds half of a surrogate pair",
    "dict_type": "must be an object",
}


@cache
def zones() -> frozenset[str]:
    """The IANA names that `timezone` may hold. `localtime` and `Factory` name no place."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def read_fields(given: Mapping[str, Any]) -> tuple[Fields, list[tuple[str, str]]]:
    """The known fields of `given`, unknown ones left out, and what is wrong with them: (field, reason) each."""
    try:
        fields: Fields = dict(_ADAPTER.validate_python(given))
    except ValidationError as error:
        faults: dict[str, str] = {}
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            faults.setdefault(str(fault["loc"][0]), _REASONS.get(fault["type"], fault["msg"]))
        return {}, list(faults.items())
    return fields, rest_faults(fields)


def rest_faults(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with fields whose types are right: (field, reason) each. Costs next to nothing for most contacts."""
    faults = []
    if "timezone" in fields and fields["timezone"] not in zones():
        faults.append(("timezone", "is not an IANA time zone, such as Europe/Madrid"))
    if fields.get("custom_fields"):
        reason = _custom_fault(fields["custom_fields"])
        if reason is not None:
            faults.append(("custom_fields", reason))
    return faults


def merge(known: Mapping[str, Any], given: Mapping[str, Any]) -> Fields:
    """`known` with the given fields changed; `custom_fields` merge by their own keys (not deeper).

    >>> merge({"city": "Vigo", "custom_fields": {"a": 1, "b": 1}}, {"custom_fields": {"b": 2}})
    {'city': 'Vigo', 'custom_fields': {'a': 1, 'b': 2}}
    """
    merged = {**known, **given}
    if "custom_fields" in known and "custom_fields" in given:
        merged["custom_fields"] = {**known["custom_fields"], **given["custom_fields"]}
    return merged


def merge_texts(known: str, given: str) -> str:
    """As `merge`, of what is stored."""
    return fields_text(merge(decode(known), decode(given)))


def fields_text(fields: Mapping[str, Any]) -> str:
    """The JSON that is stored: compact, UTF-8."""
    return encode(fields).decode()


def _custom_fault(custom: Mapping[str, Any]) -> str | None:
    # jiter and json both let 1e400 and NaN become floats that no JSON can hold.
    level: list[Any] = [custom]
    for _ in range(DEEPEST_CUSTOM_FIELDS):
        below: list[Any] = []
        for container in level:
            for value in container.values() if isinstance(container, dict) else container:
                if isinstance(value, dict | list):
                    below.append(value)
                elif isinstance(value, float) and not math.isfinite(value):
                    return "holds a number that is too large"
        if not below:
            break
        level = below
    else:
        return f"is nested deeper than {DEEPEST_CUSTOM_FIELDS} levels"
    try:
        size = len(encode(custom))
    except ValueError:
        return "holds half of a surrogate pair"
    return None if size <= LARGEST_CUSTOM_FIELDS else f"must be at most {LARGEST_CUSTOM_FIELDS} bytes"
