"""Logins: what a cookie stands for, for how long, and what a form must carry."""

import pytest

from api.page import sessions
from api.page.sessions import Sessions
from tests.support.clock import FakeClock


def logins(clock: FakeClock | None = None) -> Sessions:
    clock = clock or FakeClock()
    return Sessions(lambda: clock.mono)


def test_a_login_is_found_by_its_id_until_its_time_is_over() -> None:
    clock = FakeClock()
    kept = logins(clock)
    made = kept.open(7, 60)
    found = kept.find(made)
    assert found is not None
    assert found.token_id == 7
    clock.advance(59.9)
    assert kept.find(made) is found
    clock.advance(0.1)
    assert kept.find(made) is None
    clock.advance(-60)
    assert kept.find(made) is None, "a clock that is set back brings nobody back"


def test_nobody_is_found_by_another_id_or_after_the_logout() -> None:
    kept = logins()
    made = kept.open(7, 60)
    for other in ("", made[:-1], made + "x", Sessions.new_id(), "\ud83d"):
        assert kept.find(other) is None
    kept.close(Sessions.new_id())
    kept.close(made)
    assert kept.find(made) is None


def test_no_id_is_kept_that_could_be_stolen_from_memory() -> None:
    kept = logins()
    made = kept.open(7, 60)
    assert made not in repr(kept._sessions)
    assert len(made) >= 43


def test_a_forms_key_is_good_for_one_cookie_in_one_life_of_the_server() -> None:
    kept = logins()
    mine, other = kept.open(7, 60), kept.open(7, 60)
    assert kept.is_form_key(mine, kept.form_key(mine))
    for wrong in (kept.form_key(other), "", "x" * 64, "ñ", "\ud83d", logins().form_key(mine), mine):
        assert not kept.is_form_key(mine, wrong)
    assert mine not in kept.form_key(mine)


def test_the_oldest_logins_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_MOST_SESSIONS", 3)
    kept = logins()
    made = [kept.open(number, 60) for number in range(4)]
    assert [kept.find(one) is not None for one in made] == [False, True, True, True]
