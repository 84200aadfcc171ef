"""Contacts from files: what is read, what is refused, and where the fault is."""

from pathlib import Path

import pytest
from typer import BadParameter

from dialer.commands.campaigns import recall_minutes
from dialer.commands.contact_files import ContactFile, read_contacts
from dialer.terminal import Refused


def csv(tmp_path: Path, content: str | bytes) -> ContactFile:
    path = tmp_path / "contacts.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_contacts(path)


def json(tmp_path: Path, content: str) -> ContactFile:
    path = tmp_path / "contacts.json"
    path.write_text(content)
    return read_contacts(path)


class TestCsv:
    def test_columns_are_named_by_the_first_row_and_custom_fields_by_their_prefix(self, tmp_path: Path) -> None:
        found = csv(tmp_path, "phone,First Name,custom_fields.Policy No\n+34910000001,Ana,A 1\n+34910000002,,\n")
        assert found.contacts == [
            {"phone": "+34910000001", "first_name": "Ana", "custom_fields": {"Policy No": "A 1"}},
            {"phone": "+34910000002"},
        ]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_comma_semicolon_and_tab_separate(self, tmp_path: Path, delimiter: str) -> None:
        text = "first_name,phone\nAna,+34910000001\n".replace(",", delimiter)
        assert csv(tmp_path, text).contacts == [{"phone": "+34910000001", "first_name": "Ana"}]

    def test_what_spreadsheets_write_is_read(self, tmp_path: Path) -> None:
        text = '\ufeffphone;city\r\n"+34 910 000 001";"A; ""b"""\r\n;;\r\n'.replace(";;", ";")
        assert csv(tmp_path, text).contacts == [{"phone": "+34 910 000 001", "city": 'A; "b"'}]

    @pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;\r", "sep=;;", "\ufeffsep=;"])
    def test_excels_line_that_names_the_separator_is_no_row(self, tmp_path: Path, first: str) -> None:
        found = csv(tmp_path, f"{first}\nphone;city\n1;a,b,c,d\n")
        assert found.contacts == [{"phone": "1", "city": "a,b,c,d"}]
        assert found.place(0) == "line 3"

    def test_lines_are_known_for_faults_that_the_server_finds(self, tmp_path: Path) -> None:
        found = csv(tmp_path, 'phone,city\n\n1,"a\nb"\n\n2,c\n')
        assert [found.place(i) for i in range(2)] == ["line 3", "line 6"]

    def test_an_empty_phone_is_left_to_the_server_to_refuse(self, tmp_path: Path) -> None:
        assert csv(tmp_path, "phone,city\n,Vigo\n").contacts == [{"phone": "", "city": "Vigo"}]

    def test_columns_without_a_name_must_be_empty(self, tmp_path: Path) -> None:
        found = csv(tmp_path, "phone,,city, \n+34910000001,,Vigo,\n,,,\n")
        assert found.contacts == [{"phone": "+34910000001", "city": "Vigo"}]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("phone,,\n1,,\n2,x,\n", "line 3 has a value in a column that the first row does not name"),
            ("phone,policy\n1,2\n", "column 'policy' is no field"),
            ("phone,policy\n1,2\n", "name it custom_fields.policy"),
            ("first_name\nAna\n", "one of them must be phone"),
            ("+34910000001\n", "column '+34910000001' is no field"),
            ("phone,phone\n1,2\n", "'phone' is there twice"),
            ("phone,Phone\n1,2\n", "'phone' is there twice"),
            ("phone,city\n1\n", "line 2 has 1 cells, the first row names 2 columns"),
            ("phone,city\n1,2,3\n", "line 2 has 3 cells"),
            ("phone,city\n1\n2,Vigo\n3,4,5\n", "line 4 has 3 cells"),
            ('phone\n"1\n', "line 2: unexpected end of data"),
            ("phone\n", "holds no contacts"),
            ("", "one of them must be phone"),
            (b"phone,city\n1,\xf1\n", "line 2 is not UTF-8"),
        ],
    )
    def test_faults_are_told_with_their_place(self, tmp_path: Path, text: str | bytes, reason: str) -> None:
        with pytest.raises(Refused) as caught:
            csv(tmp_path, text)
        assert reason in str(caught.value)
        assert "contacts.csv" in str(caught.value)


class TestJson:
    def test_an_array_is_the_contacts(self, tmp_path: Path) -> None:
        found = json(tmp_path, '[{"phone": "1"}]')
        assert (found.contacts, found.request) == ([{"phone": "1"}], {})
        assert found.place(0) == "contact 1"

    def test_an_object_is_a_request(self, tmp_path: Path) -> None:
        found = json(tmp_path, '{"contacts": [{"phone": "1"}], "recall": [5]}')
        assert (found.contacts, found.request) == ([{"phone": "1"}], {"recall": [5]})

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[", "line 1, column 2"),
            ("{}", "must be an array"),
            ('{"contacts": {}}', "must be an array"),
            ("[]", "holds no contacts"),
        ],
    )
    def test_faults_are_told(self, tmp_path: Path, text: str, reason: str) -> None:
        with pytest.raises(Refused, match=reason):
            json(tmp_path, text)


def test_other_files_and_missing_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"must be a \.csv or \.json file"):
        read_contacts(tmp_path / "contacts.xls")
    with pytest.raises(Refused, match="No such file"):
        read_contacts(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30,120", [30, 120]), ("[0.5, 2]", [0.5, 2]), ("", []), ("[]", []), (" 7 ", [7])],
)
def test_recall_lists_are_read_as_people_write_them(text: str, minutes: list[float]) -> None:
    assert recall_minutes(text) == minutes


@pytest.mark.parametrize("text", ["soon", "30;120", "nan", "inf"])
def test_other_recall_lists_are_wrong_usage(text: str) -> None:
    with pytest.raises(BadParameter):
        recall_minutes(text)
