"""Settings: defaults, bounds, sources, and faults that name their key, all at once."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from config import settings
from config.settings import InvalidSettings, Settings, find_file, load
from dialer.core.model import Disposition
from dialer.machine import agent_rules, machine_of, trunk_limits, trunk_profile
from sip.trunk import TrunkProfile

Read = Callable[[str], Settings]
Faults = Callable[[str], list[str]]

TRUNK = '[trunks.pbx]\nuri = "sip:10.0.0.5"\n'
DOCUMENTED = Path(settings.__file__).with_name("dialer.toml")

# The example of the contract, whole.
EXAMPLE = """
[database]
path = "/var/lib/dialer/dialer.db"
[api]
host = "127.0.0.1"
port = 8080
max_contacts = 100000
max_body_bytes = 67108864
[pacing]
max_concurrent_calls = 32
stagger_seconds = 0.2
min_recall_gap_seconds = 60
[sip]
bind_host = "0.0.0.0"
[trunks.pbx]
uri = "sip:10.0.0.5:5060"
username = ""
password = ""
register = false
caller_id = "+34910000000"
max_concurrent_calls = 30
calls_per_second = 5
[mqtt]
url = "mqtt://127.0.0.1:1883"
topic_prefix = "dialer/v1"
[media]
directory = "/var/lib/dialer/media"
[speech]
command = "espeak-ng -v {voice} -w {output} -f {input}"
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith("DIALER_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def load_text(text: str) -> Settings:
        path = tmp_path / "given.toml"
        path.write_text(text)
        return load(path)

    return load_text


@pytest.fixture
def faults(read: Read) -> Faults:
    def of(text: str) -> list[str]:
        with pytest.raises(InvalidSettings) as caught:
            read(text)
        return caught.value.faults

    return of


def test_the_example_of_the_contract_loads_to_what_it_says(read: Read) -> None:
    got = read(EXAMPLE)
    assert got.database.path == Path("/var/lib/dialer/dialer.db")
    assert (got.api.host, got.api.port, got.api.max_contacts, got.api.max_body_bytes) == (
        "127.0.0.1",
        8080,
        100_000,
        67_108_864,
    )
    assert (got.pacing.max_concurrent_calls, got.pacing.stagger_seconds, got.pacing.min_recall_gap_seconds) == (
        32,
        0.2,
        60,
    )
    trunk = got.trunks["pbx"]
    assert (trunk.host, trunk.port, trunk.transport) == ("10.0.0.5", 5060, "udp")
    assert (trunk.max_concurrent_calls, trunk.calls_per_second, trunk.caller_id) == (30, 5, "+34910000000")
    assert got.mqtt is not None
    assert got.mqtt.topic_prefix == "dialer/v1"
    assert got.speech is not None


def test_the_defaults_are_those_of_the_contract(read: Read) -> None:
    assert read(EXAMPLE).model_dump(exclude={"trunks", "mqtt", "speech"}) == read("").model_dump(
        exclude={"trunks", "mqtt", "speech"}
    )
    assert read("").mqtt is None
    assert read("").speech is None


def test_the_shipped_file_shows_every_setting_with_its_default(read: Read) -> None:
    shown = DOCUMENTED.read_text()
    assert read(shown).model_dump(exclude={"trunks"}) == Settings().model_dump(exclude={"trunks"})

    everything = re.sub(r"^# (?=\[|[a-z_]+ = )", "", shown, flags=re.MULTILINE)
    tables = tomllib.loads(everything)
    models = settings._SECTIONS
    assert set(tables) == set(Settings.model_fields) == set(models)
    for name, model in models.items():
        keys = {field.alias or key for key, field in model.model_fields.items()}
        assert set(tables[name]["pbx"] if name == "trunks" else tables[name]) == keys
    # All of it together is a configuration too, but for the files that are not there.
    without_file = re.sub(r"^(password|secret|ca)_file.*$", "", everything, flags=re.MULTILINE)
    assert read(without_file).phone.default_region == "ES"


def test_every_fault_is_listed_by_key_and_unknown_keys_are_faults(faults: Faults) -> None:
    assert faults(
        """
        [api]
        prot = 1
        port = "8080"
        [pacing]
        max_concurrent_calls = 0
        stagger_seconds = nan
        drain_seconds = true
        [trunks.pbx]
        uri = "sip:someone@10.0.0.5"
        calls_per_second = 0
        register = true
        [trunks.PBX]
        uri = "sip:10.0.0.6"
        [mqtt]
        [bogus]
        """
    ) == [
        "api.port: must be a whole number",
        "api.prot: no such key; did you mean port?",
        "pacing.max_concurrent_calls: must be 1 or more",
        "pacing.stagger_seconds: must be a finite number",
        "pacing.drain_seconds: must be a number",
        "trunks.pbx.uri: must look like sip:HOST, sip:HOST:PORT or sip:HOST:PORT;transport=tcp (udp, tcp or tls)",
        "trunks.pbx.register: needs username",
        "trunks.pbx.calls_per_second: must be greater than 0",
        "trunks.PBX: a trunk's name is lower-case letters and digits, joined by single - or _, 32 at most",
        "mqtt.url: is required",
        (
            "bogus: no such key (known: api, backup, database, events, limits, log, media, mqtt, pacing, page, phone, sip, "
            "speech, stream, trunks, webhooks)"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("api = 3", "api: must be a section"),
        ("[database]\npath = 3", "database.path: must be text"),
        ('[database]\npath = ""', "database.path: must name a file"),
        ('[api]\nhost = "a b"', "api.host: must be a name or an address, without a port"),
        ("[api]\nport = 65536", "api.port: must be 65535 or less"),
        ("[api]\nport = 1.5", "api.port: must be a whole number"),
        ("[api]\nmax_contacts = 0", "api.max_contacts: must be 1 or more"),
        ("[api]\nmax_body_bytes = 1", "api.max_body_bytes: must be 1024 or more"),
        ("[pacing]\nstagger_seconds = -0.1", "pacing.stagger_seconds: must be 0 or more"),
        (
            '[sip]\nbind_host = "example.org"',
            "sip.bind_host: must be an IP address of this machine, or 0.0.0.0 for all",
        ),
        ("[sip]\nrtp_port_min = 4000", "sip: rtp_port_min and rtp_port_max must be given together"),
        (
            "[sip]\nrtp_port_min = 4000\nrtp_port_max = 4002",
            "sip.rtp_port_max: must be 4003 or more: a call takes 4 ports from rtp_port_min (4000) on",
        ),
        ("[sip]\nworkers = 0", "sip.workers: must be 1 or more"),
        ("[trunks.pbx]", "trunks.pbx.uri: is required"),
        (TRUNK + 'register = "yes"', "trunks.pbx.register: must be true or false"),
        (TRUNK + 'username = "a b"', 'trunks.pbx.username: must be printable ASCII without spaces, " or \\'),
        (
            TRUNK + 'username = "me@home"',
            "trunks.pbx.caller_id: is required, because the username 'me@home' cannot stand in a From header",
        ),
        (TRUNK + 'password = "a\\r\\nVia: x"', "trunks.pbx.password: must not hold control characters"),
        (
            TRUNK + 'caller_id = "Bob"',
            "trunks.pbx.caller_id: must be 1 to 20 digits, * or #, with or without a leading +",
        ),
        (
            TRUNK + 'allowed_caller_ids = ["+34910000000", ""]',
            "trunks.pbx.allowed_caller_ids.1: must be 1 to 20 digits, * or #, with or without a leading +",
        ),
        (
            TRUNK + 'password_file = "/no/such"',
            "trunks.pbx.password_file: cannot read /no/such: No such file or directory",
        ),
        ('[phone]\ninternal_pattern = "("', "phone.internal_pattern: is not a regular expression"),
        (
            '[phone]\ndefault_region = "XX"',
            "phone.default_region: knows no region 'XX': use a country's two letters, as ES",
        ),
        ('[mqtt]\nurl = "http://x"', "mqtt.url: must look like mqtt://HOST:PORT or mqtts://HOST:PORT"),
        ('[mqtt]\nurl = "mqtt://x:99999"', "mqtt.url: must look like mqtt://HOST:PORT or mqtts://HOST:PORT"),
        ('[mqtt]\nurl = "mqtt://a@x"\nusername = "b"', "mqtt.username: the url names a user already"),
        ('[mqtt]\nurl = "mqtts://x"\nca_file = "/none"', "mqtt.ca_file: cannot read /none: No such file or directory"),
        (
            f'[mqtt]\nurl = "mqtts://x"\nca_file = "{__file__}"',
            f"mqtt.ca_file: {__file__} holds no certificates in PEM form",
        ),
        ("[events]\nstream_minutes = 0", "events.stream_minutes: must be greater than 0"),
        ("[events]\noutbox_hours = 721", "events.outbox_hours: must be 720 or less"),
        ("[events]\nmax_events = 999", "events.max_events: must be 1000 or more"),
        ("[backup]\nkeep = 3", "backup.directory: is required"),
        ('[backup]\ndirectory = "/b"\ninterval_hours = 0', "backup.interval_hours: must be greater than 0"),
        ('[backup]\ndirectory = "/b"\nkeep = 0', "backup.keep: must be 1 or more"),
        ('[webhooks]\nallow_private = "yes"', "webhooks.allow_private: must be true or false"),
        (
            '[mqtt]\nurl = "mqtt://x"\ntopic_prefix = "a/#"',
            "mqtt.topic_prefix: must be words joined by /, without +, # or space",
        ),
        (
            '[speech]\ncommand = "espeak {input}"',
            "speech.command: must hold {input} and {output}, and may hold {voice}",
        ),
        ('[speech]\ncommand = "espeak {input"', "speech.command: cannot be split into words"),
        ('[log]\nlevel = "loud"', "log.level: must be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_a_bad_value_is_refused_by_its_key(faults: Faults, text: str, fault: str) -> None:
    found = faults(text)
    assert len(found) == 1
    assert found[0].startswith(fault)


def test_a_file_that_is_not_toml_is_named_with_the_place(faults: Faults) -> None:
    [fault] = faults("[api\nport=1")
    assert "given.toml: " in fault
    assert "line 1" in fault


@pytest.mark.parametrize(
    ("text", "host", "port", "tls", "credentials"),
    [
        ('url = "mqtt://broker"', "broker", 1883, False, (None, None)),
        ('url = "mqtts://broker"', "broker", 8883, True, (None, None)),
        ('url = "mqtt://me:p%40ss@[::1]:99"', "::1", 99, False, ("me", "p@ss")),
        ('url = "mqtt://broker"\nusername = "me"\npassword = "x"', "broker", 1883, False, ("me", "x")),
    ],
)
def test_a_broker_is_taken_from_its_url_and_keys(
    read: Read, text: str, host: str, port: int, tls: bool, credentials: tuple[str | None, str | None]
) -> None:
    mqtt = read(f"[mqtt]\n{text}").mqtt
    assert mqtt is not None
    assert (mqtt.host, mqtt.port, mqtt.tls, mqtt.credentials) == (host, port, tls, credentials)


def test_the_brokers_password_may_come_from_a_file_or_a_systemd_credential(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from file\n")
    (tmp_path / "mqtt.password").write_text("from systemd\n")
    given = read(f'[mqtt]\nurl = "mqtt://x"\nusername = "me"\npassword_file = "{tmp_path}/secret"').mqtt
    assert given is not None
    assert given.credentials == ("me", "from file")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    given = read('[mqtt]\nurl = "mqtt://x"\nusername = "me"').mqtt
    assert given is not None
    assert given.credentials == ("me", "from systemd")


def test_the_secret_of_streams_may_come_from_a_file_or_a_systemd_credential(
    read: Read, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from file\n")
    (tmp_path / "stream.secret").write_text("from systemd\n")
    from_file = f'[stream]\nsecret_file = "{tmp_path}/secret"'
    assert read("").stream.secret.get_secret_value() == ""
    assert read('[stream]\nsecret = "plain"').stream.secret.get_secret_value() == "plain"
    assert read(from_file).stream.secret.get_secret_value() == "from file"
    assert faults(from_file + '\nsecret = "plain"') == ["stream.secret_file: give secret or secret_file, not both"]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read("").stream.secret.get_secret_value() == "from systemd"


def test_the_secret_of_questions_may_come_from_a_file_or_a_systemd_credential_and_has_the_form_of_standard_webhooks(
    read: Read, faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, filed, given = (f"whsec_{letter * 32}" for letter in "ABC")
    (tmp_path / "secret").write_text(f"{filed}\n")
    (tmp_path / "webhooks.secret").write_text(given)
    from_file = f'[webhooks]\nsecret_file = "{tmp_path}/secret"'
    assert not machine_of(read("")).asks
    assert read(f'[webhooks]\nsecret = "{plain}"').webhooks.secret.get_secret_value() == plain
    assert read(from_file).webhooks.secret.get_secret_value() == filed
    assert machine_of(read(from_file)).asks
    assert faults(f'{from_file}\nsecret = "{plain}"') == ["webhooks.secret_file: give secret or secret_file, not both"]
    form = "webhooks.secret: must be whsec_ and the base64 of 24 to 64 random bytes"
    for faulty in ("plain", plain[:-4], plain.removeprefix("whsec_"), f"whsec_{'A' * 88}", f"{plain[:-1]}%"):
        assert faults(f'[webhooks]\nsecret = "{faulty}"') == [form]
    (tmp_path / "secret").write_text("plain")
    assert faults(from_file) == [form]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read("").webhooks.secret.get_secret_value() == given


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("sip:pbx.example.org", ("pbx.example.org", 5060, "udp")),
        ("sip:10.0.0.5:5070;transport=TCP", ("10.0.0.5", 5070, "tcp")),
        ("sip:10.0.0.5;transport=tls", ("10.0.0.5", 5061, "tls")),
        ("sip:[2001:db8::5]:5062", ("2001:db8::5", 5062, "udp")),
    ],
)
def test_a_trunks_address_is_taken_from_its_uri(read: Read, uri: str, parts: tuple[str, int, str]) -> None:
    trunk = read(f'[trunks.pbx]\nuri = "{uri}"').trunks["pbx"]
    assert (trunk.host, trunk.port, trunk.transport) == parts


def test_the_trunks_own_caller_id_is_always_allowed(read: Read) -> None:
    trunk = read(TRUNK + 'caller_id = "+34910000000"\nallowed_caller_ids = ["+34910000001"]').trunks["pbx"]
    assert trunk.caller_ids == {"+34910000000", "+34910000001"}
    assert read(TRUNK).trunks["pbx"].caller_ids is None


class TestEnvironment:
    def test_stands_above_the_file_and_reads_every_kind_of_value(
        self, read: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {
            "DIALER_API__PORT": "9090",
            "DIALER_PACING__STAGGER_SECONDS": "1",
            "DIALER_DATABASE__PATH": "/tmp/other.db",
            "DIALER_LOG__MASK_NUMBERS": "false",
            "DIALER_TRUNKS__PBX__USERNAME": "1001",
            "DIALER_TRUNKS__PBX__ALLOWED_CALLER_IDS": "+34910000000, +34910000001",
            "DIALER_TRUNKS__SPARE__URI": "sip:10.0.0.6",
        }.items():
            monkeypatch.setenv(name, value)
        got = read("[api]\nport = 1\n" + TRUNK)
        assert got.api.port == 9090
        assert got.pacing.stagger_seconds == 1.0
        assert got.database.path == Path("/tmp/other.db")
        assert got.log.mask_numbers is False
        assert got.trunks["pbx"].uri == "sip:10.0.0.5"
        assert got.trunks["pbx"].username == "1001"
        assert got.trunks["pbx"].caller_ids == {"+34910000000", "+34910000001"}
        assert set(got.trunks) == {"pbx", "spare"}

    def test_names_the_variable_whose_value_is_wrong(self, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIALER_API__PORT", "many")
        monkeypatch.setenv("DIALER_API__PROT", "1")
        assert faults("") == [
            "api.port: must be a whole number (set by DIALER_API__PORT)",
            "api.prot: no such key; did you mean port? (set by DIALER_API__PROT)",
        ]

    def test_a_section_that_does_not_exist_is_not_passed_over(
        self, faults: Faults, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DIALER_APY__PORT", "1")
        assert faults("") == ["DIALER_APY__PORT: no such key; did you mean api?"]

    def test_a_section_given_whole_must_be_json(self, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIALER_TRUNKS", "{oops")
        [fault] = faults("")
        assert "trunks" in fault

    def test_an_empty_variable_counts_as_unset(self, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIALER_API__PORT", "")
        assert read("").api.port == 8080

    def test_other_variables_of_the_commands_are_no_settings(self, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIALER_TOKEN", "x")
        monkeypatch.setenv("DIALER_URL", "http://127.0.0.1")
        assert read("") == Settings()


class TestSecrets:
    def test_a_password_never_shows_when_settings_are_printed(self, read: Read) -> None:
        got = read(TRUNK + 'password = "hunter2"')
        assert got.trunks["pbx"].password.get_secret_value() == "hunter2"
        assert "hunter2" not in repr(got) + str(got)

    def test_a_bad_password_is_not_repeated_in_the_fault(self, faults: Faults) -> None:
        assert "hunter2" not in "".join(faults(TRUNK + 'password = "hunter2\\u0000"'))

    def test_a_password_file_gives_its_one_line(self, read: Read, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("hunter2\n")
        got = read(TRUNK + f'password_file = "{tmp_path / "secret"}"')
        assert got.trunks["pbx"].password.get_secret_value() == "hunter2"

    def test_a_password_file_of_several_lines_is_refused(self, faults: Faults, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("a\nb\n")
        [fault] = faults(TRUNK + f'password_file = "{tmp_path / "secret"}"')
        assert fault == f"trunks.pbx.password_file: {tmp_path / 'secret'} must hold one line"

    def test_password_and_password_file_together_are_refused(self, faults: Faults, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("a")
        assert faults(TRUNK + f'password = "b"\npassword_file = "{tmp_path / "secret"}"') == [
            "trunks.pbx.password_file: give password or password_file, not both"
        ]

    def test_a_systemd_credential_is_taken_by_its_name_where_nothing_else_is_given(
        self, read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "trunks.pbx.password").write_text("hunter2\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        assert read(TRUNK).trunks["pbx"].password.get_secret_value() == "hunter2"
        assert read(TRUNK + 'password = "other"').trunks["pbx"].password.get_secret_value() == "other"


class TestFile:
    def test_the_given_one_stands_above_the_environment_and_the_default_places(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert find_file() in {None, Path("/etc/dialer/dialer.toml")}
        monkeypatch.setattr(settings, "DEFAULT_FILES", (tmp_path / "etc.toml", Path("dialer.toml")))
        assert find_file() is None
        (tmp_path / "dialer.toml").touch()
        assert find_file() == Path("dialer.toml")
        (tmp_path / "etc.toml").touch()
        assert find_file() == tmp_path / "etc.toml"
        monkeypatch.setenv("DIALER_CONFIG", "/named.toml")
        assert find_file() == Path("/named.toml")
        assert find_file(Path("given.toml")) == Path("given.toml")

    def test_one_that_is_named_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidSettings, match="cannot be read: No such file"):
            load(tmp_path / "missing.toml")

    def test_one_that_is_not_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidSettings, match="not UTF-8"):
            load(tmp_path / "x.toml")


def test_settings_cannot_be_changed_after_they_are_read(read: Read) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read("").api.port = 1


def test_numbers_abroad_can_only_be_refused_where_it_is_known_what_is_abroad(tmp_path: Path) -> None:
    file = tmp_path / "dialer.toml"
    file.write_text("[limits]\ninternational = false\n")
    with pytest.raises(InvalidSettings, match=r"limits\.international: needs phone"):
        load(file)
    file.write_text('[limits]\ninternational = false\ndestinations = ["34"]\n[phone]\ndefault_region = "ES"\n')
    with pytest.raises(InvalidSettings, match=r"limits\.destinations\.0: must begin with"):
        load(file)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('from_user = "a b"', "trunks.pbx.from_user: must be letters"),
        ('prefix = "+34x"', "trunks.pbx.prefix: must be up to 15 digits"),
        ("strip_digits = 15", "trunks.pbx.strip_digits: must be 14 or less"),
        ('outbound_proxy = "10.0.0.1"', "trunks.pbx.outbound_proxy: must look like sip:HOST"),
        ('codecs = ["opus"]', "trunks.pbx.codecs.0: must be 'pcma', 'pcmu' or 'g722'"),
        ('ca_file = "/nonexistent/ca.pem"', "trunks.pbx.ca_file: cannot read certificates from"),
        ('srtp = "mandatory"', "trunks.pbx.srtp: needs ;transport=tls"),
        ('srtp = "always"', "trunks.pbx.srtp: must be"),
        ("options_interval_seconds = -1", "trunks.pbx.options_interval_seconds: must be 0 or more"),
        ('domains = ["sales.example/x"]', "trunks.pbx.domains.0: must be a host, or HOST:PORT"),
        ('dispositions = { "180" = "busy" }', "must be a final SIP status"),
        ('dispositions = { "480" = "answered" }', "trunks.pbx.dispositions.480: must be"),
    ],
)
def test_a_wrong_setting_of_a_trunk_is_named(lines: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "dialer.toml"
    file.write_text(f'[trunks.pbx]\nuri = "sip:10.0.0.5"\n{lines}\n')
    with pytest.raises(InvalidSettings) as refused:
        load(file)
    assert fault in str(refused.value)


def test_a_trunks_settings_reach_the_sip_floor_and_the_core(tmp_path: Path) -> None:
    file = tmp_path / "dialer.toml"
    file.write_text(
        '[trunks.pbx]\nuri = "sip:10.0.0.5;transport=tls"\nfrom_user = "acct"\nassert_identity = true\nanonymous = true\n'
        'strip_digits = 2\nprefix = "0"\nsend_plus = false\noutbound_proxy = "sip:10.0.0.1;transport=tls"\n'
        'codecs = ["pcmu", "pcma"]\nverify = false\nsrtp = "mandatory"\noptions_interval_seconds = 5\n'
        'dispositions = { "480" = "no_answer" }\ndomains = ["Sales.Example", "10.0.0.9:5080"]\n'
    )
    trunk = load(file).trunks["pbx"]
    assert trunk_profile("pbx", trunk) == TrunkProfile(
        "pbx",
        "sip:10.0.0.5;transport=tls",
        from_user="acct",
        assert_identity=True,
        anonymous=True,
        strip_digits=2,
        prefix="0",
        send_plus=False,
        outbound_proxy="sip:10.0.0.1;transport=tls",
        codecs=["pcmu", "pcma"],
        verify=False,
        srtp="mandatory",
        domains=["sales.example", "10.0.0.9:5080"],
    )
    limits = trunk_limits("pbx", trunk)
    assert limits.options_interval_seconds == 5
    assert limits.dispositions == {480: Disposition.NO_ANSWER}
    reached = agent_rules(load(file)).domains
    assert reached == dict.fromkeys(["10.0.0.5", "10.0.0.5:5061", "sales.example", "10.0.0.9:5080"], ("pbx",))
