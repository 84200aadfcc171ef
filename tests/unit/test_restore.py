"""Restoring a backup: checked and in one step; nothing of the old is lost; nothing that may have been dialed is dialed."""

import json
import os
import sqlite3 as any_sqlite
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database as SqliteUtils

from dialer.core.changes import (
    AgentArmed,
    AgentMoved,
    AttemptArmed,
    AttemptDialed,
    AttemptEnded,
    CallFinished,
    CallSnoozed,
    CampaignMoved,
    LegStage,
    RecallScheduled,
)
from dialer.core.model import CallId, Campaign, CampaignStatus, Disposition, WallMs
from scheduler import migrations, restore
from scheduler.backup import back_up
from scheduler.connection import connect, transaction
from scheduler.contacts import Contacts
from scheduler.database import Database
from scheduler.migrations import VERSION, DatabaseNotReady, DatabaseTooNew, check
from scheduler.replaced import Carried
from scheduler.restore import NotRestored, Restored
from scheduler.server_lock import ServedAlready, ServerLock, lock_file
from tests.support.clock import EPOCH, FakeClock
from tests.support.fsyncs import watch_fsync
from tests.support.sqlite_world import SqliteWorld

MINUTE = 60_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SqliteWorld]:
    (tmp_path / "data").mkdir()
    world = SqliteWorld(tmp_path / "data" / "dialer.db")
    yield world
    world.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


def put_back(world: SqliteWorld, file: Path, clock: FakeClock) -> Restored:
    """Restore as the command does, with nobody at the database; the world is open again afterwards."""
    world.close()
    try:
        return restore.restore(world.path, file, min_recall_gap_ms=1000, clock=clock)
    finally:
        world.__init__(world.path)  # type: ignore[misc]


def call_of(c: Campaign, position: int) -> CallId:
    return CallId(c.first_call + position)


def arm(c: Campaign, position: int, *, at: int = EPOCH) -> AttemptArmed:
    return AttemptArmed(call_of(c, position), c.id, 1, WallMs(at), WallMs(at), "pbx", "", f"{position}@x")


def busy(c: Campaign, position: int, *, recall_at: int) -> list[AttemptArmed | AttemptEnded | RecallScheduled]:
    call = call_of(c, position)
    end = AttemptEnded(call, c.id, 1, WallMs(EPOCH), Disposition.BUSY, "", 486, 17, "far")
    return [arm(c, position), end, RecallScheduled(call, c.id, 2, WallMs(recall_at))]


def waiting(world: SqliteWorld, c: Campaign) -> dict[int, str]:
    """How each call of the campaign that is not finished stands."""
    found = {}
    timers = {call: due for due, call in world.connection.execute("SELECT due_at, call_id FROM timer")}
    for position in range(c.size):
        record = world.store.call(call_of(c, position))
        timer = timers.get(record.id)
        if record.under_review:
            assert timer is None
            assert position < world.store.campaign(c.id).cursor
            found[position] = "review"
        elif timer is not None:
            found[position] = f"timer {timer - EPOCH}"
        elif not record.finished:
            found[position] = "slot"
    return found


def test_first_attempts_and_recalls_that_were_due_are_under_review_and_the_rest_waits(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    c = world.add_campaign(size=9, launch_at=EPOCH - MINUTE, stagger_ms=MINUTE, scheduled=True, recall_ms=(MINUTE,))
    world.store.apply([*busy(c, 0, recall_at=EPOCH + 3 * MINUTE), *busy(c, 1, recall_at=EPOCH + 3 * MINUTE + 1)])
    world.store.apply([CallSnoozed(call_of(c, 2), c.id, 1, WallMs(EPOCH + MINUTE), "later")])
    world.store.apply([CallFinished(call_of(c, 3), c.id, WallMs(EPOCH), Disposition.CANCELLED, "", attempted=False)])
    back_up(world.path, file, clock=clock)
    clock.advance(180)
    done = put_back(world, file, clock)
    assert (done.taken_at, done.paused, done.under_review) == (EPOCH, 1, 3)
    stamps = world.connection.execute("SELECT value FROM meta WHERE key = 'backup'").fetchall()
    assert stamps == [], "a copy of these files is no backup of then"
    assert waiting(world, c) == {
        0: "review",
        1: f"timer {3 * MINUTE + 1}",
        2: "review",
        4: "review",
        5: "slot",
        6: "slot",
        7: "slot",
        8: "slot",
    }
    assert world.store.campaign(c.id).status is CampaignStatus.PAUSED
    counts = world.counts(c.id)
    assert (counts.scheduled, counts.live, counts.finished) == (8, 0, 1)
    assert check(world.path) == []


def test_a_backlog_that_was_overdue_is_all_under_review(world: SqliteWorld, file: Path, clock: FakeClock) -> None:
    c = world.add_campaign(size=1000, launch_at=EPOCH - MINUTE, stagger_ms=10)
    world.store.apply([arm(c, 0)])
    back_up(world.path, file, clock=clock)
    assert put_back(world, file, clock).under_review == 999
    assert world.connection.execute("SELECT count(*) FROM review").fetchone() == (1,)


@pytest.mark.parametrize(("ladder", "then"), [((), None), ((10 * MINUTE,), "review")])
def test_an_attempt_that_was_open_is_interrupted_and_its_recall_reviewed_whenever_it_is_due(
    world: SqliteWorld, file: Path, clock: FakeClock, ladder: tuple[int, ...], then: str | None
) -> None:
    c = world.add_campaign(size=2, launch_at=EPOCH, recall_ms=ladder, stagger_ms=MINUTE)
    world.store.apply([arm(c, 0), AttemptDialed(call_of(c, 0), c.id, 1, WallMs(EPOCH), "{}")])
    back_up(world.path, file, clock=clock)
    put_back(world, file, clock)
    assert waiting(world, c).get(0) == then
    record = world.store.call(call_of(c, 0))
    assert (record.finished, record.attempts) == (then is None, 1)
    row = world.connection.execute("SELECT disposition, reason FROM attempt").fetchone()
    assert row == ("interrupted", "it was under way when the backup was taken")
    assert world.store.open_attempts() == []
    if then is not None:
        (held,) = world.store.under_review(record.id, record.id, 1)
        assert (held.number, held.due_at) == (2, EPOCH + 10 * MINUTE)


def test_a_leg_to_an_agent_that_was_open_is_interrupted_and_holds_no_channel(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    c = world.add_campaign(size=1, launch_at=EPOCH)
    call = call_of(c, 0)
    begun = AgentArmed(
        call, c.id, 1, 1, WallMs(EPOCH), WallMs(EPOCH + MINUTE), "+34910000009", "pbx", "", "0@x-agent-1"
    )
    world.store.apply([arm(c, 0), AttemptDialed(call, c.id, 1, WallMs(EPOCH), "{}"), begun])
    back_up(world.path, file, clock=clock)
    dialog = json.dumps({"leg": 2})
    world.store.apply([AgentMoved(call, c.id, 1, 1, LegStage.DIALED, WallMs(EPOCH), dialog)])
    done = put_back(world, file, clock)
    assert done.carried is not None
    assert done.carried.dialogs == ("{}", dialog)
    assert world.store.open_agent_legs() == []
    row = world.connection.execute("SELECT disposition, reason FROM agent_leg").fetchone()
    assert row == ("interrupted", "it was under way when the backup was taken")


def test_single_calls_cannot_be_paused_so_they_are_reviewed_whenever_they_are_due(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    tomorrow = world.add_campaign(launch_at=EPOCH + 1440 * MINUTE, scheduled=True, single=True)
    recalled = world.add_campaign(launch_at=EPOCH, recall_ms=(MINUTE,), single=True)
    world.store.apply(busy(recalled, 0, recall_at=EPOCH + 1440 * MINUTE))
    back_up(world.path, file, clock=clock)
    done = put_back(world, file, clock)
    assert (done.paused, done.under_review) == (0, 2)
    assert waiting(world, tomorrow) == waiting(world, recalled) == {0: "review"}
    assert world.store.campaign(tomorrow.id).status is CampaignStatus.SCHEDULED


def test_a_campaign_that_is_over_stays_over_and_an_attempt_of_it_ends_for_good(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    c = world.add_campaign(size=3, launch_at=EPOCH - MINUTE, recall_ms=(MINUTE,))
    world.store.apply([arm(c, 0), *busy(c, 1, recall_at=EPOCH)])
    world.store.apply([CampaignMoved(c.id, WallMs(EPOCH), CampaignStatus.CANCELLED)])
    back_up(world.path, file, clock=clock)
    assert put_back(world, file, clock).under_review == 0
    assert world.store.active_campaigns() == []
    assert world.counts(c.id).outcomes == {"cancelled": 2, "interrupted": 1}


def test_what_was_under_review_in_the_backup_still_is(world: SqliteWorld, file: Path, clock: FakeClock) -> None:
    world.add_campaign(size=4, launch_at=EPOCH, stagger_ms=MINUTE)
    back_up(world.path, file, clock=clock)
    assert put_back(world, file, clock).under_review == 1
    back_up(world.path, file, replace=True, clock=clock)
    clock.advance(60)
    assert put_back(world, file, clock).under_review == 2


def test_a_clock_that_was_set_back_hides_nothing_and_another_machines_may_be_a_minute_off(
    world: SqliteWorld, file: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = world.add_campaign(size=10, launch_at=EPOCH, stagger_ms=MINUTE)
    back_up(world.path, file, clock=clock)
    clock.advance(180)
    clock.step_wall(-2 * MINUTE)
    assert put_back(world, file, clock).under_review == 4, "due while the clock had shown 10:03"

    monkeypatch.setattr(restore, "boot_id", lambda: "another machine")
    clock.advance(1)
    assert put_back(world, file, clock).under_review == 3, "10:01, or 10:02 on the other machine's clock"
    # And its clock may be behind that of the backup.
    back_up(world.path, file, replace=True, clock=clock)
    clock.step_wall(-MINUTE)
    assert put_back(world, file, clock).under_review == 3
    clock.step_wall(-1)
    with pytest.raises(
        NotRestored, match=r"taken at 2025-03-01T10:01:01\.000Z, and this machine's clock shows an earlier"
    ):
        put_back(world, file, clock)
    assert waiting(world, c)[0] == "review", "nothing has changed"


def test_what_a_clock_that_was_ahead_had_called_is_under_review(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    c = world.add_campaign(size=4, launch_at=EPOCH + 60 * MINUTE, stagger_ms=MINUTE, scheduled=True)
    back_up(world.path, file, clock=clock)
    clock.step_wall(61 * MINUTE)
    world.store.apply([arm(c, 0, at=EPOCH + 60 * MINUTE), arm(c, 1, at=EPOCH + 61 * MINUTE)])
    clock.step_wall(-61 * MINUTE)
    put_back(world, file, clock)
    assert waiting(world, c) == {0: "review", 1: "review", 2: "slot", 3: "slot"}


def test_ids_go_on_where_the_backup_was_and_what_was_given_out_since_is_nobodys(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    known = world.add_campaign(launch_at=EPOCH)
    before = world.store.call(known.first_call).uuid
    back_up(world.path, file, clock=clock)
    lost = world.store.call(world.add_campaign(launch_at=EPOCH).first_call)
    put_back(world, file, clock)
    again = world.store.call(world.add_campaign(launch_at=EPOCH).first_call)
    assert world.store.call(known.first_call).uuid == before
    assert again.id == lost.id
    assert again.uuid != lost.uuid


def test_the_replaced_database_is_kept_whole_with_what_only_its_wal_held(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    back_up(world.path, file, clock=clock)
    world.add_campaign(size=1, phones=["+34600000001"])
    world.path.chmod(0o640)
    done = put_back(world, file, clock)
    assert done.kept == world.path.with_name("dialer.db.replaced-20250301T100000Z")
    with any_sqlite.connect(done.kept) as kept:
        assert kept.execute("SELECT phone FROM call").fetchall() == [("+34600000001",)]
    kept.close()
    assert world.connection.execute("SELECT count(*) FROM call").fetchone() == (0,)
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o640
    left = {path.name for path in world.path.parent.iterdir()} - {"dialer.db-wal", "dialer.db-shm"}
    assert left == {"dialer.db", "dialer.db.lock", done.kept.name}


def test_what_protects_people_and_accounts_is_carried_over_from_the_replaced_database(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    world.add_account(1)
    world.forbid("+34600000001")
    for number in (1, 2):
        world.connection.execute(
            "INSERT INTO token (account_id, hash, created_at) VALUES (1, ?, 0)", (bytes([number] * 32),)
        )
    back_up(world.path, file, clock=clock)
    world.forbid("+34600000002")
    world.add_account(2)
    world.connection.execute("INSERT INTO do_not_call VALUES (2, '+34600000003', 0)")
    world.connection.execute("UPDATE token SET revoked_at = 5 WHERE id = 2")
    c = world.add_campaign(size=3, launch_at=EPOCH)
    dialog = json.dumps({"call": 1})
    world.store.apply([arm(c, 0), AttemptDialed(call_of(c, 0), c.id, 1, WallMs(EPOCH), dialog)])
    done = put_back(world, file, clock)
    assert done.carried == Carried(dialogs=(dialog,), lost_campaigns=1, lost_calls=3, numbers=1, tokens=1)
    rows = world.connection.execute("SELECT account_id, phone FROM do_not_call ORDER BY phone").fetchall()
    assert rows == [(0, "+34600000001"), (0, "+34600000002")]
    assert world.connection.execute("SELECT revoked_at FROM token ORDER BY id").fetchall() == [(None,), (5,)]


def test_who_was_erased_since_is_erased_again(world: SqliteWorld, file: Path, clock: FakeClock) -> None:
    """With the data of all of the account's calls to the number, and of no other's."""
    erased, kept = "+34600000001", "+34600000002"
    c = world.add_campaign(size=2, launch_at=EPOCH + MINUTE, phones=[erased, kept])
    again = world.add_campaign(size=2, launch_at=EPOCH + MINUTE, phones=[kept, erased])
    others = world.add_campaign(size=1, launch_at=EPOCH + MINUTE, phones=[erased], account=2)
    for account, phone in ((1, erased), (1, kept), (2, erased)):
        world.connection.execute(
            "INSERT INTO contact (account_id, phone, fields, created_at, updated_at) VALUES (?, ?, '{}', 0, 0)",
            (account, phone),
        )
    back_up(world.path, file, clock=clock)
    database = Database(world.path)
    contacts = Contacts(database, clock)
    (person,), _ = contacts.list(1, phone=erased, limit=1, after=None)
    assert contacts.erase(1, person["id"])
    database.close()
    # Only one of the two campaigns still tells of it: the other was pruned.
    world.connection.execute("DELETE FROM call WHERE id >= ? AND id < ?", (again.first_call, again.first_call + 2))
    world.connection.execute("DELETE FROM campaign WHERE id = ?", (again.id,))
    done = put_back(world, file, clock)
    assert done.carried is not None
    assert done.carried.people == 1
    phones = [phone for (phone,) in world.connection.execute("SELECT phone FROM call ORDER BY id")]
    assert phones == ["", kept, kept, "", erased]
    rows = world.connection.execute("SELECT account_id, phone FROM contact ORDER BY id").fetchall()
    assert rows == [(1, kept), (2, erased)]
    assert world.store.call(call_of(c, 0)).suppressed
    assert world.store.call(others.first_call).phone == erased


def test_from_a_database_of_another_line_nothing_is_taken_for_this_ones(
    world: SqliteWorld, file: Path, clock: FakeClock, tmp_path: Path
) -> None:
    world.add_campaign(size=1, phones=["+34600000001"])
    back_up(world.path, file, clock=clock)
    # The same numbers of accounts, campaigns and calls, for others.
    other = SqliteWorld(tmp_path / "other.db")
    other.connection.execute("INSERT INTO account (id, uuid, name, created_at) VALUES (1, 'another', 'another', 0)")
    other.connection.execute("INSERT INTO do_not_call VALUES (1, '+34600000001', 0)")
    other.add_campaign(size=1, phones=[""])
    other.connection.execute("UPDATE campaign SET uuid = 'another'")
    done = put_back(other, file, clock)
    assert done.carried == Carried(lost_campaigns=1, lost_calls=1)
    record = other.store.call(CallId(1))
    other.close()
    assert (record.phone, record.suppressed) == ("+34600000001", False)


def test_a_database_that_cannot_be_read_is_replaced_and_kept_as_it_is(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    back_up(world.path, file, clock=clock)
    world.add_campaign(size=100)
    wal = world.path.with_name("dialer.db-wal").read_bytes()
    world.close()
    world.path.write_bytes(b"no database" * 1000)
    # A sound one, which SQLite would take for that of whatever has the database's name.
    world.path.with_name("dialer.db-wal").write_bytes(wal)
    done = put_back(world, file, clock)
    assert done.carried is None
    assert done.kept is not None
    assert done.kept.read_bytes() == b"no database" * 1000
    assert done.kept.with_name(f"{done.kept.name}-wal").read_bytes() == wal
    assert check(world.path) == []
    assert world.connection.execute("SELECT count(*) FROM call").fetchone() == (0,)


@pytest.mark.parametrize("root", [True, False])
def test_it_belongs_to_whom_the_replaced_one_belonged_to(
    world: SqliteWorld, file: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    back_up(world.path, file, clock=clock)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(os, "chown", lambda _, owner, group: given.append((owner, group)))
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    owner = world.path.stat()
    put_back(world, file, clock)
    assert given == ([(owner.st_uid, owner.st_gid)] if root else [])


def test_it_is_on_disk_with_its_name_when_that_is_told(
    world: SqliteWorld, file: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(world.path, file, clock=clock)
    synced = watch_fsync(monkeypatch)
    put_back(world, file, clock)
    assert synced == [world.path.stat().st_ino, *[world.path.parent.stat().st_ino] * 2]


def test_where_there_was_no_database_there_is_one_for_its_owner_alone(
    world: SqliteWorld, file: Path, clock: FakeClock, tmp_path: Path
) -> None:
    back_up(world.path, file, clock=clock)
    new = tmp_path / "new.db"
    done = restore.restore(new, file, min_recall_gap_ms=0, clock=clock)
    with pytest.raises(NotRestored, match=rf"database\.path: there is no folder {tmp_path}/nowhere"):
        restore.restore(tmp_path / "nowhere" / "new.db", file, min_recall_gap_ms=0, clock=clock)
    assert (done.kept, done.carried) == (None, None)
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert check(new) == []


def refused(world: SqliteWorld, file: Path, clock: FakeClock, fault: type[Exception], match: str) -> None:
    """The restore is refused, and nothing has changed."""

    def found() -> tuple[int, int, set[str]]:
        (version,) = world.connection.execute("PRAGMA data_version").fetchone()
        names = {path.name for path in world.path.parent.iterdir()}
        return version, world.path.stat().st_ino, names - {"dialer.db.lock"}

    before = found()
    with pytest.raises(fault, match=match):
        restore.restore(world.path, file, min_recall_gap_ms=0, clock=clock)
    assert found() == before


def test_what_is_no_whole_backup_of_a_version_that_is_known_is_refused(
    world: SqliteWorld, file: Path, clock: FakeClock, tmp_path: Path
) -> None:
    refused(world, file, clock, NotRestored, r"backup\.db: no such file")
    refused(world, world.path, clock, NotRestored, "is the database itself")
    refused(world, tmp_path, clock, NotRestored, "no such file")
    file.write_text("no database" * 100)
    refused(world, file, clock, NotRestored, "not a database")
    world.add_campaign(size=4000)
    file.unlink()
    back_up(world.path, file, clock=clock)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(world, file, clock, NotRestored, "damaged")
    file.write_bytes(whole)
    with any_sqlite.connect(file) as connection:
        connection.execute("UPDATE campaign SET finished = 1")
    refused(world, file, clock, NotRestored, r"campaign .* calls finished by its count 1, by themselves 0")
    connection.close()
    file.write_bytes(whole)
    with any_sqlite.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    refused(world, file, clock, DatabaseTooNew, f"schema version {VERSION + 1} is newer")
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    refused(world, file, clock, DatabaseNotReady, "is no database of a dialer")


def test_an_older_backup_is_migrated(world: SqliteWorld, file: Path, clock: FakeClock) -> None:
    old = connect(file, create=True)
    with transaction(old):
        migrations._migrations.apply(SqliteUtils(old, execute_plugins=False), stop_before="m002_events")
        old.execute("PRAGMA user_version = 1")
    # Left as a copy of the files: the WAL holds all of it.
    done = put_back(world, file, clock)
    old.close()
    assert done.migrations[0] == "m002_events"
    assert done.taken_at is None
    assert check(world.path) == []


def test_a_database_that_is_served_is_left_alone(world: SqliteWorld, file: Path, clock: FakeClock) -> None:
    back_up(world.path, file, clock=clock)
    lock = ServerLock(world.path)
    refused(world, file, clock, ServedAlready, f"pid {os.getpid()}")
    lock.release()
    assert lock_file(world.path).exists()
    put_back(world, file, clock)


@pytest.mark.parametrize("step", ["begin_new_life", "carry_over", "_close", "_keep_aside"])
def test_one_that_fails_half_way_leaves_the_database_as_it_was(
    world: SqliteWorld, file: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    back_up(world.path, file, clock=clock)
    world.add_campaign(size=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(restore, step, full)
    refused(world, file, clock, NotRestored, "No space left on device")
    assert world.connection.execute("SELECT count(*) FROM call").fetchone() == (1,)


def test_what_a_restore_that_was_killed_had_begun_goes_with_the_next(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    back_up(world.path, file, clock=clock)
    for name in (".dialer.db.x1y2.restoring", ".dialer.db.x1y2.restoring-wal"):
        world.path.with_name(name).write_text("people")
    others = world.path.with_name(".other.db.x1y2.restoring")
    others.write_text("theirs")
    done = put_back(world, file, clock)
    assert done.kept is not None
    left = {path.name for path in world.path.parent.iterdir() if path.name.startswith(".")}
    assert left == {others.name}


def test_another_program_at_the_database_is_not_cut_off_from_what_it_writes(
    world: SqliteWorld, file: Path, clock: FakeClock
) -> None:
    back_up(world.path, file, clock=clock)
    world.add_campaign(size=1)
    world.connection.execute("BEGIN")
    world.connection.execute("SELECT count(*) FROM call").fetchone()
    refused(world, file, clock, NotRestored, "is in use by another program")
    world.connection.execute("ROLLBACK")
