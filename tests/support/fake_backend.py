"""A backend of dicts for tests of the HTTP edge: it keeps the promises of `api.backend` and remembers what it was given."""

import asyncio
import io
import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from api.backend import Backend, Events, Page, Record, Verdict
from api.feed import Feed, Keeping
from api.metrics import Snapshot, make_registry
from dialer.core.breaker import TrunkState
from dialer.core.explain import Hold, Rule
from dialer.core.intake import Form
from dialer.core.pacing import TrunkView
from dialer.core.phone import PhoneRules, normalize
from dialer.core.playbook import Machine, Playbook
from dialer.tally import Tally
from sip.taps import Taps

TOKEN, OTHER_TOKEN = "t" * 43, "u" * 43
MINE, THEIRS = 1, 2
CAMPAIGN = "11111111-1111-4111-8111-111111111111"
CALL = "22222222-2222-4222-8222-222222222222"
NOBODYS = "99999999-9999-4999-8999-999999999999"
MAX_BODY_BYTES = 4 << 20

PBX = TrunkView("pbx", TrunkState.PROBING, True, 2, 30, 5.0, 2.5, None)


@dataclass
class Who:
    account_id: int
    token_id: int = 7
    scope: str = "admin"
    account_name: str = "Mine"


@dataclass
class FakeAnswer:
    status: int = 202
    body: Mapping[str, Any] = field(default_factory=lambda: {"success": True})
    replayed: bool = False
    retry_after: int | None = None

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()


def page(records: Sequence[Record], limit: int, after: int | None) -> Page:
    """Records by number: the position is the count of those shown."""
    start = after or 0
    shown = list(records[start : start + limit])
    return shown, start + limit if start + limit < len(records) else None


@dataclass
class Fakes:
    """The parts, and what tests set in them."""

    campaigns: dict[int, dict[str, Record]] = field(default_factory=dict)
    calls: dict[int, dict[str, Record]] = field(default_factory=dict)
    stored_playbooks: dict[int, dict[str, Record]] = field(default_factory=dict)
    stored_contacts: dict[int, dict[str, Record]] = field(default_factory=dict)
    numbers: dict[int, set[str]] = field(default_factory=dict)
    submitted: list[tuple[int, str, bytes, str | None]] = field(default_factory=list)
    answer: FakeAnswer = field(default_factory=FakeAnswer)
    fault: Exception | None = None
    hold: tuple[asyncio.Event, asyncio.Event] | None = None
    reasons: list[str] = field(default_factory=list)
    orders: list[tuple[str, int, str]] = field(default_factory=list)
    reviews: list[tuple[str, int, str | None, list[str]]] = field(default_factory=list)
    verdict: Verdict = Verdict.DONE
    asked: dict[str, Any] = field(default_factory=dict)
    recordings: Path = Path("/nonexistent")
    stored_webhooks: dict[int, dict[str, Record]] = field(default_factory=dict)
    most_webhooks: int = 3
    allow_private: bool = True
    taps: Taps = field(default_factory=lambda: Taps(lambda _: None))
    scope: str = "admin"
    revoked: bool = False
    standings: list[int] = field(default_factory=list)

    def backend(self) -> Backend:
        snapshot = Snapshot(
            Tally(Counter(answered=3)),
            live=2,
            talking=1,
            workers=4,
            free_places=30,
            trunks={"pbx": PBX},
            registered={"pbx": True},
        )
        return Backend(
            accounts=_Accounts(self),
            views=_Views(self),
            intake=_Intake(self),
            control=_Control(self),
            playbooks=_Playbooks(self),
            contacts=_Contacts(self),
            do_not_call=_DoNotCall(self),
            ready=lambda: self.reasons,
            trunks=lambda: [{"name": "pbx"}],
            machine=lambda: Machine({"pbx": frozenset({"+34910000000"})}, frozenset({"hello.wav"})),
            read_phone=lambda text: normalize(text, PhoneRules(internal=re.compile("[0-9]{3}"))),
            registry=make_registry(lambda: snapshot),
            body_limit=lambda: MAX_BODY_BYTES,
            recordings=self.recordings,
            taps=self.taps.tap,
            events=Events(Feed(_NoEvents(), Keeping(1000, 1000, 1000)), _Webhooks(self), lambda: self.allow_private),
        )


@dataclass
class _Accounts:
    fakes: Fakes

    def verify(self, token: str) -> Who | None:
        mine = Who(MINE, scope=self.fakes.scope)
        found = {TOKEN: mine, OTHER_TOKEN: Who(THEIRS, 8, account_name="Theirs")}.get(token)
        return None if self.fakes.revoked else found

    def standing(self, token: int) -> Who | None:
        self.fakes.standings.append(token)
        return self.verify({7: TOKEN, 8: OTHER_TOKEN}.get(token, ""))


@dataclass
class _Views:
    fakes: Fakes

    def campaigns(self, account_id: int, *, status: str | None, limit: int, after: int | None) -> Page:
        records = list(self.fakes.campaigns.get(account_id, {}).values())
        return page([r for r in records if status in {None, r["status"]}], limit, after)

    def campaign(self, account_id: int, uuid: str) -> Record | None:
        if self.fakes.fault is not None:
            raise self.fakes.fault
        return self.fakes.campaigns.get(account_id, {}).get(uuid)

    def calls(
        self,
        account_id: int,
        campaign_uuid: str,
        *,
        state: str | None,
        disposition: str | None,
        limit: int,
        after: int | None,
    ) -> Page | None:
        if campaign_uuid not in self.fakes.campaigns.get(account_id, {}):
            return None
        self.fakes.asked = {"state": state, "disposition": disposition, "limit": limit, "after": after}
        return page(list(self.fakes.calls.get(account_id, {}).values()), limit, after)

    def live_calls(self, account_id: int, *, limit: int, after: int | None) -> Page:
        return page(list(self.fakes.calls.get(account_id, {}).values()), limit, after)

    def under_review(self, account_id: int, campaign_uuid: str | None, *, limit: int, after: int | None) -> Page | None:
        if campaign_uuid is not None and campaign_uuid not in self.fakes.campaigns.get(account_id, {}):
            return None
        self.fakes.asked = {"campaign": campaign_uuid, "limit": limit, "after": after}
        return page(list(self.fakes.calls.get(account_id, {}).values()), limit, after)

    def call(self, account_id: int, uuid: str) -> Record | None:
        return self.fakes.calls.get(account_id, {}).get(uuid)


@dataclass
class _Intake:
    fakes: Fakes

    def spool(self) -> IO[bytes]:
        return io.BytesIO()

    async def submit(
        self,
        account_id: int,
        endpoint: Literal["campaign", "call"],
        body: IO[bytes],
        idempotency_key: str | None,
        form: Form = Form(),  # noqa: B008
    ) -> FakeAnswer:
        if self.fakes.fault is not None:
            raise self.fakes.fault
        if self.fakes.hold is not None:
            begun, release = self.fakes.hold
            begun.set()
            await release.wait()
        self.fakes.submitted.append((account_id, endpoint, body.read(), idempotency_key))
        return self.fakes.answer


@dataclass
class _Control:
    fakes: Fakes

    async def pause(self, account_id: int, uuid: str) -> Verdict:
        return self._order("pause", account_id, uuid)

    async def resume(self, account_id: int, uuid: str) -> Verdict:
        return self._order("resume", account_id, uuid)

    async def cancel(self, account_id: int, uuid: str) -> Verdict:
        return self._order("cancel", account_id, uuid)

    async def cancel_call(self, account_id: int, uuid: str) -> Verdict:
        if uuid not in self.fakes.calls.get(account_id, {}):
            return Verdict.UNKNOWN
        self.fakes.orders.append(("cancel_call", account_id, uuid))
        return self.fakes.verdict

    async def release(self, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        return self._review("release", account_id, campaign, calls)

    async def cancel_under_review(self, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        return self._review("cancel_under_review", account_id, campaign, calls)

    def _review(self, word: str, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        known = self.fakes.calls.get(account_id, {})
        if campaign is not None and campaign not in self.fakes.campaigns.get(account_id, {}):
            return None
        if not set(calls) <= set(known):
            return None
        self.fakes.reviews.append((word, account_id, campaign, list(calls)))
        return len(calls) or len(known)

    async def explain(self, account_id: int, uuid: str) -> Hold | None:
        return Hold(Rule.PAUSED, "paused") if uuid in self.fakes.calls.get(account_id, {}) else None

    def _order(self, word: str, account_id: int, uuid: str) -> Verdict:
        if uuid not in self.fakes.campaigns.get(account_id, {}):
            return Verdict.UNKNOWN
        self.fakes.orders.append((word, account_id, uuid))
        return self.fakes.verdict


@dataclass
class _Playbooks:
    fakes: Fakes

    def create(self, account_id: int, playbook: Playbook) -> Record:
        record = {"id": str(uuid.uuid4()), **playbook.model_dump()}
        self.fakes.stored_playbooks.setdefault(account_id, {})[record["id"]] = record
        return record

    def list(self, account_id: int, *, limit: int, after: int | None) -> Page:
        return page(list(self.fakes.stored_playbooks.get(account_id, {}).values()), limit, after)

    def get(self, account_id: int, uuid: str) -> Record | None:
        return self.fakes.stored_playbooks.get(account_id, {}).get(uuid)

    def update(self, account_id: int, uuid: str, playbook: Playbook) -> Record | None:
        mine = self.fakes.stored_playbooks.get(account_id, {})
        if uuid not in mine:
            return None
        mine[uuid] = {"id": uuid, **playbook.model_dump()}
        return mine[uuid]

    def delete(self, account_id: int, uuid: str) -> bool:
        return self.fakes.stored_playbooks.get(account_id, {}).pop(uuid, None) is not None


@dataclass
class _Contacts:
    fakes: Fakes

    def list(self, account_id: int, *, phone: str | None, limit: int, after: int | None) -> Page:
        records = list(self.fakes.stored_contacts.get(account_id, {}).values())
        return page([r for r in records if phone in {None, r["phone"]}], limit, after)

    def get(self, account_id: int, uuid: str) -> Record | None:
        return self.fakes.stored_contacts.get(account_id, {}).get(uuid)

    def update(self, account_id: int, uuid: str, fields: Mapping[str, Any]) -> Record | None:
        record = self.get(account_id, uuid)
        if record is not None:
            record.update({name: value for name, value in fields.items() if value is not None})
        return record

    def erase(self, account_id: int, uuid: str) -> bool:
        return self.fakes.stored_contacts.get(account_id, {}).pop(uuid, None) is not None


@dataclass
class _DoNotCall:
    fakes: Fakes

    def list(self, account_id: int, *, phone: str | None, limit: int, after: str | None) -> Page:
        mine = sorted(n for n in self.fakes.numbers.get(account_id, set()) if phone in {None, n})
        rest = [number for number in mine if after is None or number > after]
        return [{"phone": number} for number in rest[:limit]], rest[limit - 1] if len(rest) > limit else None

    def add(self, account_id: int, phones: Sequence[str]) -> int:
        mine = self.fakes.numbers.setdefault(account_id, set())
        before = len(mine)
        mine.update(phones)
        return len(mine) - before

    def remove(self, account_id: int, phone: str) -> bool:
        mine = self.fakes.numbers.get(account_id, set())
        there = phone in mine
        mine.discard(phone)
        return there

    def is_listed(self, account_id: int, phone: str) -> bool:
        return phone in self.fakes.numbers.get(account_id, set())


@dataclass
class _Webhooks:
    fakes: Fakes

    def create(self, account_id: int, url: str, types: Sequence[str]) -> Record | None:
        mine = self.fakes.stored_webhooks.setdefault(account_id, {})
        if len(mine) >= self.fakes.most_webhooks:
            return None
        record = {"id": str(uuid.uuid4()), "url": url, "events": list(types)}
        mine[record["id"]] = record
        return {**record, "secret": "whsec_x"}

    def get(self, account_id: int, webhook: str) -> Record | None:
        return self.fakes.stored_webhooks.get(account_id, {}).get(webhook)

    def delete(self, account_id: int, webhook: str) -> bool:
        return self.fakes.stored_webhooks.get(account_id, {}).pop(webhook, None) is not None

    def list(self, account_id: int) -> Any:
        return list(self.fakes.stored_webhooks.get(account_id, {}).values())

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the HTTP edge delivers nothing: {name}")


class _NoEvents:
    """An outbox in which nothing ever happens."""

    def position_of(self, event_id: str) -> int | None:
        return None

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody listens here: {name}")
