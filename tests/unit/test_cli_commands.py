"""The command line in its own process: what goes to which stream, and how it ends."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dialer.check import Finding, Grade
from dialer.cli import main


@dataclass
class Done:
    """How a command ended, and what it wrote where."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("DIALER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dialer.toml"
    path.write_text(
        f'[database]\npath = "{tmp_path}/d.db"\n[media]\ndirectory = "{tmp_path}"\n[trunks.pbx]\nuri = "sip:127.0.0.1:9"\n'
    )
    return path


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`dialer WORDS` in this process: starting one for each word would take most of the time."""

    def dialer(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["dialer", "--config", str(config), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Done(code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return dialer


def test_the_installed_way_in_ends_with_the_status_of_the_command(config: Path) -> None:
    home = str(Path(__file__).resolve().parents[2])
    for words, code in ((["account", "create", "Acme"], 0), (["account", "create", "Acme"], 1), (["nonsense"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "dialer", "--config", str(config), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONPATH": home},
        )
        assert done.returncode == code, done.stderr
        assert bool(done.stdout) == (code == 0)


def test_account_token_and_playbook_print_their_ids_alone(run: Run, tmp_path: Path) -> None:
    created = run("account", "create", "Acme")
    assert created.returncode == 0
    uuid = created.stdout.strip()
    assert created.stdout == uuid + "\n"
    assert run("account", "list").stdout.split("\t")[:2] == [uuid, "Acme"]

    token = run("token", "create", "--account", "Acme", "--name", "crm", "--expires", "30").stdout
    assert token.startswith("dlr_1_")
    assert token.count("\n") == 1
    listed = run("token", "list", "--account", uuid).stdout
    assert listed.split("\t")[:2] == ["1", "crm"]
    assert listed.endswith("valid\n")
    assert token.strip() not in listed
    assert run("token", "revoke", token.strip()).returncode == 0
    assert run("token", "list", "--account", "Acme").stdout.endswith("revoked\n")

    playbook = {"name": "Hello", "trunks": ["pbx"], "steps": [{"do": "play", "audio": "hello.wav"}]}
    (tmp_path / "hello.wav").touch()
    file = tmp_path / "playbook.json"
    file.write_text(json.dumps(playbook))
    checked = run("playbook", "check", str(file))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "Hello: 1 step, no fault\n")
    made = run("playbook", "create", "--account", "Acme", str(file)).stdout
    file.write_text(json.dumps({**playbook, "name": "New"}))
    assert run("playbook", "update", "--account", "Acme", made.strip(), str(file)).returncode == 0
    assert json.loads(run("playbook", "show", "--account", "Acme", made.strip()).stdout)["name"] == "New"
    assert run("playbook", "list", "--account", "Acme").stdout.split("\t")[:2] == [made.strip(), "New"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("account", "create", " "), "an account's name must have 1 to 200 characters"),
        (("token", "create", "--account", "Nobody"), "there is no account 'Nobody'; `dialer account list` shows them"),
        (("token", "revoke", "7"), "there is no token 7; `dialer token list` shows them"),
        (("playbook", "create", "--account", "x", "none.json"), "none.json: No such file or directory"),
        (("campaign", "list", "--token", "t", "--url", "http://127.0.0.1:9"), "cannot reach http://127.0.0.1:9"),
        (
            ("campaign", "list", "--token", "t", "--url", "nonsense"),
            "nonsense: the address of the API begins with http://",
        ),
    ],
)
def test_a_refusal_is_one_line_on_standard_error_and_ends_with_1(run: Run, words: tuple[str, ...], reason: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    lines = [line for line in done.stderr.splitlines() if "brought up to date" not in line]
    assert len(lines) == 1
    assert lines[0].startswith(reason)


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("token", "create"),
        ("token", "revoke", "x"),
        ("token", "create", "--account", "x", "--expires", "0"),
        ("campaign", "submit", "x.csv", "--playbook", "no-uuid", "--token", "t"),
        ("campaign", "show", "no-uuid", "--token", "t"),
        ("campaign", "list"),
        ("lab", "--port", "70000"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_every_fault_of_a_playbook_is_a_line_with_its_path(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "playbook.json"
    file.write_text('{"trunks": ["nope"], "steps": [{"do": "play", "audio": "no.wav"}, {"do": "dance"}]}')
    done = run("playbook", "create", "--account", "x", str(file))
    assert done.returncode == 1
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["name", "steps.1"]
    file.write_text('{"name": "x", "trunks": ["nope"], "steps": [{"do": "play", "audio": "no.wav"}]}')
    done = run("playbook", "create", "--account", "x", str(file))
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["trunks.0", "steps.0.audio"]


def test_every_fault_of_the_configuration_is_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALER_API__PORT", "x")
    monkeypatch.setenv("DIALER_PACING__STAGGER_SECONDS", "-1")
    done = run("account", "list")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "api.port: must be a whole number (set by DIALER_API__PORT)",
        "pacing.stagger_seconds: must be 0 or more (set by DIALER_PACING__STAGGER_SECONDS)",
    ]


def test_a_file_that_is_no_database_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d.db").write_text("this is no database, but a text that is long enough to be looked at")
    done = run("account", "list")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is not a database" in done.stderr


def test_check_ends_with_1_when_anything_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding(Grade.OK, "database", "fine"), Finding(Grade.WARNING, "media", "none")]

    async def examine(_: object) -> list[Finding]:
        return findings

    monkeypatch.setattr("dialer.check.examine", examine)
    done = run("check")
    assert (done.returncode, done.stdout) == (0, "")
    assert [line[:6] for line in done.stderr.splitlines()] == ["ok    ", "ok    ", "warn  "]
    findings.append(Finding(Grade.FAILED, "trunk pbx", "no answer"))
    done = run("check")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "FAIL  trunk pbx: no answer"
    monkeypatch.setenv("DIALER_API__PORT", "x")
    done = run("check")
    assert done.returncode == 1
    assert done.stderr == "FAIL  configuration: api.port: must be a whole number (set by DIALER_API__PORT)\n"


def test_the_database_is_migrated_and_checked(run: Run, tmp_path: Path) -> None:
    missing = run("db", "check")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert run("db", "migrate").returncode == 0
    assert "up to date already" in run("db", "migrate").stderr
    assert "no fault found" in run("db", "check").stderr


def test_lab_list_prints_the_whole_table(run: Run) -> None:
    from sip.lab import BEHAVIOURS

    lines = run("lab", "--list").stdout.splitlines()
    assert len(lines) == len(BEHAVIOURS)
    assert any(line.startswith("404\t") and line.endswith("\tinvalid_number") for line in lines)


def test_lab_on_a_port_that_is_taken_is_refused(run: Run) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        done = run("lab", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_a_configuration_that_is_not_there_is_refused_by_name(run: Run, config: Path) -> None:
    config.unlink()
    done = run("account", "list")
    assert (done.returncode, done.stderr) == (1, f"{config}: cannot be read: No such file or directory\n")


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_for_who_asks(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("dialer.commands.database.migrations.check", fail)
    done = run("db", "check")
    assert done.returncode == 1
    assert done.stderr == "unexpected ZeroDivisionError: oops (DIALER_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("DIALER_TRACEBACK", "1")
    assert "Traceback" in run("db", "check").stderr


def test_a_do_not_call_list_needs_an_owner_and_names_every_bad_number(run: Run, tmp_path: Path) -> None:
    assert run("do-not-call", "add", "+34600000001").returncode == 2
    done = run("do-not-call", "add", "--everyone", "+34600000001", "x", "y")
    assert done.returncode == 1
    assert "'x'" in done.stderr
    assert "'y'" in done.stderr
    assert run("do-not-call", "export", "--everyone").stdout == "phone,added_at\n"
    assert run("do-not-call", "add", "--everyone", "+34600000001").returncode == 0
    assert run("do-not-call", "remove", "--everyone", "+34600000002").returncode == 1
    assert run("do-not-call", "export", "--everyone").stdout.splitlines()[1].startswith("+34600000001,")


def test_prune_says_what_it_removed_and_needs_a_database(run: Run) -> None:
    assert run("db", "prune").returncode == 1
    run("db", "migrate")
    done = run("db", "prune", "--older-than", "30")
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 campaigns with 0 calls removed" in done.stderr
    assert run("db", "prune", "--older-than", "0").returncode == 2


def test_a_webhook_is_made_listed_and_deleted_and_only_its_secret_goes_to_standard_output(
    run: Run, config: Path
) -> None:
    run("account", "create", "Acme")
    refused = run("webhook", "create", "--account", "Acme", "http://127.0.0.1:9/")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "must begin with https" in refused.stderr
    config.write_text(config.read_text() + "[webhooks]\nallow_private = true\n")
    assert run("webhook", "create", "--account", "Acme", "--event", "call.began", "http://127.0.0.1:9/").returncode == 2
    made = run("webhook", "create", "--account", "Acme", "--event", "call.finished", "http://127.0.0.1:9/")
    assert (made.returncode, made.stdout.startswith("whsec_")) == (0, True)
    webhook = made.stderr.split()[-1]
    listed = run("webhook", "list", "--account", "Acme").stdout
    assert webhook in listed
    assert "call.finished" in listed
    assert "whsec_" not in listed
    assert run("webhook", "delete", "--account", "Acme", webhook).returncode == 0
    assert run("webhook", "delete", "--account", "Acme", webhook).returncode == 1


def test_a_backup_is_told_with_its_size_and_never_written_over_another_unasked(run: Run, tmp_path: Path) -> None:
    run("db", "migrate")
    file = tmp_path / "copy.db"
    done = run("db", "backup", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"{file}: 0.")
    assert "no fault found" in done.stderr
    again = run("db", "backup", str(file))
    assert (again.returncode, again.stderr) == (
        1,
        f"{file} is there already; --force puts the backup in its place\n",
    )
    assert run("db", "backup", "--force", str(file)).returncode == 0
    assert run("db", "backup").returncode == 2


def test_a_restore_tells_what_became_of_both_databases(run: Run, tmp_path: Path) -> None:
    run("db", "migrate")
    run("db", "backup", "copy.db")
    database, file = tmp_path / "d.db", tmp_path / "copy.db"
    assert run("do-not-call", "add", "--everyone", "+34600000001").returncode == 0
    done = run("db", "restore", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    restored, kept, *rest = done.stderr.splitlines()
    assert restored.startswith(f"{database}: restored from {file}, taken at 20")
    assert kept.startswith(f"what was there is kept as {database}.replaced-20")
    assert rest == [
        "0 campaigns are paused, until `dialer campaign resume`",
        "0 calls may have been dialed since the backup: see `dialer review`",
        "carried over from it: 1 number not to be called, 0 revoked tokens, 0 people erased",
    ]
    Path(kept.removeprefix("what was there is kept as ")).unlink()

    database.write_bytes(b"no database" * 1000)
    unreadable = run("db", "restore", str(file)).stderr.splitlines()
    assert unreadable[-1].startswith("it could not be read: ")

    database.unlink()
    assert "kept" not in (alone := run("db", "restore", str(file)).stderr)
    assert "could not be read" not in alone
    nothing = run("db", "restore", str(tmp_path / "none.db"))
    assert (nothing.returncode, nothing.stderr) == (1, f"{tmp_path}/none.db: no such file\n")
