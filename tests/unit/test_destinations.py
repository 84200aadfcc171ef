"""Which numbers calls may go to: held against the library whose numbering plans are used."""

from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import load
from dialer.core.destinations import DestinationRules
from dialer.machine import destination_rules

TYPES = phonenumbers.PhoneNumberType
KINDS = [kind for kind in TYPES.values() if kind not in {TYPES.FIXED_LINE_OR_MOBILE, TYPES.UNKNOWN}]
CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
PREMIUM = DestinationRules(refuse_premium=True)


def is_premium(phone: str) -> bool:
    """What the library itself says."""
    try:
        return bool(phonenumbers.number_type(phonenumbers.parse(phone)) == TYPES.PREMIUM_RATE)
    except phonenumbers.NumberParseException:
        return False


def examples() -> list[str]:
    found = [
        *(
            phonenumbers.example_number_for_type(region, kind)
            for region in phonenumbers.SUPPORTED_REGIONS
            for kind in KINDS
        ),
        *(
            phonenumbers.example_number_for_non_geo_entity(code)
            for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS
        ),
    ]
    return [phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) for number in found if number]


def test_the_premium_numbers_of_every_country_are_known_and_no_others() -> None:
    numbers = examples()
    expected = [number for number in numbers if is_premium(number)]
    assert len(expected) > 100
    assert [number for number, _ in PREMIUM.refused(numbers)] == expected


@given(
    st.sampled_from(CODES),
    st.sampled_from(["", "0", "8", "9", "90", "80"]),
    st.text("0123456789", min_size=6, max_size=10),
)
def test_any_number_is_premium_where_the_library_says_so(code: int, start: str, rest: str) -> None:
    phone = f"+{code}{start}{rest}"
    assert bool(PREMIUM.refused([phone])) is is_premium(phone)


@pytest.mark.parametrize(
    ("home", "phone", "allowed"),
    [
        ("ES", "+34600000001", True),
        ("ES", "+351910000000", False),
        ("US", "+12025550123", True),
        ("US", "+18005550123", True),
        ("US", "+14165550123", True),
        ("US", "+18765550123", False),
        ("JM", "+18765550123", True),
        ("JM", "+18005550123", True),
        ("GB", "+442071234567", True),
        ("GB", "+447624123456", False),
        ("RU", "+77012345678", False),
        ("KZ", "+77012345678", True),
        ("ES", "203", True),
    ],
)
def test_numbers_abroad_are_told_from_those_of_the_country(home: str, phone: str, allowed: bool) -> None:
    assert (DestinationRules(home_region=home).refused([phone]) == []) is allowed


def test_no_country_refuses_its_own_numbers() -> None:
    for region in phonenumbers.SUPPORTED_REGIONS:
        own = [phonenumbers.example_number_for_type(region, kind) for kind in (TYPES.FIXED_LINE, TYPES.MOBILE)]
        numbers = [phonenumbers.format_number(one, phonenumbers.PhoneNumberFormat.E164) for one in own if one]
        assert DestinationRules(home_region=region).refused(numbers) == []


@pytest.mark.parametrize(
    ("settings", "phone", "rule"),
    [
        ("", "+34803123456", "limits.premium"),
        ("[limits]\npremium = true", "+34803123456", None),
        ("", "+351910000000", None),
        ('[phone]\ndefault_region = "ES"', "+351910000000", "limits.international"),
        ('[phone]\ndefault_region = "ES"\n[limits]\ninternational = true', "+351910000000", None),
        ('[phone]\ndefault_region = "ES"\n[limits]\ndestinations = ["+34", "+351"]', "+351910000000", None),
        ('[limits]\ndestinations = ["+34", "+351"]', "+442071234567", "limits.destinations"),
        (
            '[phone]\ndefault_region = "ES"\n[limits]\ninternational = false\ndestinations = ["+351"]',
            "+351910000000",
            "limits.international",
        ),
    ],
)
def test_what_is_not_allowed_is_refused_by_the_name_of_its_setting(
    settings: str, phone: str, rule: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "dialer.toml"
    file.write_text(settings)
    refused = destination_rules(load(file)).refused([phone])
    assert [rule in reason for _, reason in refused] == ([] if rule is None else [True])
