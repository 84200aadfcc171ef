"""Requests of a token: a burst, then an even pace; each token has its own."""

import contextlib
from collections.abc import Callable

import pytest

from api.problems import Problem
from api.rate_limit import RateLimit
from api.scopes import needed


def allowed(limit: RateLimit, token: int, times: int) -> int:
    done = 0
    for _ in range(times):
        with contextlib.suppress(Problem):
            limit.take(token)
            done += 1
    return done


def clock(now: list[float]) -> Callable[[], float]:
    return lambda: now[0]


def test_a_burst_of_two_seconds_worth_then_an_even_pace() -> None:
    now = [100.0]
    limit = RateLimit(5, clock(now))
    assert allowed(limit, 1, 50) == 10
    now[0] += 1
    assert allowed(limit, 1, 50) == 5
    now[0] += 3600
    assert allowed(limit, 1, 50) == 10


def test_one_token_takes_nothing_from_another() -> None:
    limit = RateLimit(1, clock([0.0]))
    assert allowed(limit, 1, 10) == 2
    assert allowed(limit, 2, 10) == 2


def test_retry_after_is_as_long_as_it_takes() -> None:
    limit = RateLimit(0.1, clock([0.0]))
    limit.take(1)
    with pytest.raises(Problem) as refused:
        limit.take(1)
    assert refused.value.headers == {"Retry-After": "10"}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/webhook", "read"),
        ("HEAD", "/campaign", "read"),
        ("POST", "/campaign", "submit"),
        ("POST", "/call/x/cancel", "submit"),
        ("PUT", "/playbook/x", "admin"),
        ("DELETE", "/do-not-call", "admin"),
    ],
)
def test_each_request_asks_for_one_scope(method: str, path: str, scope: str) -> None:
    assert needed(method, path) == scope
