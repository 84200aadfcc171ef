from dialer.core.model import AccountId, CampaignId
from dialer.core.turns import Turns

ANNA, BERT = AccountId(1), AccountId(2)
A1, A2, A3, B1 = (CampaignId(n) for n in (11, 12, 13, 21))


def serve(turns: Turns, times: int) -> list[CampaignId]:
    order = []
    for _ in range(times):
        head = turns.head()
        assert head is not None
        order.append(head[1])
        turns.served(*head)
    return order


def test_accounts_alternate_however_many_campaigns_one_has() -> None:
    turns = Turns()
    for campaign in (A1, A2, A3):
        turns.join(ANNA, campaign)
    turns.join(BERT, B1)
    assert serve(turns, 8) == [A1, B1, A2, B1, A3, B1, A1, B1]


def test_a_newcomer_waits_behind_those_who_wait_already() -> None:
    turns = Turns()
    turns.join(ANNA, A1)
    turns.join(BERT, B1)
    turns.join(ANNA, A2)
    assert serve(turns, 4) == [A1, B1, A2, B1]


def test_joining_again_keeps_the_first_place() -> None:
    turns = Turns()
    turns.join(ANNA, A1)
    turns.join(ANNA, A2)
    turns.join(ANNA, A1)
    assert serve(turns, 2) == [A1, A2]


def test_who_has_left_has_no_turn_and_leaving_twice_is_nothing() -> None:
    turns = Turns()
    turns.join(ANNA, A1)
    turns.join(ANNA, A2)
    turns.leave(ANNA, A1)
    turns.leave(ANNA, A1)
    turns.leave(BERT, B1)
    assert (ANNA, A1) not in turns
    assert serve(turns, 2) == [A2, A2]


def test_nobody_left_means_no_head() -> None:
    turns = Turns()
    turns.join(ANNA, A1)
    turns.leave(ANNA, A1)
    turns.served(ANNA, A1)
    assert turns.head() is None
    assert not turns
