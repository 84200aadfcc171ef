"""Over any number of lives of a database, lost and restored from backups at any moment, nobody is called twice unasked."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dialer.core.dispatch import Dispatch, Limits
from dialer.core.effects import Dial, HangUp
from dialer.core.events import Answered, EndedBy, InviteSent, LegEnded
from dialer.core.model import CallId, CampaignStatus, LegId, Trunk, WallMs
from dialer.core.playbook import Playbook
from scheduler.backup import back_up
from scheduler.migrations import check
from scheduler.restore import restore
from tests.support.clock import FakeClock
from tests.support.sqlite_world import SqliteWorld

TRUNKS = [Trunk("pbx", 3, 20)]
PLAYBOOK = Playbook(name="any", trunks=["pbx"], ring_timeout_seconds=30)
GAP_MS = 1000
FIRST, LAST = CallId(1), CallId(1 << 40)


class Lives:
    """The engine's part, small: one commit a turn, and legs that ring out or end as they are told.

    `made` holds every attempt whose INVITE has left, in whatever life, by its Call-ID.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.backup = folder / "dialer.db", folder / "backup.db"
        self.clock = FakeClock()
        self.legs: dict[LegId, Dial] = {}
        self.made: set[str] = set()
        self.released: set[str] = set()
        self.boot()

    # What the engine does

    def boot(self) -> None:
        self.world = SqliteWorld(self.path)
        # What survives a power failure is another test's business.
        self.world.store._connection.execute("PRAGMA synchronous = OFF")
        self.world.connection.execute("PRAGMA synchronous = OFF")
        self.legs.clear()
        now = self.clock.now()
        self.dispatch = Dispatch(TRUNKS, Limits(3, GAP_MS), now)
        for stored in self.world.store.active_campaigns():
            self.dispatch.add(
                stored.campaign,
                now,
                status=stored.status,
                cursor=stored.cursor,
                finished=stored.finished,
                live=stored.live,
                last_first_attempt_at=stored.last_first_attempt_at,
            )
        for opened in self.world.store.open_attempts():
            self.dispatch.recover(opened, self.world.store.call(opened.call), now)
        self.turn()

    def turn(self) -> None:
        now, store = self.clock.now(), self.world.store
        self.dispatch.poll(now)
        for due_at, call in list(store.due_timers(WallMs(now.wall + 10))):
            self.dispatch.due(due_at, call, now)
        while (pick := self.dispatch.pick(now)) is not None:
            self.dispatch.arm(pick, store.call(pick.call), now)
        self.settle()

    def settle(self) -> None:
        self.world.store.apply(self.dispatch.take_changes())
        self.dispatch.stored()
        self.dispatch.poll(self.clock.now())
        for effect in self.dispatch.take_effects():
            match effect:
                case Dial():
                    self.dialed(effect)
                case HangUp(leg):
                    self.end(leg, EndedBy.US, 487)
                case _:
                    pass

    def dialed(self, order: Dial) -> None:
        uuid = order.sip_call_id.rpartition("-")[0]
        assert order.sip_call_id not in self.made or uuid in self.released, "the same attempt in two lives"
        self.made.add(order.sip_call_id)
        self.legs[order.leg] = order
        self.dispatch.on_leg(InviteSent(order.leg, self.clock.wall, "{}"), self.clock.now())

    def end(self, leg: LegId, by: EndedBy, status: int) -> None:
        del self.legs[leg]
        self.dispatch.on_leg(LegEnded(leg, self.clock.wall, by, status), self.clock.now())
        self.settle()

    def wake_at(self) -> float | None:
        now = self.clock.now()
        timer = self.world.store.next_timer()
        times = [self.dispatch.next_wake(now), None if timer is None else now.mono_of(timer) - 0.01]
        return min((at for at in times if at is not None), default=None)

    def active(self) -> list[int]:
        return [stored.campaign.id for stored in self.world.store.active_campaigns()]

    # What happens

    def submit(
        self, size: int, stagger_ms: int, recall_ms: tuple[int, ...], delay_ms: int | None, single: bool
    ) -> None:
        campaign = self.world.add_campaign(
            size=1 if single else size,
            launch_at=self.clock.wall + (delay_ms or 0),
            stagger_ms=stagger_ms,
            recall_ms=recall_ms,
            scheduled=delay_ms is not None,
            playbook=PLAYBOOK,
            single=single,
        )
        self.dispatch.add(campaign, self.clock.now(), status=CampaignStatus.SCHEDULED)
        self.turn()

    def let_time_pass(self, seconds: float, busy: bool) -> None:
        target = self.clock.mono + seconds
        while (at := self.wake_at()) is not None and at <= target:
            self.clock.advance_to(max(at, self.clock.mono) + 1e-6)
            self.turn()
            if busy and self.legs:
                self.end(min(self.legs), EndedBy.FAR, 486)
        self.clock.advance_to(target)

    def end_a_leg(self, which: int, status: int) -> None:
        if not self.legs:
            return
        leg = sorted(self.legs)[which % len(self.legs)]
        if status == 200:
            self.dispatch.on_leg(Answered(leg, self.clock.wall, "{}"), self.clock.now())
            self.settle()
        if leg in self.legs:
            self.end(leg, EndedBy.FAR, status)

    def order(self, which: int, word: str) -> None:
        if campaigns := self.active():
            getattr(self.dispatch, word)(campaigns[which % len(campaigns)], self.clock.now())
            self.settle()
            self.turn()

    def cancel_a_call(self, position: int) -> None:
        calls = self.world.connection.execute("SELECT id FROM call ORDER BY id").fetchall()
        if calls:
            call = CallId(calls[position % len(calls)][0])
            self.dispatch.cancel_call(self.world.store.call(call), self.clock.now())
            self.settle()

    def review(self, most: int, cancel: bool) -> None:
        held = self.world.store.under_review(FIRST, LAST, most)
        if cancel:
            for one in held:
                self.dispatch.cancel_call(self.world.store.call(one.id), self.clock.now())
        else:
            self.released |= {self.world.store.call(one.id).uuid for one in held}
            self.dispatch.release(held)
        self.settle()
        self.turn()

    def crash(self) -> None:
        self.world.close()
        self.boot()

    def back_up(self) -> None:
        back_up(self.path, self.backup, replace=True, clock=self.clock)

    def lose_and_restore(self, set_back_ms: int) -> None:
        self.clock.step_wall(-set_back_ms)
        self.world.close()
        done = restore(self.path, self.backup, min_recall_gap_ms=GAP_MS, clock=self.clock)
        assert done.kept is not None
        done.kept.unlink()
        assert check(self.path) == []
        self.boot()
        (unpaused,) = self.world.connection.execute(
            "SELECT count(*) FROM campaign WHERE single = 0 AND status IN ('running', 'scheduled')"
        ).fetchone()
        assert unpaused == 0, "a campaign that was not paused"

    def resume_all(self) -> None:
        for campaign in range(len(self.active())):
            self.order(campaign, "resume")

    # What holds

    def counts_close(self) -> None:
        rows = self.world.connection.execute("SELECT id, first_call, size, live, finished, status FROM campaign_now")
        for campaign, first, size, live, finished, status in rows.fetchall():
            over, opened = self.world.connection.execute(
                "SELECT count(finished_at), sum(EXISTS (SELECT 1 FROM open_attempt WHERE call_id = call.id))"
                " FROM call WHERE id >= ? AND id < ?",
                (first, first + size),
            ).fetchone()
            assert live == opened
            assert finished == (size - live if status == "cancelled" else over)
            assert sum(self.world.counts(campaign).outcomes.values()) == finished
            reviewed = self.world.store.under_review(CallId(first), CallId(first + size - 1), size)
            assert len(reviewed) <= size - live - finished

    def come_to_an_end(self) -> None:
        """Resumed, all that is not under review comes to its end, and nothing else; released, all the rest does."""
        self.resume_all()
        self.run_out()
        (waiting,) = self.world.connection.execute(
            "SELECT json_group_array(call.id) FROM call JOIN campaign ON campaign.id ="
            " (SELECT id FROM campaign WHERE first_call <= call.id ORDER BY first_call DESC LIMIT 1)"
            " WHERE finished_at IS NULL AND status <> 'cancelled'"
        ).fetchone()
        assert set(json.loads(waiting)) == {one.id for one in self.world.store.under_review(FIRST, LAST, 1 << 30)}
        self.review(1 << 30, cancel=False)
        self.run_out()
        assert self.active() == []
        self.counts_close()

    def run_out(self) -> None:
        """Until nothing is on the wire and nothing wants to be woken."""
        for _ in range(5000):
            if self.legs:
                self.end(min(self.legs), EndedBy.FAR, 486)
                self.turn()
            elif (at := self.wake_at()) is not None:
                self.clock.advance_to(max(at, self.clock.mono) + 1e-6)
                self.turn()
            else:
                return
        raise AssertionError("it never comes to rest")


Act = Callable[[Lives], None]


def act(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Act]:
    return st.tuples(*arguments).map(lambda given: lambda lives: getattr(lives, name)(*given))


time = act("let_time_pass", st.sampled_from([0.01, 0.5, 3.0, 20.0, 100.0]), st.booleans())
numbers = st.integers(0, 30)
acts = st.one_of(
    time,
    time,
    time,
    act("end_a_leg", numbers, st.sampled_from([486, 486, 480, 200, 404])),
    act("order", numbers, st.sampled_from(["pause", "resume", "resume", "cancel"])),
    act("cancel_a_call", numbers),
    act(
        "submit",
        st.integers(1, 12),
        st.sampled_from([0, 100, 1000, 60_000]),
        st.sampled_from([(), (2_000,), (30_000, 120_000)]),
        st.sampled_from([None, 0, 3_000, 90_000]),
        st.booleans(),
    ),
    act("review", st.sampled_from([1, 2, 100]), st.sampled_from([False, False, True])),
    act("crash"),
)
# What happens before a backup and after it, by how much the clock is set back, and whether all is resumed at once.
life = st.tuples(
    st.lists(acts, max_size=5),
    st.lists(st.one_of(time, acts), min_size=1, max_size=6),
    st.sampled_from([0, 0, 0, 5_000]),
    st.booleans(),
)
NO_LIMITS = [HealthCheck.too_slow, HealthCheck.data_too_large]
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
Life = tuple[list[Act], list[Act], int, bool]


def live(size: int, stagger_ms: int, several: list[Life]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lives = Lives(Path(folder))
        lives.submit(size, stagger_ms, (20_000,), None, single=False)
        lives.submit(1, 0, (30_000,), 3_000, single=True)
        for before, after, set_back_ms, hasty in several:
            for do in before:
                do(lives)
            lives.back_up()
            for do in after:
                do(lives)
            lives.counts_close()
            lives.lose_and_restore(set_back_ms)
            lives.counts_close()
            if hasty:
                lives.resume_all()
        lives.come_to_an_end()
        lives.world.close()


a_story = given(st.integers(1, 12), st.sampled_from([0, 100, 1000]), st.lists(life, min_size=1, max_size=3))


@settings(max_examples=30, deadline=None, suppress_health_check=NO_LIMITS, phases=PHASES)
@a_story
def test_nobody_is_called_twice_over_lives_that_were_lost(size: int, stagger_ms: int, several: list[Life]) -> None:
    live(size, stagger_ms, several)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=2000, deadline=None, suppress_health_check=NO_LIMITS, phases=PHASES)
@a_story
def test_nobody_is_called_twice_over_many_lives_that_were_lost(size: int, stagger_ms: int, several: list[Life]) -> None:
    live(size, stagger_ms, several)
