"""Nobody's backlog starves another: between two turns of an account with work, each other account has a bounded number."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dialer.core.model import AccountId, CampaignId, Trunk
from dialer.core.playbook import Playbook
from dialer.core.turns import Turns
from tests.support.model_dispatch import Rig

members = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)), min_size=1, max_size=30, unique_by=lambda m: m[1])


@given(members)
def test_in_one_round_each_account_has_one_turn_and_each_campaign_one_in_its_accounts_rounds(
    taking_part: list[tuple[int, int]],
) -> None:
    turns = Turns()
    for account, campaign in taking_part:
        turns.join(AccountId(account), CampaignId(campaign))
    accounts = {account for account, _ in taking_part}
    served = []
    for _ in range(len(accounts) * len(taking_part)):
        head = turns.head()
        assert head is not None
        served.append(head)
        turns.served(*head)
    for start in range(0, len(served), len(accounts)):
        assert {account for account, _ in served[start : start + len(accounts)]} == accounts
    for account in accounts:
        own = [campaign for of, campaign in served if of == account]
        campaigns = {campaign for of, campaign in taking_part if of == account}
        assert set(own[: len(campaigns)]) == campaigns


backlogs = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=2, max_size=6)


@given(backlogs, st.sampled_from([1, 2, 5]), st.sampled_from([["main"], ["main", "spare"]]), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_while_two_accounts_have_work_on_a_route_neither_gets_two_turns_in_a_row(
    sizes: list[tuple[int, int]], channels: int, route: list[str], late: int
) -> None:
    rig = Rig([Trunk("main", channels, 50), Trunk("spare", channels, 50)], max_concurrent_calls=100)
    playbook = Playbook(name="any", trunks=route, ring_timeout_seconds=1)
    owner, left, phone = {}, {}, 0
    rig.store.refuse = "not yet"
    rig.turn()
    rig.fault = True
    for account, size in sizes:
        phones = [f"+{phone + n}" for n in range(size)]
        phone += size
        campaign = rig.store.add_campaign(
            size=size, launch_at=rig.clock.wall - 60_000, account=account, playbook=playbook, phones=phones
        )
        rig.submit(campaign)
        owner[campaign.id] = account
        left[account] = left.get(account, 0) + size
    rig.store.refuse = None
    for _ in range(4 * phone):
        rig.advance(0.05 * late + 0.25)
        for leg in list(rig.judge.legs.values()):
            rig.happen(leg, "sent")
            rig.happen(leg, "final 486")
    order = [owner[campaign] for campaign, _ in rig.arm_order]
    assert len(order) == phone
    for turn, account in enumerate(order):
        left[account] -= 1
        waiting = sum(count > 0 for count in left.values())
        if turn + 1 < len(order) and waiting > 1:
            assert order[turn + 1] != account, "an account was served twice while another waited"


def test_a_small_campaign_that_comes_late_is_not_behind_a_large_ones_backlog() -> None:
    rig = Rig([Trunk("main", 2, 50)], max_concurrent_calls=2)
    playbook = Playbook(name="any", trunks=["main"], ring_timeout_seconds=1)

    def submit(account: int, first: int, size: int) -> None:
        phones = [f"+{first + n}" for n in range(size)]
        rig.submit(
            rig.store.add_campaign(
                size=size, launch_at=rig.clock.wall, account=account, playbook=playbook, phones=phones
            )
        )

    def end_all() -> None:
        for leg in list(rig.judge.legs.values()):
            rig.happen(leg, "sent")
            rig.happen(leg, "final 486")
        rig.advance(0.1)

    submit(1, 1000, 500)
    for _ in range(10):
        end_all()
    submit(2, 5000, 3)
    before = len(rig.arm_order)
    for _ in range(5):
        end_all()
    served = [campaign for campaign, _ in rig.arm_order[before:]]
    assert served[:6].count(CampaignId(2)) == 3
