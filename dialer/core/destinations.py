"""Which numbers the operator lets calls go to: a stolen token must not be worth a night of premium calls.

Each refusal names the setting that it comes from. The countries' numbering plans are those of the library phonenumbers; its own
functions take 60 to 130 µs a number, so that what is asked here is put into one pattern for each country.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneMetadata


@dataclass(frozen=True, slots=True)
class DestinationRules:
    """`prefixes` None: all. `home_region`: only numbers of this country (two letters; None: of any).

    Countries that share a calling code are told apart where numbers of one begin with digits of their own: Jamaica's +1 876
    is abroad for the United States, Canada is not. Internal numbers of the PBX are the operator's own, and always allowed.
    """

    prefixes: tuple[str, ...] | None = None
    home_region: str | None = None
    refuse_premium: bool = False

    @property
    def active(self) -> bool:
        """Whether there is anything to check."""
        return self.prefixes is not None or self.home_region is not None or self.refuse_premium

    def prepare(self) -> None:
        """Read the plans that are needed (some 0.1 s), so that the first number does not wait for it."""
        self.refused(["+1"])

    def refused(self, phones: Iterable[str]) -> list[tuple[str, str]]:
        """(phone, reason) of each number, normalized, that calls may not go to."""
        return [(phone, reason) for phone in phones if (reason := self._reason(phone)) is not None]

    def _reason(self, phone: str) -> str | None:
        if not phone.startswith("+"):
            return None
        if self.prefixes is not None and not phone.startswith(self.prefixes):
            return "begins with none of the allowed prefixes (limits.destinations)"
        if self.home_region is not None and not _home(self.home_region).match(phone):
            return f"is an international number: only those of {self.home_region} are allowed (limits.international)"
        if self.refuse_premium and _is_premium(phone):
            return "is a premium number (limits.premium)"
        return None


def _is_premium(phone: str) -> bool:
    plans = _premium_plans()
    # Calling codes have one to three digits, and none begins with another (ITU-T E.164, 6.2.1).
    plan = plans.get(phone[1:3]) or plans.get(phone[1:4]) or plans.get(phone[1:2])
    return plan is not None and plan.fullmatch(phone) is not None


@cache
def _home(region: str) -> re.Pattern[str]:
    from phonenumbers import country_code_for_region

    code = country_code_for_region(region)
    # The first of those that share a code is the main one, which has the digits that are left.
    others = (plan.leading_digits for plan in _sharing(code)[1:] if plan.id != region)
    return re.compile(rf"\+{code}" + "".join(f"(?!{digits})" for digits in others if digits))


@cache
def _premium_plans() -> dict[str, re.Pattern[str]]:
    """The premium numbers of each calling code, also with a national prefix, which some networks take."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    plans = {}
    for code in COUNTRY_CODE_TO_REGION_CODE:
        sharing = _sharing(code)
        prefix = sharing[0].national_prefix_for_parsing or ""
        numbers = {
            found for plan in sharing if plan.premium_rate and (found := plan.premium_rate.national_number_pattern)
        }
        if numbers:
            plans[str(code)] = re.compile(rf"\+{code}(?:{prefix})?(?:{'|'.join(sorted(numbers))})")
    return plans


def _sharing(code: int) -> list["PhoneMetadata"]:
    """The numbering plans of the countries that share a calling code, or of what is no country's (+800)."""
    # Loaded where it is used: a process that needs no plans does not pay for them.
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    regions = COUNTRY_CODE_TO_REGION_CODE[code]
    plans = [*map(PhoneMetadata.metadata_for_region, regions), PhoneMetadata.metadata_for_nongeo_region(code)]
    return [plan for plan in plans if plan is not None]
