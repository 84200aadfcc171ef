import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.questions import answer_to


def info(kind: str, body: str) -> str:
    return f"INFO sip:a@b SIP/2.0\r\nc: {kind}\r\n\r\n{body}"


@pytest.mark.parametrize(
    ("body", "key"),
    [("5", "5"), ("#\r\n", "#"), (" d ", "D"), ("10", "*"), ("11", "#"), ("15\r\n", "D"), ("07", "7")],
)
def test_a_key_is_a_character_or_the_number_of_its_event(body: str, key: str) -> None:
    assert answer_to(info("application/dtmf", body)) == (200, key)


@pytest.mark.parametrize("body", ["x", "16", "!", "\uff15", "123456789" * 9, "-1"])
def test_what_is_no_key_is_a_bad_request(body: str) -> None:
    assert answer_to(info("Application/DTMF;version=1", body)) == (400, "")


@pytest.mark.parametrize("kind", ["application/dtmf-relay", "application/media_control+xml"])
def test_what_the_stack_understands_it_answers(kind: str) -> None:
    assert answer_to(info(kind, "Signal=5")) == (0, "")


def test_a_question_whether_we_are_there_is_answered_and_what_nobody_understands_is_told_as_such() -> None:
    assert answer_to("OPTIONS sip:a@b SIP/2.0\r\n\r\n") == (200, "")
    assert answer_to("INFO sip:a@b SIP/2.0\r\n\r\n") == (200, "")
    assert answer_to(info("application/hook-flash", "16")) == (415, "")
    assert answer_to(info("", "16")) == (415, "")


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    answer_to(text)
    answer_to(info("application/dtmf", text))
