from collections.abc import Iterator
from pathlib import Path

import pytest

from dialer.core.model import AccountId, WallMs
from scheduler.accounts import AccountRefused, Accounts
from scheduler.database import Database
from scheduler.migrations import migrate
from tests.support.clock import EPOCH, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate(tmp_path / "dialer.db")
    return tmp_path / "dialer.db"


@pytest.fixture
def accounts(path: Path, clock: FakeClock) -> Iterator[Accounts]:
    database = Database(path)
    yield Accounts(database, clock)
    database.close()


def test_an_account_is_found_by_name_and_by_uuid(accounts: Accounts) -> None:
    acme, other = accounts.create_account(" Acme "), accounts.create_account("Other")
    assert acme.name == "Acme"
    assert accounts.accounts() == [acme, other]
    assert accounts.find_account("Acme") == acme
    assert accounts.find_account(other.uuid.upper()) == other
    assert accounts.find_account("Nobody") is None


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "Acme"])
def test_a_name_that_cannot_be_is_refused(accounts: Accounts, name: str) -> None:
    accounts.create_account("Acme")
    with pytest.raises(AccountRefused, match="name"):
        accounts.create_account(name)
    assert len(accounts.accounts()) == 1


def test_a_token_stands_for_its_account(accounts: Accounts) -> None:
    acme, other = accounts.create_account("Acme"), accounts.create_account("Other")
    tokens = [accounts.create_token(acme.id), accounts.create_token(other.id)]
    for account, text in zip((acme, other), tokens, strict=True):
        principal = accounts.verify(text)
        assert principal is not None
        assert (principal.account_id, principal.account_uuid, principal.account_name) == (
            account.id,
            account.uuid,
            account.name,
        )


def test_nothing_on_disk_tells_the_token(accounts: Accounts, path: Path) -> None:
    secret = accounts.create_token(accounts.create_account("Acme").id).split("_", 2)[2]
    assert len(secret) == 43
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_what_is_not_a_token_to_the_letter_is_nobodys(accounts: Accounts) -> None:
    token = accounts.create_token(accounts.create_account("Acme").id)
    accounts.create_token(accounts.find_account("Acme").id)  # type: ignore[union-attr]
    prefix, number, secret = token.split("_", 2)
    wrong = ["", secret, token[:-1], token + "A", token.swapcase(), f"{prefix}_2_{secret}", f"{prefix}_99_{secret}"]
    wrong += [f"{prefix}_{'9' * 40}_{secret}", f"{prefix}_-1_{secret}", f"{prefix}_²_{secret}", f"{prefix}_{number}_"]
    wrong += [f"{prefix}_{number}_\ud800"]
    assert [text for text in wrong if accounts.verify(text) is not None] == []
    assert accounts.verify(token) is not None


def test_a_token_is_good_until_it_expires(accounts: Accounts, clock: FakeClock) -> None:
    token = accounts.create_token(accounts.create_account("Acme").id, expires_at=WallMs(EPOCH + 1_000))
    clock.advance(0.999)
    assert accounts.verify(token) is not None
    clock.advance(0.001)
    assert accounts.verify(token) is None


def test_a_revoked_token_is_worth_nothing_and_stays_listed(accounts: Accounts, clock: FakeClock) -> None:
    acme = accounts.create_account("Acme")
    kept, gone = accounts.create_token(acme.id, name="kept"), accounts.create_token(acme.id, name="gone")
    number = accounts.tokens(acme.id)[1].id
    assert accounts.revoke(number)
    clock.advance(60)
    assert accounts.revoke(number)
    assert not accounts.revoke(99)
    assert accounts.verify(gone) is None
    assert accounts.verify(kept) is not None
    assert [(t.name, t.revoked_at) for t in accounts.tokens(acme.id)] == [("kept", None), ("gone", EPOCH)]


def test_a_token_for_nobody_is_refused(accounts: Accounts) -> None:
    with pytest.raises(AccountRefused, match="no such account"):
        accounts.create_token(AccountId(99))
