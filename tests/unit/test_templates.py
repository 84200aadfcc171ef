from typing import Any

import pytest

from dialer.core.templates import fields_of, fill, pieces

ANA: dict[str, Any] = {
    "first_name": "Ana",
    "city": "",
    "phone": "+34600",
    "custom_fields": {"n": 3, "ok": True, "l": [1], "a.b": "x"},
    "gathered": {"pin": "12"},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("Hello {first_name}!", "Hello Ana!"),
        ("{ first_name }", "Ana"),
        ("{city|town}", "town"),
        ("{last_name|}", ""),
        ("{last_name}", ""),
        ("{company|{{}}}", None),
        ("{custom_fields.n} {custom_fields.ok} {custom_fields.a.b}", "3 true x"),
        ("{custom_fields.l|none} {custom_fields.zzz|none}", "none none"),
        ("{gathered.pin} {phone}", "12 +34600"),
        ("{{first_name}}", "{first_name}"),
        ("}", None),
        ("a { b", None),
        ("{}", None),
        ("{custom_fields}", None),
        ("{custom_fields.}", None),
        ("{birthday}", None),
    ],
)
def test_fields_take_their_values_and_what_is_no_field_is_refused(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(ValueError, match=r"brace|names no field"):
            pieces(template)
    else:
        assert fill(template, ANA) == text


def test_a_field_of_a_person_is_never_read_as_a_template() -> None:
    assert fill("{first_name}", {"first_name": "{phone}"}) == "{phone}"


def test_the_fields_that_a_text_depends_on_are_known() -> None:
    assert fields_of("a {city|x} {gathered.pin} {city}") == {"city", "gathered.pin"}
