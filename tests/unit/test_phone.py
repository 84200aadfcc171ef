"""What counts as a telephone number, and the form in which it is dialed."""

import re

import pytest

from dialer.core.phone import PhoneRules, normalize

PLAIN = PhoneRules()
EXTENSIONS = PhoneRules(internal=re.compile(r"[*#]?[0-9]{2,4}"))
SPAIN = PhoneRules(default_region="ES")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+34910000000", "+34910000000"),
        ("+34 910 00-00.00", "+34910000000"),
        ("(+34) 910000000", "+34910000000"),
        ("0034910000000", "+34910000000"),
        ("00 34 910000000", "+34910000000"),
        (" +34910000000 ", "+34910000000"),
        ("+1234567", "+1234567"),
        ("+123456789012345", "+123456789012345"),
    ],
)
def test_separators_go_and_a_leading_00_becomes_plus(written: str, number: str) -> None:
    assert normalize(written, PLAIN) == number


@pytest.mark.parametrize(
    "written",
    [
        "+123456",
        "+1234567890123456",
        "+0123456789",
        "910000000",
        "+34910000000x1",
        "sip:+34910000000@host",
        "+3491000\r\n0000",
        "+34910000000\n",
        "+34\u00a0910000000",
        "+34\t910000000",
        "+34/910000000",
        "+٣٤٩١٠٠٠٠٠٠٠",
        "++34910000000",
        "+",
        "-",
        "00",
        "\ud800",
    ],
)
def test_what_is_not_e164_by_form_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"E\.164"):
        normalize(written, PLAIN)


@pytest.mark.parametrize("written", ["", " ", "\t\n"])
def test_a_blank_phone_is_called_empty(written: str) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        normalize(written, PLAIN)


def test_an_endless_phone_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(ValueError, match="at most 64 characters"):
        normalize(" " * 65 + "+34910000000", PLAIN)


@pytest.mark.parametrize(("written", "number"), [("201", "201"), ("*43", "*43"), ("#1-2", "#12"), ("2.0.1", "201")])
def test_internal_numbers_pass_where_the_pattern_matches_them_whole(written: str, number: str) -> None:
    assert normalize(written, EXTENSIONS) == number


@pytest.mark.parametrize("written", ["20123", "2*1", "1", "abc"])
def test_internal_numbers_that_the_pattern_does_not_match_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="nor an internal number"):
        normalize(written, EXTENSIONS)


@pytest.mark.parametrize("written", ["1", "1234567890123456", "12a"])
def test_no_pattern_makes_internal_what_is_not_2_to_15_digits_stars_and_hashes(written: str) -> None:
    with pytest.raises(ValueError, match="nor an internal number"):
        normalize(written, PhoneRules(internal=re.compile(".*")))


def test_a_default_region_makes_national_numbers_international() -> None:
    assert normalize("910 00 00 00", SPAIN) == "+34910000000"
    assert normalize("020 7946 0958", PhoneRules(default_region="GB")) == "+442079460958"
    assert normalize("+442079460958", SPAIN) == "+442079460958"


@pytest.mark.parametrize("written", ["91000", "9100000000000", "1-800-FLOWERS"])
def test_a_national_number_of_a_length_that_its_country_does_not_have_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"is not a"):
        normalize(written, SPAIN)


def test_what_is_both_internal_and_national_is_internal() -> None:
    both = PhoneRules(internal=re.compile("[0-9]{9}"), default_region="ES")
    assert normalize("910000000", both) == "910000000"
