"""Which numbers the operator lets calls go to: a stolen token must not be worth a night of premium calls.

Without rules every number is allowed, as the API's contract says. Each refusal names the setting that it comes from.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DestinationRules:
    """`prefixes` None: all. `home_region`: only numbers of this country's calling code (two letters; None: of any).

    Internal numbers of the PBX are the operator's own, and always allowed.
    """

    prefixes: tuple[str, ...] | None = None
    home_region: str | None = None
    refuse_premium: bool = False

    @property
    def active(self) -> bool:
        """Whether there is anything to check."""
        return self.prefixes is not None or self.home_region is not None or self.refuse_premium

    def refused(self, phones: Iterable[str]) -> list[tuple[str, str]]:
        """(phone, reason) of each number, normalized, that calls may not go to."""
        return [(phone, reason) for phone in phones if (reason := self._reason(phone)) is not None]

    def _reason(self, phone: str) -> str | None:
        if not phone.startswith("+"):
            return None
        if self.prefixes is not None and not phone.startswith(self.prefixes):
            return "begins with none of the allowed prefixes (limits.destinations)"
        if self.home_region is not None and not phone.startswith(_calling_code(self.home_region)):
            return f"is an international number: only those of {self.home_region} are allowed (limits.international)"
        if self.refuse_premium and _is_premium(phone):
            return "is a premium number (limits.premium)"
        return None


def _calling_code(region: str) -> str:
    import phonenumbers  # 30 ms that only those who set a rule pay

    return f"+{phonenumbers.country_code_for_region(region)}"


def _is_premium(phone: str) -> bool:
    import phonenumbers

    try:
        kind = phonenumbers.number_type(phonenumbers.parse(phone))
    except phonenumbers.NumberParseException:
        return False
    return bool(kind == phonenumbers.PhoneNumberType.PREMIUM_RATE)
