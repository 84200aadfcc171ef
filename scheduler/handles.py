"""From the ids that users follow to the rows behind them, for orders that the engine is given by number."""

from typing import Final

from dialer.core.model import CallId, CampaignId, CampaignStatus, Disposition, WallMs
from scheduler.database import Database


class Handles:
    """Only what belongs to the account is found. Raises `StoreUnavailable` when the disk refuses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def campaign(self, account_id: int, uuid: str) -> tuple[CampaignId, CampaignStatus] | None:
        """The campaign and its status; None when the account has no such campaign."""
        with self._database.read() as connection:
            row = connection.execute(_CAMPAIGN, (uuid, account_id)).fetchone()
        return None if row is None else (CampaignId(row[0]), CampaignStatus(row[1]))

    def campaign_uuid(self, campaign: CampaignId) -> str | None:
        """The public id of a campaign; None for that of a single call, which has none."""
        with self._database.read() as connection:
            row = connection.execute(_CAMPAIGN_UUID, (campaign,)).fetchone()
        return None if row is None else str(row[0])

    def call_uuid(self, call: CallId) -> str:
        """The public id of a call."""
        return self._database.ids.call_uuid(call)

    def call(self, account_id: int, uuid: str) -> tuple[CallId, Disposition | None] | None:
        """The call, and its disposition if it is finished; None when the account has no such call."""
        call = self._database.ids.parse_call(uuid)
        if call is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(_CALL, {"call": call}).fetchone()
        if row is None or row[0] != account_id:
            return None
        return call, None if row[1] is None else Disposition(row[1])

    def reviewed(self, account_id: int, campaign_uuid: str | None) -> list[tuple[CallId, CallId]] | None:
        """First and last call of the campaign, or (None) of each of the account that has calls under review.

        None: the account has no such campaign.
        """
        asked = {"account": account_id, "campaign": campaign_uuid}
        with self._database.read() as connection:
            rows = connection.execute(_REVIEWED if campaign_uuid is None else _RANGE, asked).fetchall()
        if campaign_uuid is not None and not rows:
            return None
        return [(CallId(first), CallId(last)) for first, last in rows]

    def waiting(self, call: CallId) -> WallMs | None:
        """The time of the call's timer; None: it has none."""
        with self._database.read() as connection:
            row = connection.execute("SELECT next_at FROM call WHERE id = ?", (call,)).fetchone()
        return None if row is None else row[0]


_CAMPAIGN: Final = (
    "SELECT id, status FROM campaign WHERE uuid = ? AND account_id = ? AND single = 0 AND status <> 'loading'"
)
_RANGE: Final = """
SELECT first_call, first_call + size - 1 FROM campaign
WHERE uuid = :campaign AND account_id = :account AND single = 0 AND status <> 'loading'"""
_REVIEWED: Final = """
SELECT DISTINCT campaign.first_call, campaign.first_call + size - 1
FROM review JOIN campaign ON campaign.id =
    (SELECT id FROM campaign WHERE first_call <= review.first_call ORDER BY first_call DESC LIMIT 1)
WHERE account_id = :account ORDER BY campaign.first_call"""
_CAMPAIGN_UUID: Final = "SELECT uuid FROM campaign WHERE id = ? AND single = 0"
# A call of a cancelled campaign whose row was never touched is finished with it, unless an attempt is still open.
_CALL: Final = """
SELECT owner.account_id,
       CASE WHEN call.finished_at IS NOT NULL THEN call.disposition
            WHEN owner.status = 'cancelled' AND NOT EXISTS (
                SELECT 1 FROM open_attempt WHERE call_id = call.id) THEN 'cancelled' END
FROM call JOIN (SELECT account_id, status, first_call, size FROM campaign
                WHERE first_call <= :call AND status <> 'loading' ORDER BY first_call DESC LIMIT 1) AS owner
WHERE call.id = :call AND call.id < owner.first_call + owner.size"""
