"""How amounts are told to people."""


def amount(number: float, one: str, more: str | None = None) -> str:
    """So many of a thing, with a verb where the words bring one; `more` where it is not `one` and an s.

    >>> amount(1, "call"), amount(1200, "call"), amount(0, "campaign is", "campaigns are"), amount(0.5, "time")
    ('1 call', '1,200 calls', '0 campaigns are', '0.5 times')
    """
    return f"{number:,.12g} {one if number == 1 else more or one + 's'}"
