"""Telephone numbers: what a person or a program writes, brought to the one form that is stored, compared and dialed.

The forms are E.164 (ITU-T E.164: `+`, then 7 to 15 digits here, the first of them 1 to 9), judged by form and not against
numbering plans, and internal numbers of the PBX where the operator allows them.
"""

import re
from dataclasses import dataclass

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_INTERNAL = re.compile(r"[0-9*#]{2,15}")
_DIGITS = re.compile(r"[0-9]+")
_DROP_SEPARATORS = str.maketrans("", "", " .-()")
_LONGEST_INPUT = 64

BLANK = "must not be empty"
NO_NUMBER = "is not an E.164 number (+, then 7 to 15 digits, the first of them 1 to 9)"


@dataclass(frozen=True, slots=True)
class PhoneRules:
    """What else than E.164 is a number here.

    `internal` matches the internal numbers as a whole (None: there are none). `default_region`, two letters of ISO 3166, is
    where a number without a country code belongs (None: such numbers are refused).
    """

    internal: re.Pattern[str] | None = None
    default_region: str | None = None


def normalize(written: str, rules: PhoneRules) -> str:
    """The number as it is dialed: E.164, or the digits, `*` and `#` of an internal number.

    Separators (space, dot, dash, parentheses) are dropped and a leading 00 becomes `+`. A number that is both internal and
    national is internal. Raises ValueError with the reason, to be read after the word "phone".

    >>> normalize("00 34 (910) 00-00.00", PhoneRules())
    '+34910000000'
    >>> normalize("910 000 000", PhoneRules(default_region="ES"))
    '+34910000000'
    >>> normalize("*43", PhoneRules(internal=re.compile(r"\\*?[0-9]{2,4}")))
    '*43'
    """
    if E164.fullmatch(written):
        return written
    if len(written) > _LONGEST_INPUT:
        raise ValueError(f"must be at most {_LONGEST_INPUT} characters")
    if not written.strip():
        raise ValueError(BLANK)
    number = written.translate(_DROP_SEPARATORS)
    if number.startswith("00"):
        number = "+" + number[2:]
    if E164.fullmatch(number):
        return number
    if rules.internal is not None and _INTERNAL.fullmatch(number) and rules.internal.fullmatch(number):
        return number
    if rules.default_region is not None and _DIGITS.fullmatch(number):
        return _from_national(number, rules.default_region)
    raise ValueError(NO_NUMBER if rules.internal is None else f"{NO_NUMBER}, nor an internal number")


def _from_national(number: str, region: str) -> str:
    # Loaded where it is used: the library's metadata costs every process that does not need it 30 ms and 8 MB.
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException as error:
        raise ValueError(f"is not a number of {region}") from error
    international = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    # Too short or too long for the country: dialing it would reach somebody else, or nobody.
    if not phonenumbers.is_possible_number(parsed) or not E164.fullmatch(international):
        raise ValueError(f"is not a number of {region}")
    return international
