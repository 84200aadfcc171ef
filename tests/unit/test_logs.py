"""The whole set-up of a process's log, in a process of its own: what structlog and `logging` say, and what is not said."""

import json
import subprocess
import sys
from typing import Any

STORY = """
import logging, sys, warnings
import structlog
from dialer.log_lines import LogStyle
from dialer.logs import configure

configure(LogStyle(form={form!r}, level={level!r}, mask_numbers={mask}))
log = structlog.get_logger("calls")
log.debug("too much")
log.info("attempt ended", call="581c437a", phone="600000001", tried=["+34600000002"])
try:
    raise ValueError("no route to +34600000003")
except ValueError:
    log.exception("failed")
    logging.getLogger("uvicorn.error").exception("in the application")
logging.getLogger("mqtt").error("no subscriber for +34600000004")
logging.getLogger("httpx").info("HTTP Request: POST https://example.com/secret")
logging.getLogger("sip.pool").info("worker is up")
warnings.warn("about +34600000005")
"""


def said(form: str = "json", level: str = "info", *, mask: bool = True) -> str:
    script = STORY.format(form=form, level=level, mask=mask)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
    return done.stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_everything_that_is_said_is_a_line_of_json_without_numbers() -> None:
    text = said()
    told = lines(text)
    assert [line["event"].splitlines()[0][:18] for line in told] == [
        "attempt ended",
        "failed",
        "in the application",
        "no subscriber for ",
        "worker is up",
        "<string>:19: UserW",
    ]
    assert all({"event", "level", "timestamp"} <= line.keys() for line in told)
    assert told[0]["phone"] == "…0001"
    for number in range(1, 6):
        assert f"60000000{number}" not in text
        assert f"…000{number}" in text


def test_numbers_are_shown_where_the_setting_says_so() -> None:
    text = said(mask=False)
    assert lines(text)[0]["phone"] == "600000001"
    assert all(f"60000000{number}" in text for number in range(1, 6))


def test_text_is_masked_too() -> None:
    text = said("text")
    assert "attempt ended" in text
    assert "60000000" not in text


def test_the_level_holds_for_both_and_strangers_never_chat() -> None:
    assert "too much" in said(level="debug")
    quiet = said(level="error")
    assert [line["level"] for line in lines(quiet)] == ["error", "error", "error"]
    assert "example.com" not in said(level="debug")


def test_a_defect_that_ends_the_server_is_in_its_log() -> None:
    script = """
import sys
from config.settings import Settings
from dialer import service

async def fail(self):
    raise KeyError("+34600000006")

service.Service.run = fail
settings = Settings(log={"format": "json"})
sys.exit(service.run(settings, lambda: settings))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    (line,) = lines(done.stderr)
    assert line["event"] == "the server failed: this is a defect"
    assert "KeyError: '+…0006'" in line["exception"]
