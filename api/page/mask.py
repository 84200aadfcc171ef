"""What is shown of people's numbers: all, or their last digits only, wherever they stand."""

import re
from dataclasses import dataclass

from dialer.log_lines import masked_number

_DATE = r"(?<![0-9])[12][0-9]{3}-[01][0-9]-[0-3][0-9](?![0-9-])"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?<![0-9.+])(?:{_OCTET}\.){{3}}{_OCTET}(?!\.?[0-9])"
# Seven digits and more, with what may stand between them. Too much rather than too little.
_NUMBER = r"(\+?[0-9](?:[ ./()\u00a0\u2010-\u2015-]{0,2}[0-9]){6,})"
# What comes first stays as it is.
_IN_TEXT = re.compile(f"{_DATE}|{_NUMBER}")
_IN_REASON = re.compile(f"{_DATE}|{_IPV4}|{_NUMBER}")


@dataclass(frozen=True, slots=True)
class Mask:
    """Shows things about people, with numbers in full unless it is `on`."""

    on: bool

    def phone(self, phone: str | None) -> str:
        """A number; "" for that of an erased person.

        >>> Mask(True).phone("+34600123456"), Mask(False).phone("+34600123456"), Mask(True).phone(None)
        ('+…3456', '+34600123456', '')
        """
        return masked_number(phone) if self.on and phone else phone or ""

    def text(self, text: str) -> str:
        """A text in which anything that looks like a number may be one.

        >>> Mask(True).text("call 600 000 001 or +34 (600) 000-002, room 12, born 1980-12-24, or 91.123.45.67")
        'call …0001 or +…0002, room 12, born 1980-12-24, or …4567'
        """
        return _IN_TEXT.sub(_as_found, text) if self.on else text

    def reason(self, reason: str | None) -> str:
        """Why something happened, in the far side's words or ours; addresses of machines stay. "" where nothing is said.

        >>> Mask(True).reason("404 for 600123456: 192.168.100.200:5060 does not know +34.600.123.456")
        '404 for …3456: 192.168.100.200:5060 does not know +…3456'
        """
        return _IN_REASON.sub(_as_found, reason) if self.on and reason else reason or ""

    def value(self, value: object) -> object:
        """What a contact's field holds, or was said and pressed: texts and numbers, however deep."""
        if not self.on:
            return value
        match value:
            case bool() | None:
                return value
            case list():
                return [self.value(one) for one in value]
            case dict():
                return {self.text(str(key)): self.value(one) for key, one in value.items()}
        text = self.text(str(value))
        return value if text == str(value) else text


def _as_found(found: re.Match[str]) -> str:
    number: str | None = found[1]
    return found[0] if number is None else masked_number("".join(one for one in number if one in "+0123456789"))
