"""Fair turns: accounts take turns, and within an account its campaigns do, whatever the length of their backlogs."""

from collections import OrderedDict

from dialer.core.model import AccountId, CampaignId


class Turns:
    """A ring of accounts, each a ring of campaigns. All operations take constant time."""

    def __init__(self) -> None:
        self._rings: OrderedDict[AccountId, OrderedDict[CampaignId, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._rings)

    def __contains__(self, member: tuple[AccountId, CampaignId]) -> bool:
        account, campaign = member
        return campaign in self._rings.get(account, ())

    def join(self, account: AccountId, campaign: CampaignId) -> None:
        """Take part, behind those who wait already. Joining twice keeps the first place."""
        self._rings.setdefault(account, OrderedDict()).setdefault(campaign, None)

    def leave(self, account: AccountId, campaign: CampaignId) -> None:
        """Take part no more. Leaving twice is nothing."""
        ring = self._rings.get(account)
        if ring is None:
            return
        ring.pop(campaign, None)
        if not ring:
            del self._rings[account]

    def head(self) -> tuple[AccountId, CampaignId] | None:
        """Whose turn it is; None when nobody takes part."""
        for account, ring in self._rings.items():
            return account, next(iter(ring))
        return None

    def served(self, account: AccountId, campaign: CampaignId) -> None:
        """The campaign had its turn: it goes behind its account's others, and its account behind the other accounts."""
        ring = self._rings.get(account)
        if ring is not None and campaign in ring:
            ring.move_to_end(campaign)
            self._rings.move_to_end(account)
