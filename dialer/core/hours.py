"""Calling hours as they are written in a playbook or campaign, the named rule packs, and what both come to: `Rules`.

The packs are a careful reading of the law, not advice on it. Where texts leave room, the narrower hours stand here.

us-tcpa  47 CFR 64.1200(c)(1): not before 8 am nor after 9 pm, local time at the called party's location. The caller id must
         be there and be a telephone number (64.1601(e)).
uk       Monday to Friday 08:00-21:00, Saturday 09:00-21:00, not on Sundays and bank holidays (the trade's code of practice),
         which are those of England, Wales, Scotland and Northern Ireland: a number does not tell the part of the kingdom.
         The caller id must be a telephone number (PECR 2003, regulation 21, as amended in 2016).
es       Monday to Friday 09:00-21:00, not on holidays and weekends (TRLGDCU, article 96.2). The caller id must be a telephone
         number, and no mobile one (Orden TDF/149/2025).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dialer.core.contact import zones
from dialer.core.phone import E164

Span = tuple[int, int]
Week = tuple[tuple[Span, ...], ...]

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SPAN = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_DAY_MINUTES = 24 * 60

Pack = Literal["us-tcpa", "uk", "es"]
Spans = Annotated[
    list[Annotated[str, Field(json_schema_extra={"format": "time-span", "examples": ["09:00-13:00"]})]],
    Field(max_length=12),
]


@dataclass(frozen=True, slots=True)
class Rules:
    """When people may be called: spans of minutes of each weekday, Monday first, open at their start and closed at their end.

    On holidays of `holidays` (country, or country-subdivision) nobody is. `zone` stands in for one that is unknown; None:
    then nobody is called. `name` is for people.
    """

    week: Week
    holidays: tuple[str, ...]
    zone: str | None
    name: str


@dataclass(frozen=True, slots=True)
class _PackRules:
    week: Week
    holidays: tuple[str, ...]
    refused_caller_id: re.Pattern[str] | None = None


def _span(start: str, end: str) -> Span:
    return _minutes(start), _minutes(end)


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


_8_TO_21, _9_TO_21 = (_span("08:00", "21:00"),), (_span("09:00", "21:00"),)
PACKS: Mapping[Pack, _PackRules] = {
    "us-tcpa": _PackRules((_8_TO_21,) * 7, ()),
    "uk": _PackRules((*(_8_TO_21,) * 5, _9_TO_21, ()), ("GB-ENG", "GB-WLS", "GB-SCT", "GB-NIR")),
    "es": _PackRules((*(_9_TO_21,) * 5, (), ()), ("ES",), re.compile(r"\+34[67][0-9]{8}")),
}


CLOSED = "leaves no time at all: nobody could ever be called"

# What `CallingHours._says_when` and `closed` hold, for readers of the schema.
_FORMS: list[Any] = [
    {
        "required": ["rules"],
        "properties": {"rules": {"type": "string"}, "zone": {"type": "null"}},
        "not": {"required": [*DAYS], "properties": {day: {"type": "array", "maxItems": 0} for day in DAYS}},
    },
    {
        "required": ["zone"],
        "properties": {"rules": {"type": "null"}, "zone": {"type": "string"}},
        "anyOf": [{"required": [day], "properties": {day: {"type": "array", "minItems": 1}}} for day in DAYS],
    },
]


class CallingHours(BaseModel):
    """When people may be called, in the time of where they are.

    With `rules`, a named pack, days and holidays make it narrower, never wider. Without, days that are not named are closed.
    `zone` is the time of people whose own is unknown; the packs ask for each person's own, and take none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, json_schema_extra={"oneOf": _FORMS})

    rules: Pack | None = None
    monday: Spans | None = None
    tuesday: Spans | None = None
    wednesday: Spans | None = None
    thursday: Spans | None = None
    friday: Spans | None = None
    saturday: Spans | None = None
    sunday: Spans | None = None
    zone: Annotated[str, Field(json_schema_extra={"format": "iana-timezone"})] | None = None
    holidays: Annotated[
        list[Annotated[str, Field(json_schema_extra={"format": "holidays", "examples": ["ES-MD"]})]],
        Field(max_length=16, description="Nobody is called on public holidays of these countries or subdivisions."),
    ] = Field(default_factory=list)

    @field_validator(*DAYS)
    @classmethod
    def _are_spans(cls, value: list[str] | None) -> list[str] | None:
        last = 0
        for text in value or []:
            found = _SPAN.fullmatch(text)
            start, end = (_minutes(part) for part in text.split("-")) if found else (0, 0)
            if found is None or not start < end <= _DAY_MINUTES:
                raise ValueError(f"holds {text!r}, which is no span of a day such as 09:00-13:00")
            if start < last:
                raise ValueError(f"holds {text!r}, which begins before the span ahead of it has ended")
            last = end
        return value

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in zones():
            raise ValueError("is not an IANA time zone, such as Europe/Madrid")
        return value

    @field_validator("holidays")
    @classmethod
    def _are_known(cls, value: list[str]) -> list[str]:
        for code in value:
            if code not in holiday_codes():
                raise ValueError(f"knows no holidays of {code!r}; write a country as ES, or a part of one as ES-MD")
        return value

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.rules is None and all(getattr(self, day) is None for day in DAYS):
            raise ValueError("must name rules or at least one day")
        if self.rules is None and self.zone is None:
            raise ValueError("needs zone, for people whose own is unknown")
        if self.rules is not None and self.zone is not None:
            raise ValueError(f"zone does not go with rules: {self.rules} needs each person's own")
        return self

    def compiled(self) -> Rules:
        """What is computed with."""
        own = [None if (spans := getattr(self, day)) is None else tuple(map(_read_span, spans)) for day in DAYS]
        if self.rules is None:
            return Rules(tuple(spans or () for spans in own), tuple(self.holidays), self.zone, "calling hours")
        pack = PACKS[self.rules]
        week = tuple(base if spans is None else _both(base, spans) for base, spans in zip(pack.week, own, strict=True))
        return Rules(week, (*pack.holidays, *self.holidays), None, f"calling hours ({self.rules})")

    @property
    def closed(self) -> bool:
        """Whether there is no time of any week at which anybody may be called."""
        return not any(self.compiled().week)

    def caller_id_fault(self, caller_id: str) -> str | None:
        """Why the pack does not let calls show `caller_id`; None: it does, or there is no pack."""
        if self.rules is None:
            return None
        if not E164.fullmatch(caller_id):
            return f"{self.rules} asks for a telephone number (E.164) as caller id"
        refused = PACKS[self.rules].refused_caller_id
        if refused is not None and refused.fullmatch(caller_id):
            return f"{self.rules} allows no mobile number as caller id"
        return None


@cache
def holiday_codes() -> frozenset[str]:
    """The countries, and subdivisions of countries, whose holidays are known: ES, ES-MD."""
    import holidays  # 50 ms that only those who name holidays pay

    known = holidays.list_supported_countries()
    return frozenset(known) | {f"{country}-{part}" for country, parts in known.items() for part in parts}


def _read_span(text: str) -> Span:
    start, _, end = text.partition("-")
    return _minutes(start), _minutes(end)


def _both(one: tuple[Span, ...], other: tuple[Span, ...]) -> tuple[Span, ...]:
    """The minutes that lie in a span of both."""
    cut = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return tuple(sorted((start, end) for start, end in cut if start < end))
