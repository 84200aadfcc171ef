"""Text with fields: `Hello {first_name|friend}, about {custom_fields.plan}`.

A field is a contact's (`first_name`, .., `phone`, `custom_fields.NAME`) or what a gather of this call took
(`gathered.NAME`). Behind a `|` stands what is said where the field is missing or empty; without it that is nothing. `{{`
and `}}` are braces.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from dialer.core.contact import ContactFields

LONGEST_TEMPLATE = 4000

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}|]*)(?:\|([^{}]*))?\}|[{}]|[^{}]+")
_PLAIN = frozenset(ContactFields.__annotations__) - {"custom_fields"} | {"phone"}
_FAMILIES = ("custom_fields.", "gathered.")


@dataclass(frozen=True, slots=True)
class FieldPiece:
    """A field's place in a text: its name, and what stands there without it."""

    name: str
    default: str


@lru_cache(maxsize=4096)
def pieces(template: str) -> tuple[str | FieldPiece, ...]:
    """The template's parts in order. Raises ValueError with a reason for people.

    >>> pieces("Hi {first_name|you}!")
    ('Hi ', FieldPiece(name='first_name', default='you'), '!')
    """
    found: list[str | FieldPiece] = []
    for piece in _PIECE.finditer(template):
        text = piece[0]
        if text in {"{{", "}}"}:
            found.append(text[0])
        elif text in {"{", "}"}:
            raise ValueError(f"has a lone {text} at character {piece.start() + 1} (a brace is written {text}{text})")
        elif text.startswith("{"):
            found.append(FieldPiece(_known(piece[1].strip()), piece[2] or ""))
        else:
            found.append(text)
    return tuple(found)


def _known(name: str) -> str:
    in_family = any(name.startswith(family) and len(name) > len(family) for family in _FAMILIES)
    if name not in _PLAIN and not in_family:
        raise ValueError(f"names no field of a contact: {{{name}}}")
    return name


def fill(template: str, values: Mapping[str, Any]) -> str:
    """The text for one person. `values` are the contact's fields, with `phone`, `custom_fields` and `gathered`.

    >>> fill("Hi {first_name|you}, {custom_fields.n} {{left}}", {"custom_fields": {"n": 3}})
    'Hi you, 3 {left}'
    """
    return "".join(p if isinstance(p, str) else field_text(p.name, values) or p.default for p in pieces(template))


def field_text(name: str, values: Mapping[str, Any]) -> str:
    """A field as text; "" where it is missing or is no text, number or truth value."""
    family, dot, key = name.partition(".")
    value: Any = values.get(family)
    if dot:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def fields_of(template: str) -> frozenset[str]:
    """The names of the fields that the text depends on."""
    return frozenset(piece.name for piece in pieces(template) if isinstance(piece, FieldPiece))


def _checked(template: str) -> str:
    pieces(template)
    return template


Template = Annotated[
    str,
    StringConstraints(max_length=LONGEST_TEMPLATE),
    AfterValidator(_checked),
    Field(json_schema_extra={"format": "template"}),
]
