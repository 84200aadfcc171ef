"""The formats of the OpenAPI document that JSON Schema does not know, as schemathesis makes values of them."""

import itertools

import schemathesis
from hypothesis import strategies as st

_LABELS = itertools.count(1)
_DIGITS = st.text("0123456789", min_size=6, max_size=14)
_SEPARATORS = st.sampled_from(["", " ", "-", ".", " (", ") "])


def register(*, trunks: list[str], audio: list[str]) -> None:
    """Tell schemathesis. `trunks` and `audio` are what the server under test has."""
    phones = st.builds(
        lambda prefix, first, gap, rest: f"{prefix}{first}{gap}{rest}",
        st.sampled_from(["+", "00"]),
        st.sampled_from("123456789"),
        _SEPARATORS,
        _DIGITS,
    )
    minutes = st.lists(st.integers(1, 43_200), max_size=10).map(lambda found: str(found) if found else "")
    times = st.datetimes().filter(lambda at: at.year < 9000).map(lambda at: at.isoformat() + "Z")
    formats = {
        "phone": phones,
        "recall-list": minutes,
        "date-time": times,
        "iana-timezone": st.sampled_from(["Europe/Madrid", "America/New_York", "UTC", "Asia/Kathmandu"]),
        "number-list": st.lists(phones, min_size=1, max_size=5).map("\n".join),
        "trunk": st.sampled_from(trunks),
        "audio-file": st.sampled_from(audio),
        "template": st.sampled_from(["Hello {first_name|friend}", "Your plan is {custom_fields.plan|unknown}", "{{}}"]),
        # No two steps may have the same label, and the one that always exists is the end.
        "label": st.builds(lambda: f"step-{next(_LABELS)}"),
        "target": st.just("end"),
        # Nobody listens on the discard port.
        "webhook-url": st.sampled_from(["http://127.0.0.1:9/", "https://127.0.0.1:9/hook?key=1"]),
        "stream-url": st.just("wss://127.0.0.1:9/"),
        # A cursor comes from an answer; the only one that can be made up is that of the start.
        "cursor": st.just(""),
    }
    for name, strategy in formats.items():
        schemathesis.openapi.format(name, strategy)
