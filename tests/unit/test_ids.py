import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.ids import Life, PublicIds

IDS = PublicIds(bytes(range(16)))
keys = st.integers(0, 2**48 - 1)


@given(keys)
def test_every_call_id_comes_back_from_its_uuid(call: int) -> None:
    assert IDS.parse_call(IDS.call_uuid(call)) == call
    assert IDS.parse_call(IDS.call_uuid(call).upper()) == call


@given(keys)
def test_every_id_is_a_version_8_uuid_of_rfc_9562(call: int) -> None:
    read = uuid.UUID(IDS.call_uuid(call))
    assert read.variant == uuid.RFC_4122
    assert read.hex[12] == "8"


@given(keys, st.integers(0, 127).filter(lambda bit: bit not in {62, 63, 76, 77, 78, 79}))
def test_an_id_with_any_bit_changed_is_forged(call: int, bit: int) -> None:
    changed = uuid.UUID(int=uuid.UUID(IDS.call_uuid(call)).int ^ 1 << bit)
    assert IDS.parse_call(str(changed)) is None


@given(keys)
def test_calls_contacts_and_other_databases_have_ids_of_their_own(number: int) -> None:
    assert IDS.parse_contact(IDS.call_uuid(number)) is None
    assert IDS.parse_call(IDS.contact_uuid(number)) is None
    assert IDS.parse_contact(IDS.contact_uuid(number)) == number
    assert PublicIds(bytes(16)).parse_call(IDS.call_uuid(number)) is None


def test_neighbours_do_not_look_like_neighbours() -> None:
    one, two = (uuid.UUID(IDS.call_uuid(n)).int for n in (1, 2))
    assert 30 < (one ^ two).bit_count() < 98


# A UUID that another program made.
STRANGER = "0f5c1d0e-7a34-4b7e-9d0a-3c1f5e2b8a66"


@pytest.mark.parametrize("text", ["", "7", "x" * 36, str(uuid.UUID(int=0)), STRANGER, f"{{{STRANGER}}}"])
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert IDS.parse_call(text) is None
    assert IDS.parse_contact(text) is None


@pytest.mark.parametrize("number", [-1, 2**48])
def test_a_number_that_does_not_fit_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        IDS.call_uuid(number)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="id_key"):
        PublicIds(b"short")


def test_after_a_restore_old_ids_stay_and_what_the_lost_life_gave_out_is_nobodys() -> None:
    restored = PublicIds(
        bytes(range(16)),
        [Life(b"a" * 16, first_call=100, first_contact=20, first_event=1), Life(b"b" * 16, 150, 20, 9)],
    )
    assert restored.call_uuid(99) == IDS.call_uuid(99)
    assert restored.parse_call(IDS.call_uuid(99)) == 99
    for call in (100, 149, 150, 10_000):
        assert restored.call_uuid(call) != IDS.call_uuid(call)
        assert restored.parse_call(IDS.call_uuid(call)) is None
        assert restored.parse_call(restored.call_uuid(call)) == call
    lost = PublicIds(bytes(range(16)), [Life(b"a" * 16, first_call=100)])
    assert restored.parse_call(lost.call_uuid(149)) == 149
    assert restored.parse_call(lost.call_uuid(150)) is None
    assert restored.parse_contact(IDS.contact_uuid(19)) == 19
    assert restored.parse_contact(IDS.contact_uuid(20)) is None
    # Who was told event 7 in the first life, of which none is left, goes on with all of the second.
    assert restored.parse_event(IDS.event_uuid(7)) == 0
    assert [restored.parse_event(lost.event_uuid(event)) for event in (8, 9, 10)] == [8, 8, 8]
    assert PublicIds(bytes(range(16)), [Life(b"a" * 16, first_event=5)]).parse_event(IDS.event_uuid(4)) == 4


def test_a_call_id_is_not_forged_from_a_later_lifes_number() -> None:
    """Number 5 had its id from the first key: an id of it by the second was never given out."""
    restored = PublicIds(bytes(16), [Life(b"a" * 16, first_call=100)])
    assert restored.parse_call(PublicIds(b"a" * 16).call_uuid(5)) is None
