"""Who is served where tenants have configured more connections than the platform serves."""

from protocols.following import Key, share_out

BIG: list[Key] = [("t_big", number) for number in range(10)]
SMALL: list[Key] = [("t_small", number) for number in range(2)]


def test_a_tenants_surplus_is_its_own() -> None:
    served = share_out([*BIG, *SMALL], limit=6)
    assert served == {*BIG[:4], *SMALL}


def test_all_are_served_while_there_is_room() -> None:
    assert share_out([*BIG, *SMALL], limit=12) == {*BIG, *SMALL}
