"""What the HTTP edge needs of the rest, as Protocols; the roof gives the parts that keep them.

Methods of the Protocols that are not `async` may touch the database: they are called in a few worker threads, several at a
time, and never on the event loop (but `Intake.spool`, which must not wait). Each takes the account that asks, and acts as if
nothing of other accounts existed.
"""

from asyncio import Queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from prometheus_client import CollectorRegistry

from api.event_log import Webhooks
from api.feed import Feed
from dialer.core.explain import Hold
from dialer.core.intake import Form
from dialer.core.playbook import Machine, Playbook
from dialer.ports import WireMessage

Record = dict[str, Any]
# One page of a list: its items, and the position after which the next page begins. None: there is no next page.
Page = tuple[list[Record], int | str | None]


class Principal(Protocol):
    """Who a valid token stands for."""

    @property
    def account_id(self) -> int:
        """The account's number in the database."""
        ...

    @property
    def account_name(self) -> str:
        """What the account is called."""
        ...

    @property
    def token_id(self) -> int:
        """The token's number."""
        ...

    @property
    def scope(self) -> str:
        """What it may do: one of `api.scopes.SCOPES`."""
        ...


class Accounts(Protocol):
    """Who may ask."""

    def verify(self, token: str) -> Principal | None:
        """Whom the token stands for; None for one that is unknown, expired or revoked. In constant time."""
        ...

    def standing(self, token: int) -> Principal | None:
        """Whom the token of this number stands for now; None once it is expired or revoked."""
        ...


class Views(Protocol):
    """What was accepted and how far it is, as the contract shows it. Ids are UUIDs in canonical form; None: there is none."""

    def campaigns(self, account_id: int, *, status: str | None, limit: int, after: int | None) -> Page:
        """The account's campaigns, newest first, single calls left out."""
        ...

    def campaign(self, account_id: int, uuid: str) -> Record | None:
        """One campaign with its counts."""
        ...

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
        """The campaign's calls in the order of its contacts."""
        ...

    def live_calls(self, account_id: int, *, limit: int, after: int | None) -> Page:
        """The account's calls that are under way, newest first, single ones too."""
        ...

    def under_review(self, account_id: int, campaign_uuid: str | None, *, limit: int, after: int | None) -> Page | None:
        """The calls under review of the campaign (None: of the account), in the order of their acceptance."""
        ...

    def call(self, account_id: int, uuid: str) -> Record | None:
        """One call with its attempts."""
        ...


class Answer(Protocol):
    """What a submitted request came to. `replayed`: it is the stored answer to an earlier request with the same key."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def content(self) -> bytes:
        """The JSON object of the answer, as it goes out."""
        ...

    @property
    def replayed(self) -> bool:
        """Whether `Idempotent-Replayed: true` is due."""
        ...

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the same request may be accepted; None: waiting does not help."""
        ...


class Intake(Protocol):
    """Accepts work. An accepted request is on disk before the answer is returned; a refused one has stored nothing."""

    def spool(self) -> IO[bytes]:
        """An empty file for one body, where `submit` takes it from without a copy. The caller closes it."""
        ...

    async def submit(
        self,
        account_id: int,
        endpoint: Literal["campaign", "call"],
        body: IO[bytes],
        idempotency_key: str | None,
        form: Form = Form(),  # noqa: B008 - frozen
    ) -> Answer:
        """Check and store the request that is in `body` (a file at its start, closed by the caller), written as `form` says.

        All answers, refusals too, come back as `Answer`. Raises `dialer.ports.StoreUnavailable`.
        """
        ...


class Verdict(StrEnum):
    """What became of an order: carried out (now or earlier), nothing to give it to, or too late for it."""

    DONE = "done"
    UNKNOWN = "unknown"
    FINAL = "final"


class Control(Protocol):
    """Orders to the engine. Each is on disk when it returns."""

    async def pause(self, account_id: int, uuid: str) -> Verdict:
        """Start no more attempts of the campaign, until it is resumed. Live calls go on."""
        ...

    async def resume(self, account_id: int, uuid: str) -> Verdict:
        """Let a paused campaign go on; one that is not paused stays as it is."""
        ...

    async def cancel(self, account_id: int, uuid: str) -> Verdict:
        """Finish all calls of the campaign that are not live as `cancelled`. FINAL: it was completed before."""
        ...

    async def cancel_call(self, account_id: int, uuid: str) -> Verdict:
        """Finish a scheduled call as `cancelled`, hang up a live one. FINAL: it had finished in another way."""
        ...

    async def release(self, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        """Let calls under review go on: `calls`, or where there are none all of the campaign's, or (None) of the account's.

        How many did, portion by portion: where it is cut off, the rest stays under review. None: there is no such campaign, or
        one of the calls does not exist.
        """
        ...

    async def cancel_under_review(self, account_id: int, campaign: str | None, calls: Sequence[str]) -> int | None:
        """Finish calls under review as `cancelled`, chosen and counted as in `release`."""
        ...

    async def explain(self, account_id: int, uuid: str) -> Hold | None:
        """The rule that holds the call back now; None: there is no such call."""
        ...


class Playbooks(Protocol):
    """The account's playbooks. Records hold `id`, the playbook's keys, `created_at` and `updated_at`."""

    def create(self, account_id: int, playbook: Playbook) -> Record:
        """Store it and return its record."""
        ...

    def list(self, account_id: int, *, limit: int, after: int | None) -> Page:
        """The account's playbooks, newest first, deleted ones left out."""
        ...

    def get(self, account_id: int, uuid: str) -> Record | None:
        """One playbook; None also for a deleted one."""
        ...

    def update(self, account_id: int, uuid: str, playbook: Playbook) -> Record | None:
        """Put `playbook` in its place. Campaigns that were posted before keep what they were posted with."""
        ...

    def delete(self, account_id: int, uuid: str) -> bool:
        """Whether there was one to delete."""
        ...


class Contacts(Protocol):
    """The account's contacts. Phones are normalized."""

    def list(self, account_id: int, *, phone: str | None, limit: int, after: int | None) -> Page:
        """The account's contacts, newest first."""
        ...

    def get(self, account_id: int, uuid: str) -> Record | None:
        """One contact."""
        ...

    def update(self, account_id: int, uuid: str, fields: Mapping[str, Any]) -> Record | None:
        """Change the given fields; None takes a field away, `custom_fields` merge in the same way."""
        ...

    def erase(self, account_id: int, uuid: str) -> bool:
        """Erase the person's data, in past calls too. Whether there was such a contact."""
        ...


class DoNotCall(Protocol):
    """The account's list of numbers that are never dialed. Phones are normalized."""

    def list(self, account_id: int, *, phone: str | None, limit: int, after: str | None) -> Page:
        """What is on the list, by number: records of `phone` and `added_at`."""
        ...

    def add(self, account_id: int, phones: Sequence[str]) -> int:
        """How many of them were not on the list before."""
        ...

    def remove(self, account_id: int, phone: str) -> bool:
        """Whether it was on the list."""
        ...

    def is_listed(self, account_id: int, phone: str) -> bool:
        """Whether the account may not dial the number: by its own list or by the one for every account."""
        ...


@dataclass(frozen=True, slots=True)
class Events:
    """What /events and /webhook serve from. `allow_private`: whether webhooks may go to addresses of private networks now."""

    feed: Feed
    webhooks: Webhooks
    allow_private: Callable[[], bool]


class Tap(Protocol):
    """SIP messages as they pass."""

    @property
    def messages(self) -> "Queue[WireMessage]":
        """Oldest first. Bounded: what nobody takes is dropped."""
        ...

    def narrow(self, call: str) -> None:
        """From now on only those of this call."""
        ...


# The messages of a call (its id; "": of all), from now on for as long as the block lasts.
Taps = Callable[[str], AbstractContextManager[Tap]]


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything that `create_app` serves from.

    `ready` gives the reasons why work cannot be done now (none: ready), `trunks` a record of each trunk; they and `registry`
    are read on the event loop.
    `machine` is what playbooks are checked against; it may look at the disk.
    `read_phone` normalizes a number and raises ValueError with the reason for one that is none. `body_limit` gives the
    `max_body_bytes` of one request. `recordings` is the folder of the recordings' files. `events` None: there is neither
    /events nor /webhook. `taps` None: there is no /trace.
    """

    accounts: Accounts
    views: Views
    intake: Intake
    control: Control
    playbooks: Playbooks
    contacts: Contacts
    do_not_call: DoNotCall
    ready: Callable[[], list[str]]
    trunks: Callable[[], list[Record]]
    machine: Callable[[], Machine]
    read_phone: Callable[[str], str]
    registry: CollectorRegistry
    body_limit: Callable[[], int]
    recordings: Path
    events: Events | None = None
    taps: Taps | None = None

    @property
    def max_body_bytes(self) -> int:
        """The limit of one request, now."""
        return self.body_limit()
