"""One server, campaign after campaign, and a disk that begins to fail at a chosen operation of each, then works again."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import httpx

from tests.support.crash_story import CPS, Judgement, Story
from tests.support.dialer_process import eventually
from tests.support.faulty_disk import SYNCS, WRITES
from tests.support.judge import most_in_any_second

ENDINGS: Final = ("02", "486")  # one that answers, and one that is called again
RECALL_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Fault:
    """What the disk does. `torn`: half of the first write gets onto it. `lasts`: until it is healed, or one operation only."""

    error: int
    operations: int
    torn: bool = False
    lasts: bool = True


FAULTS: Final = {
    "full": Fault(errno.ENOSPC, WRITES),
    "full within a write": Fault(errno.ENOSPC, WRITES, torn=True),
    "write": Fault(errno.EIO, WRITES),
    "one write": Fault(errno.EIO, WRITES, lasts=False),
    "sync": Fault(errno.EIO, SYNCS),
    "one sync": Fault(errno.EIO, SYNCS, lasts=False),
}


class FaultSweep:
    """Strikes at one campaign after the other, and judges each as the crash sweep does. The story's server is started."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._processes = self._running()
        self._stored = 0

    def operations(self, kind: int) -> int:
        """How many of these a campaign takes where nothing fails."""
        disk = self._story.disk
        before = disk.writes, disk.syncs
        numbers = self._numbers()
        self._judge(self._accepted(self._post(numbers)), numbers)
        return disk.writes - before[0] if kind == WRITES else disk.syncs - before[1]

    def strike(self, fault: Fault, after: int) -> Judgement:
        """One campaign; the disk fails when so many operations from its POST on have worked."""
        story, numbers = self._story, self._numbers()
        failed = story.disk.failed
        story.disk.fail(fault.error, fault.operations, after=after, faults=0 if fault.lasts else 1, torn=fault.torn)
        answer = self._post(numbers)
        campaign = self._accepted(answer) if answer.status_code == 202 else None
        struck = self._struck(failed, campaign)
        if struck and fault.lasts:
            self._refuses_all(fault, campaign)
        story.disk.heal()
        story.ready()
        if campaign is None:
            assert answer.status_code == 503, answer.text
            assert len(self._campaigns()) == self._stored, "what was refused is stored"
            answer = self._post(numbers)
            assert "Idempotent-Replayed" not in answer.headers
            campaign = self._accepted(answer)
        return self._judge(campaign, numbers)

    def end(self) -> None:
        """What holds over all of it."""
        story = self._story
        assert self._running() == self._processes, "a process has died"
        assert len(self._campaigns()) == self._stored
        assert most_in_any_second([entry.monotonic_at for entry in story.lab.invites()]) <= CPS
        assert "Traceback" not in story.dialer.log.read_text("utf-8")
        story.dialer.run("db", "check")

    def _numbers(self) -> list[str]:
        return [f"+346{self._stored:05d}{n}{ending:0>3}" for n, ending in enumerate(ENDINGS)]

    def _post(self, numbers: Sequence[str]) -> httpx.Response:
        body = {
            "playbook_id": self._story.playbook,
            "contacts": [{"phone": number} for number in numbers],
            "recall": [RECALL_SECONDS / 60],
        }
        return self._story.client.http.post("/campaign", json=body, headers={"Idempotency-Key": numbers[0]})

    def _accepted(self, answer: httpx.Response) -> str:
        assert answer.status_code == 202, answer.text
        self._stored += 1
        return str(answer.json()["campaign_id"])

    def _struck(self, failed: int, campaign: str | None) -> bool:
        """Whether the fault came to pass; else the campaign has ended before."""
        story = self._story

        def look() -> str | None:
            if story.disk.failed > failed:
                return "struck"
            done = campaign is not None and story.client.campaign(campaign)["status"] == "completed"
            return "done" if done else None

        return eventually(look, 30, "the disk has failed or the campaign has ended") == "struck"

    def _refuses_all(self, fault: Fault, campaign: str | None) -> None:
        story = self._story
        reason = story.not_ready().json()["error"]
        assert ("disk is full" if fault.error == errno.ENOSPC else "disk failed") in reason
        refused = [self._post(["+34699000002"])]
        if campaign is not None:
            refused.append(story.client.http.post(f"/campaign/{campaign}/cancel"))
        for answer in refused:
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"]
        # What was on disk already has left by now; then nothing does.
        dialed = len(story.lab.invites())
        eventually(lambda: story.lab.lab.calls_now == 0, 10, "the calls that were out are over")
        assert len(story.lab.invites()) == dialed
        assert story.readiness().status_code == 503

    def _judge(self, campaign: str, numbers: Sequence[str]) -> Judgement:
        story = self._story
        story.client.finished(campaign, 60)
        eventually(lambda: story.lab.lab.calls_now == 0, 10, "nobody is left in a call")
        log = [entry for entry in list(story.lab.lab.log) if entry.number in numbers]
        judgement = Judgement([], story.client.calls(campaign), log, story.client.campaign(campaign))
        judgement.check()
        assert len(judgement.invites) == len(judgement.attempts) == 3
        return judgement

    def _campaigns(self) -> list[dict[str, Any]]:
        pages: list[list[dict[str, Any]]] = []
        cursor: str | None = ""
        while cursor is not None:
            query = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
            page = self._story.client.http.get("/campaign", params=query).json()
            pages.append(page["items"])
            cursor = page["next_cursor"]
        return list(chain.from_iterable(pages))

    def _running(self) -> list[int]:
        return [self._story.dialer.pid, *self._story.dialer.workers()]
