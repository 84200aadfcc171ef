"""Jinja templates as the page uses them: everything that is put into one is escaped, and a name that is missing is a fault."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api.page import assets, words
from dialer.core.amounts import amount


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "amount": amount,
        "count": words.count,
        "disposition": words.name_of,
        "duration": words.duration,
        "moment": words.moment,
    }
    environment.globals |= {"asset": assets.address, "share": words.share, "dispositions": words.DISPOSITIONS}
    return environment


def render(template: str, values: Mapping[str, Any]) -> Markup:
    """The template with these values."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704 - Jinja escaped what was put in
