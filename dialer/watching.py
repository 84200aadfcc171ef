"""The operator's page as a part of the service: what it is made of, and what runs beside it."""

import asyncio
import contextlib

import structlog

from api.page.doors import PageRules
from api.page.routes import Page
from api.page.watch import Watch
from config.sections import PageSettings
from dialer.ports import Clock, StoreUnavailable
from dialer.recent import Recent
from scheduler.board import Board
from scheduler.database import Database
from scheduler.minutes import Minutes

log = structlog.get_logger("page")


class Watching:
    """`recent` is to be told what the disk has taken; `page` is what the API serves."""

    def __init__(self, settings: PageSettings, database: Database, clock: Clock) -> None:
        self.recent = Recent()
        self._watch = Watch(Board(database, clock), Minutes(database), self.recent, clock)
        self.page = Page(self._watch, PageRules())
        self.follow(settings)
        self._task: asyncio.Task[None] | None = None

    def follow(self, settings: PageSettings) -> None:
        """Act by these settings from now on."""
        rules = self.page.rules
        rules.show_numbers = settings.show_numbers
        rules.session_seconds = settings.session_hours * 3600
        rules.behind_proxy = settings.behind_proxy

    def start(self) -> None:
        """Begin to keep what attempts come to."""
        self._task = asyncio.create_task(self._watch.run(), name="page")

    def hang_up(self) -> None:
        """The server stops: open pages are let go, so that it need not wait for them."""
        self._watch.closing.set()

    async def stop(self) -> None:
        """Keep what is left, and end."""
        self._watch.closing.set()
        if self._task is not None:
            await self._task
        with contextlib.suppress(StoreUnavailable):
            await self._watch.keep()
