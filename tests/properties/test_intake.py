"""The quick way through a body and the exact one agree, and no body whatever is harmful."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dialer.core.intake import CampaignRequest, IntakeRules, Refusal, read_call, read_campaign

RULES = IntakeRules(max_contacts=50)
# With this mark in front the quick way does not take a body, and the exact one ignores it.
EXACT_WAY = b"\xef\xbb\xbf"

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
phones = st.from_regex(r"(\+|00)[1-9][0-9]{6,14}", fullmatch=True) | st.sampled_from(
    ["+34910000000", "+34 910-000.000"]
)
fields = st.fixed_dictionaries(
    {"phone": phones},
    optional={
        "first_name": st.text(max_size=5),
        "timezone": st.sampled_from(["UTC", "Europe/Madrid"]),
        "custom_fields": st.dictionaries(st.text(max_size=3), values, max_size=3),
        "unknown": values,
    },
)
broken = st.fixed_dictionaries(
    {}, optional={"phone": values | phones, "email": values, "timezone": values, "custom_fields": values}
)
bodies = st.fixed_dictionaries(
    {
        "playbook_id": st.just("0e5a6c3e-6b6b-4a6e-9b1e-000000000001") | values,
        "contacts": st.lists(fields | broken | values) | values,
    },
    optional={
        "launch_at": values | st.datetimes().map(str),
        "recall": values | st.lists(st.integers(1, 43_200), max_size=10),
    },
)
good_bodies = st.fixed_dictionaries(
    {
        "playbook_id": st.just("0e5a6c3e-6b6b-4a6e-9b1e-000000000001"),
        "contacts": st.lists(fields, min_size=1, max_size=8),
    }
)


def same(body: bytes) -> CampaignRequest | Refusal:
    quick, exact = read_campaign(body, RULES), read_campaign(EXACT_WAY + body, RULES)
    # As text, because 1 == True == 1.0.
    assert repr(quick) == repr(exact)
    return quick


@given(bodies)
def test_both_ways_through_a_body_agree(body: Any) -> None:
    same(json.dumps(body).encode())
    same(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


@given(good_bodies)
def test_a_request_has_each_phone_once_and_can_be_stored_as_json(body: Any) -> None:
    read = same(json.dumps(body).encode())
    if isinstance(read, Refusal):
        # Only a number that JSON cannot hold, or half of a surrogate pair.
        assert {fault.field for fault in read.faults} <= {
            "custom_fields",
            "first_name",
        } or "not valid JSON" in read.error
        return
    assert 1 <= len(read.contacts) <= read.total_contacts == len(body["contacts"])
    for text in read.contacts.values():
        text.encode()
        fields = json.loads(text, parse_constant=_refuse)
        assert "phone" not in fields


@given(
    good_bodies,
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.binary(max_size=2)), max_size=3),
)
def test_both_ways_agree_about_a_body_that_was_damaged(
    body: Any, ascii_only: bool, damages: list[tuple[int, int, bytes]]
) -> None:
    text = bytearray(json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    for place, lost, instead in damages:
        at = place % len(text)
        text[at : at + lost] = instead
    same(bytes(text))


@given(st.binary(max_size=200) | bodies.map(lambda body: json.dumps(body)[:-1].encode()))
def test_no_bytes_are_harmful(body: bytes) -> None:
    for read in (read_campaign, read_call):
        answer = read(body, RULES)
        if isinstance(answer, Refusal):
            assert answer.status in {400, 413}
            json.dumps(answer.body())
