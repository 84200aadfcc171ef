"""Lines of the log: their form, what is masked in them, and a reader that does not read."""

import doctest
import json
import logging
import os
import re
import sys

import pytest

from dialer import log_lines
from dialer.log_lines import Lines, LogStyle, Outlet, masked

PHONE = "+34600000001"


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("sip.call").makeRecord(
        "sip.call", logging.WARNING, "call.py", 1, message, args, None, extra=extra
    )


def test_the_examples_of_the_docstrings_hold() -> None:
    assert doctest.testmod(log_lines).failed == 0


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (f"to {PHONE}.", "to +…0001."),
        (f"<sip:{PHONE}@10.0.0.5:5060;user=phone>", "<sip:+…0001@10.0.0.5:5060;user=phone>"),
        ("sip:0600000001@pbx", "sip:…0001@pbx"),
        ("sips:1001@pbx", "sips:…01@pbx"),
        ("tel:600000001;phone-context=+34", "tel:…0001;phone-context=+34"),
        ('{"phone": "+34600000001"}', '{"phone": "+…0001"}'),
        ("sip:dialer@10.0.0.5", "sip:dialer@10.0.0.5"),
        ("2025-03-01T10:00:00.000+00:00 1740823200000", "2025-03-01T10:00:00.000+00:00 1740823200000"),
        ("581c437a-79d8-88e2-9f45-760345678901", "581c437a-79d8-88e2-9f45-760345678901"),
    ],
)
def test_numbers_are_masked_wherever_they_stand_and_nothing_else_is(written: str, shown: str) -> None:
    assert masked(written) == shown


def test_a_line_is_json_with_what_was_given_beside_the_message() -> None:
    line = Lines(LogStyle("json"), "sip-worker").format(record("hangup: %s", "gone", sip_call_id="a-1"))
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", told.pop("timestamp"))
    assert told == {
        "event": "hangup: gone",
        "logger": "sip.call",
        "process": "sip-worker",
        "pid": os.getpid(),
        "sip_call_id": "a-1",
        "level": "warning",
    }


def test_a_line_is_text_for_people() -> None:
    line = Lines(LogStyle("text")).format(record("hangup", reason="it was over", number="600000001"))
    assert re.fullmatch(r"\S+Z \[warning  \] hangup +logger=sip\.call reason='it was over' number=…0001", line), line


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_no_number_unless_that_is_wanted(form: str) -> None:
    broken = record("a callback failed")
    try:
        int(PHONE + "!")
    except ValueError:
        broken.exc_info = sys.exc_info()
    shown = Lines(LogStyle(form)).format(broken)
    assert "'+…0001!'" in shown
    assert "Traceback" in shown
    assert PHONE in Lines(LogStyle(form, mask_numbers=False)).format(broken)


def test_a_reader_that_does_not_read_stops_nobody_and_is_told_how_much_it_missed() -> None:
    reading, writing = os.pipe()
    try:
        outlet = Outlet(LogStyle("json"), writing)
        for i in range(2000):  # 200 KB where 64 KiB fit
            outlet.write(json.dumps({"event": "line", "number": i, "filling": "x" * 80}) + "\n")
        taken = os.read(reading, 1 << 20).splitlines()
        outlet.write('{"event": "again"}\n')
        dropped, again = (json.loads(line) for line in os.read(reading, 1 << 20).splitlines()[-2:])
        assert again == {"event": "again"}
        assert dropped["event"] == "lines of the log were dropped: nobody took them"
        assert 0 < len(taken) - 1 + dropped["lines"] <= 2000
        assert dropped["level"] == "warning"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_log_that_is_gone_stops_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(LogStyle(), writing)
    outlet.write("into the void\n")
    os.close(writing)
    outlet.write("and again\n")
