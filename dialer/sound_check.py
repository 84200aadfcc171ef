"""Before a call is dialed: is everything that it will play and say at hand? A person never answers to silence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dialer.core.model import CallId, CallRecord, Campaign, CampaignId
from dialer.core.sounds import Sound, Unready, is_personal, sounds_ahead
from dialer.ports import SoundLibrary, Store

# So many calls' texts are rendered ahead of the one whose turn it is.
CALLS_AHEAD: Final = 32


@dataclass(slots=True)
class _Campaign:
    """`checked` positions, from 0, were given to the library. `settled`: what it plays is the same for all, and at hand."""

    checked: int = 0
    settled: bool = False


class SoundCheck:
    """Asks the library, for the call whose turn it is and for those behind it."""

    def __init__(self, store: Store, library: SoundLibrary) -> None:
        self._store = store
        self._library = library
        self._campaigns: dict[CampaignId, _Campaign] = {}

    def fault(self, campaign: Campaign, record: CallRecord) -> Unready | None:
        """What is missing for this call; None: nothing, dial. What is missing is being made."""
        if not campaign.playbook.steps:
            return None
        known = self._campaigns.setdefault(campaign.id, _Campaign())
        if known.settled:
            return None
        missing = self._library.prepare(_sounds(campaign, record))
        known.settled = missing is None and not is_personal(campaign.playbook.steps)
        return missing

    def look_ahead(self, campaign: Campaign, position: int) -> None:
        """The call at `position` (from 0) is next: have the texts of those behind it made. Raises `StoreUnavailable`."""
        if not is_personal(campaign.playbook.steps):
            return
        known = self._campaigns.setdefault(campaign.id, _Campaign())
        until = min(position + CALLS_AHEAD, campaign.size)
        for at in range(max(known.checked, position), until):
            record = self._store.call(CallId(campaign.first_call + at))
            if not record.finished:
                self._library.prepare(_sounds(campaign, record))
        known.checked = max(known.checked, until)

    def forget(self, campaign: CampaignId) -> None:
        """The campaign is over."""
        self._campaigns.pop(campaign, None)


def _sounds(campaign: Campaign, record: CallRecord) -> Iterable[Sound]:
    return sounds_ahead(campaign.playbook.steps, {**record.contact, "phone": record.phone})
