"""The demo's expectations, worked out from the called party's table."""

import wave
from pathlib import Path

import pytest

from dialer.core.model import Disposition
from dialer.demo import CONTACTS, RECALL_ON, Expected, behaviours, cast, expected_of
from dialer.demo_stage import write_greeting
from sip.lab import BEHAVIOURS
from sip.lab.behaviours import Repertoire


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("01", Expected(Disposition.ANSWERED, 1, 1)),
        ("486", Expected(Disposition.BUSY, 3, 3)),
        ("404", Expected(Disposition.INVALID_NUMBER, 1, 1)),
        # Not in the demo's recall_on.
        ("480", Expected(Disposition.UNREACHABLE, 1, 1)),
        ("11", Expected(Disposition.ANSWERED, 2, 2)),
        ("14", Expected(Disposition.ANSWERED, 3, 3)),
        # A refusing trunk: the technical retry is inside the attempt.
        ("13", Expected(Disposition.ANSWERED, 1, 2)),
        ("503", Expected(Disposition.TRUNK_FAILURE, 1, 4)),
    ],
)
def test_what_a_number_comes_to_follows_from_its_row(ending: str, expected: Expected) -> None:
    row = next(row for row in BEHAVIOURS if row.ending == ending)
    assert expected_of(row, 2, RECALL_ON) == expected


def test_a_trunk_failure_is_recalled_as_unreachable_where_the_playbook_says_so() -> None:
    row = next(row for row in BEHAVIOURS if row.ending == "503")
    assert expected_of(row, 1, ["unreachable"]) == Expected(Disposition.TRUNK_FAILURE, 2, 8)


def test_the_contacts_show_every_row_and_reach_the_row_that_is_meant() -> None:
    parts = cast()
    assert len(parts) == CONTACTS == len({part.phone for part in parts})
    assert {part.behaviour.ending for part in parts} == {row.ending for row in BEHAVIOURS}
    repertoire = Repertoire(behaviours())
    for part in parts:
        assert repertoire.behaviour_for(part.phone) is not None
        assert repertoire.behaviour_for(part.phone).ending == part.behaviour.ending


def test_the_greeting_is_a_second_of_sound_at_the_telephones_rate(tmp_path: Path) -> None:
    write_greeting(tmp_path / "hello.wav")
    with wave.open(str(tmp_path / "hello.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert 7900 <= file.getnframes() <= 8100
        assert any(file.readframes(100))
