"""What can be looked at: for each screen its sections as HTML, which the page is made of and which a stream keeps up to date.

Sections hold nothing of who looks but what `Look` says: those who look at the same get the same bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from api.backend import Backend
from api.offload import in_thread
from api.page.mask import Mask
from api.page.plot import Plot, plot
from api.page.seen import seen_call, seen_trunk, seen_whole_call
from api.page.templates import render
from api.page.watch import DAY_STEP_MINUTES, SELDOM, Record, Watch
from dialer.recent import CPS_WINDOW_MS, MINUTE_MS

CALLS_ON_PAGE = 50
CAMPAIGNS_ON_PAGE = 50
_HOUR, _DAY = 60, 24 * 60
# The screens: those that there is one of, and those of one thing each.
OF_ALL = frozenset({"overview", "campaigns", "live", "trunks"})
OF_ONE = frozenset({"campaign", "call"})


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at, and what of it is shown. `of` names the one thing of a screen that has many; `asked` is the query."""

    account_id: int
    screen: str
    steers: bool
    mask: Mask
    of: str = ""
    asked: frozenset[tuple[str, str]] = frozenset()

    def value(self, name: str) -> str | None:
        """A value of the query; None where it is missing or empty."""
        return next((value for key, value in self.asked if key == name and value), None)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A screen at one instant: its title, its sections by name. `states` are the words worth saying aloud when they change, by
    what they are about; `values` are what the page around the sections shows. `over`: it will not change any more.
    """

    title: str
    sections: Mapping[str, Markup]
    states: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    over: bool = False


class Screens:
    """Draws them. None: there is no such thing, or it is another account's."""

    def __init__(self, backend: Backend, watch: Watch) -> None:
        self._backend = backend
        self._watch = watch
        self._searching = asyncio.Lock()
        self._draw: Mapping[str, Callable[[Look, bool], Awaitable[Drawn | None]]] = {
            "overview": self._overview,
            "campaigns": self._campaigns,
            "live": self._live,
            "trunks": self._trunks,
            "campaign": self._campaign,
            "call": self._call,
        }

    async def draw(self, look: Look, *, again: bool = False) -> Drawn | None:
        """The screen as it is now. `again`: for somebody who has it, so that what cannot have changed may be left out."""
        return await self._draw[look.screen](look, again)

    async def _overview(self, look: Look, _: bool) -> Drawn:
        found = await self._watch.overview(look.account_id)
        under_review = await self._watch.under_review(look.account_id)
        trunks = self._seen_trunks(look)
        hour = _plot_of_hour(found["outcomes"], self._watch.now)
        span = look.value("span")
        bars = hour if span != "day" else _plot_of_day(await self._watch.day(look.account_id), self._watch.now)
        campaigns = [self._seen_campaign(one) for one in found["campaigns"] + found["over"]]
        live = self._seen_live(found["live"], look)
        sections = await _render(
            look,
            state={**self._state(look), "under_review": under_review},
            tiles={
                "live": live,
                "counts": found["counts"],
                "hour": hour,
                "minute": _last_minute(hour, self._watch.now),
            },
            live={"live": live, "whole": False},
            trunks={"trunks": trunks},
            campaigns={"campaigns": campaigns, "counts": found["counts"], "whole": False},
            outcomes={"plot": bars, "span": "day" if span == "day" else "hour"},
            failures={"failures": [{**one, "reason": look.mask.reason(one["reason"])} for one in found["failures"]]},
        )
        return Drawn("Overview", sections, _states(campaigns, trunks))

    async def _live(self, look: Look, _: bool) -> Drawn:
        live = self._seen_live(await self._watch.live(look.account_id), look)
        return Drawn("Live calls", await _render(look, live={"live": live, "whole": True}))

    async def _trunks(self, look: Look, _: bool) -> Drawn:
        trunks = self._seen_trunks(look)
        sections = await _render(look, state=self._state(look), trunks={"trunks": trunks})
        return Drawn("Trunks", sections, _states([], trunks))

    async def _campaigns(self, look: Look, _: bool) -> Drawn:
        status, after = look.value("status"), look.value("after")

        async def read() -> tuple[list[Record], int | None]:
            return await in_thread(
                self._watch.board.campaigns,
                look.account_id,
                status=status,
                limit=CAMPAIGNS_ON_PAGE,
                after=None if after is None else int(after),
            )

        found, position = await self._watch.once(("campaigns", look.account_id, status, after), read)
        campaigns = [self._seen_campaign(one) for one in found]
        sections = await _render(look, campaigns={"campaigns": campaigns, "counts": {}, "whole": True})
        return Drawn(
            "Campaigns", sections, _states(campaigns, []), {"status": status, "after": after, "next": position}
        )

    async def _campaign(self, look: Look, again: bool) -> Drawn | None:
        found = await self._watch.once(
            ("campaign", look.account_id, look.of),
            lambda: in_thread(self._watch.board.campaign, look.account_id, look.of),
        )
        # When its next attempt is due may take a look at every timer: a million of them are 40 ms.
        shown = await self._watch.once(
            ("facts", look.account_id, look.of),
            lambda: in_thread(self._backend.views.campaign, look.account_id, look.of),
            beats=SELDOM,
        )
        if found is None or shown is None:
            return None
        campaign = self._seen_campaign(found)
        values: Record = {"campaign": campaign}
        state, disposition, after = (look.value(name) for name in ("state", "disposition", "after"))
        parts: dict[str, Record] = {"progress": {"campaign": campaign, "facts": shown}}
        # Looking for the few among a million takes long: that is done when it is asked for, and not again each second.
        if not again or (disposition is None and after is None and state in {None, "live"}):
            page = await self._watch.once(
                ("calls", look.account_id, look.of, state, disposition, after),
                lambda: in_thread(
                    self._watch.board.calls,
                    look.account_id,
                    look.of,
                    state=state,
                    disposition=disposition,
                    limit=CALLS_ON_PAGE,
                    after=None if after is None else int(after),
                ),
            )
            if page is None:
                return None
            parts["calls"] = {"calls": [seen_call(call, look.mask) for call in page[0]]}
            values["next"] = page[1]
        over = campaign["status"] in {"completed", "cancelled"} and not campaign["live"]
        sections = await _render(look, **parts)
        return Drawn(campaign["playbook"], sections, _states([campaign], []), values, over)

    async def _call(self, look: Look, _: bool) -> Drawn | None:
        async def read() -> tuple[Record, Any] | None:
            call = await in_thread(self._backend.views.call, look.account_id, look.of)
            hold = await self._backend.control.explain(look.account_id, look.of)
            if call is None or hold is None:
                return None
            if call["campaign_id"] is not None:
                found = await in_thread(self._watch.board.campaign, look.account_id, call["campaign_id"])
                call["campaign"] = "" if found is None else found["playbook"]
            return call, hold

        found = await self._watch.once(("call", look.account_id, look.of), read)
        if found is None:
            return None
        call, hold = found
        seen = seen_whole_call(call, look.mask)
        # Of a call that is finished its last attempt tells more than that it is finished.
        over = seen["state"] == "finished"
        reason = (seen["attempts"][-1]["reason"] if over and seen["attempts"] else "") or look.mask.reason(hold.reason)
        sections = await _render(look, call={"call": seen, "hold": {"reason": reason, "until": hold.until}})
        title = f"Call to {seen['phone'] or 'an erased person'}"
        return Drawn(title, sections, {"Call": seen["state"]}, {"call": seen}, over)

    async def calls_to(self, account_id: int, phone: str, mask: Mask, *, limit: int) -> list[Record]:
        """The calls to a number, newest first. One search at a time: each reads all calls of its account."""
        async with self._searching:
            found = await in_thread(self._watch.board.calls_to, account_id, phone, limit=limit)
        return [seen_call(call, mask) for call in found]

    def _state(self, look: Look) -> Record:
        return {"reasons": [look.mask.reason(reason) for reason in self._backend.ready()], "under_review": 0}

    def _seen_trunks(self, look: Look) -> list[Record]:
        invites, now = self._watch.recent.invites, self._watch.now
        return [
            seen_trunk(trunk, invites.count(trunk["name"], now) * 1000 / CPS_WINDOW_MS, look.mask)
            for trunk in self._backend.trunks()
        ]

    def _seen_campaign(self, campaign: Record) -> Record:
        dispositions = campaign["dispositions"]
        return {
            **campaign,
            "scheduled": campaign["size"] - campaign["live"] - campaign["finished"],
            "reached": dispositions.get("answered", 0) + dispositions.get("machine", 0),
            "pace": self._watch.recent.begun.count(campaign["id"], self._watch.now),
        }

    @staticmethod
    def _seen_live(live: Record, look: Look) -> Record:
        total = live["waiting"] + live["ringing"] + live["talking"]
        return {**live, "total": total, "calls": [seen_call(call, look.mask) for call in live["calls"]]}


def _states(campaigns: list[Record], trunks: list[Record]) -> dict[str, str]:
    return {f"Campaign {one['playbook']}": one["status"] for one in campaigns} | {
        f"Trunk {one['name']}": one["state"] for one in trunks
    }


def _plot_of_hour(outcomes: list[tuple[int, str, int]], now: int) -> Plot:
    return plot(outcomes, since=now // MINUTE_MS - _HOUR + 1, steps=_HOUR, step=1)


def _last_minute(hour: Plot, now: int) -> float:
    """Attempts that ended in the last sixty seconds: this minute's, and of the one before the share that is not over."""
    return hour.bars[-1].total + hour.bars[-2].total * (1 - now % MINUTE_MS / MINUTE_MS)


def _plot_of_day(outcomes: list[tuple[int, str, int]], now: int) -> Plot:
    quarter = now // MINUTE_MS // DAY_STEP_MINUTES * DAY_STEP_MINUTES
    return plot(
        outcomes, since=quarter + DAY_STEP_MINUTES - _DAY, steps=_DAY // DAY_STEP_MINUTES, step=DAY_STEP_MINUTES
    )


async def _render(look: Look, **sections: Mapping[str, Any]) -> dict[str, Markup]:
    """Each section by its template. Between two the loop gets its turn: it has calls to place."""
    drawn = {}
    for name, values in sections.items():
        drawn[name] = render(f"sections/{name}.html", {**values, "look": look})
        await asyncio.sleep(0)
    return drawn
