"""The sections of the configuration: each key with its default and its bounds; `config.settings` joins them."""

import base64
import re
import shlex
import ssl
import string
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

Port = Annotated[int, Field(ge=1, le=65_535)]
FilePath = Annotated[Path, Field(strict=False)]
Transport = Literal["udp", "tcp", "tls"]

_TRUNK_URI = re.compile(
    r"^sip:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:;transport=(?P<transport>udp|tcp|tls))?$",
    re.IGNORECASE,
)
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"


def _refuse(reason: str) -> PydanticCustomError:
    # A plain ValueError would reach the operator as "Value error, ...".
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def _matching(pattern: str, reason: str) -> AfterValidator:
    # Instead of StringConstraints(pattern=...), whose message shows the operator a regular expression.
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise _refuse(reason)
        return value

    return AfterValidator(check)


# The same form that playbooks accept: what may stand in the user part of a From header without any escaping.
CallerId = Annotated[str, _matching(r"\+?[0-9*#]{1,20}", "must be 1 to 20 digits, * or #, with or without a leading +")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class DatabaseSettings(_Section):
    """Where the one SQLite file is; its WAL lies beside it."""

    path: FilePath = Path("/var/lib/dialer/dialer.db")

    @field_validator("path")
    @classmethod
    def _names_a_file(cls, value: Path) -> Path:
        if value in {Path(), Path("/")}:
            raise _refuse("must name a file")
        return value


class ApiSettings(_Section):
    """The HTTP edge. Port 0 lets the system choose. `max_contacts` and `max_body_bytes` are per request: above, 413."""

    host: Annotated[str, _matching(r"[A-Za-z0-9.:_-]{1,253}", "must be a name or an address, without a port")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    max_contacts: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 64 << 20


class PacingSettings(_Section):
    """How fast this machine calls. Stagger 0: no distance between first attempts. Drain 0: live calls end at once."""

    max_concurrent_calls: Annotated[int, Field(ge=1, le=100_000)] = 32
    stagger_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.2
    min_recall_gap_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 30


class SipSettings(_Section):
    """The SIP floor's own side. None: chosen from the limits and the pjsua2 build."""

    bind_host: str = "0.0.0.0"  # noqa: S104
    port: Port | None = None
    rtp_port_min: Annotated[int, Field(ge=1024, le=65_535)] | None = None
    rtp_port_max: Annotated[int, Field(ge=1024, le=65_535)] | None = None
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    signalling_dscp: Annotated[int, Field(ge=0, le=63)] = 24
    media_dscp: Annotated[int, Field(ge=0, le=63)] = 46

    @field_validator("bind_host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            ip_address(value)
        except ValueError:
            raise _refuse("must be an IP address of this machine, or 0.0.0.0 for all") from None
        return value

    @field_validator("rtp_port_max")
    @classmethod
    def _leaves_room(cls, value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("rtp_port_min")
        if value is not None and least is not None and value < least + 3:
            raise _refuse(f"must be {least + 3} or more: a call takes 4 ports from rtp_port_min ({least}) on")
        return value

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.rtp_port_min is None) != (self.rtp_port_max is None):
            raise _refuse("rtp_port_min and rtp_port_max must be given together")
        return self


def _readable_secret(path: Path) -> Path:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise _refuse(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise _refuse(f"{path} is not UTF-8 text") from None
    if re.match(_NO_CONTROLS, text.rstrip("\r\n")) is None:
        raise _refuse(f"{path} must hold one line")
    return path


def _certificates(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:
        raise _refuse(f"cannot read certificates from {path}: {error.strerror or error}") from None
    return path


def _comma_separated(value: object) -> object:
    # How the environment writes a list.
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Domain = Annotated[
    str,
    _matching(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", "must be a host, or HOST:PORT"),
    AfterValidator(str.lower),
]
# What a final response may be taken for on one trunk. An answer or a loss is not the trunk's to tell.
OutcomeWord = Literal["busy", "no_answer", "declined", "unreachable", "invalid_number", "trunk_failure"]
StatusCode = Annotated[str, _matching(r"[3-6][0-9][0-9]", "must be a final SIP status, 300 to 699")]


class TrunkSettings(_Section):
    """A SIP connection. `max_concurrent_calls` are its channels; no second sees more INVITEs than `calls_per_second`.

    `caller_id` "" shows the username, or nobody. `allowed_caller_ids` None lets playbooks choose any; the default is
    always allowed. `password` holds the secret wherever it came from, once `load` has returned.
    """

    uri: Annotated[str, StringConstraints(max_length=300)]
    # It goes between quotes in the Authorization header.
    username: Annotated[str, _matching(r"[!#-\[\]-~]{0,128}", 'must be printable ASCII without spaces, " or \\')] = ""
    password: Annotated[SecretStr, Field(max_length=256)] = SecretStr("")
    password_file: Annotated[FilePath, AfterValidator(_readable_secret)] | None = None
    registers: Annotated[bool, Field(alias="register")] = False
    caller_id: Annotated[
        str,
        Field(validate_default=True),
        _matching(r"(\+?[0-9*#]{1,20})?", "must be 1 to 20 digits, * or #, with or without a leading +"),
    ] = ""
    allowed_caller_ids: (
        Annotated[frozenset[CallerId], Field(strict=False), BeforeValidator(_comma_separated), NoDecode] | None
    ) = None
    max_concurrent_calls: Annotated[int, Field(ge=1, le=10_000)] = 30
    calls_per_second: Annotated[float, Field(gt=0, le=1000)] = 5
    from_user: Annotated[
        str,
        _matching(r"[A-Za-z0-9.!~*'()&=+$,_-]{0,64}", "must be letters, digits or .!~*'()&=+$,_- (RFC 3261, 25.1)"),
    ] = ""
    assert_identity: bool = False
    anonymous: bool = False
    strip_digits: Annotated[int, Field(ge=0, le=14)] = 0
    prefix: Annotated[str, _matching(r"(\+?[0-9*#]{1,15})?", "must be up to 15 digits, * or #, or begin with +")] = ""
    send_plus: bool = True
    outbound_proxy: Annotated[str, StringConstraints(max_length=300)] = ""
    codecs: Annotated[
        tuple[Literal["pcma", "pcmu", "g722"], ...],
        Field(strict=False, max_length=3),
        BeforeValidator(_comma_separated),
        NoDecode,
    ] = ()
    ca_file: Annotated[FilePath, AfterValidator(_certificates)] | None = None
    verify: bool = True
    srtp: Literal["off", "optional", "mandatory"] = "off"
    options_interval_seconds: Annotated[float, Field(ge=0, le=3600)] = 0
    dispositions: dict[StatusCode, OutcomeWord] = Field(default_factory=dict)
    domains: Annotated[
        tuple[Domain, ...], Field(strict=False, max_length=100), BeforeValidator(_comma_separated), NoDecode
    ] = ()

    @field_validator("outbound_proxy")
    @classmethod
    def _is_a_proxy_uri(cls, value: str) -> str:
        return cls._is_a_trunk_uri(value) if value else value

    @field_validator("srtp")
    @classmethod
    def _keys_are_hidden(cls, value: str, info: ValidationInfo) -> str:
        hop = info.data.get("outbound_proxy") or info.data.get("uri", "")
        if value != "off" and not hop.lower().endswith(";transport=tls"):
            raise _refuse("needs ;transport=tls in the uri: its keys are sent in the SDP (RFC 4568, 5)")
        return value

    @field_validator("uri")
    @classmethod
    def _is_a_trunk_uri(cls, value: str) -> str:
        found = _TRUNK_URI.match(value)
        if found is None or not 0 < int(found["port"] or 5060) <= 65_535:
            raise _refuse("must look like sip:HOST, sip:HOST:PORT or sip:HOST:PORT;transport=tcp (udp, tcp or tls)")
        return value

    @field_validator("caller_id")
    @classmethod
    def _somebody_calls(cls, value: str, info: ValidationInfo) -> str:
        # Without a caller id the username is the user of the From URI (RFC 3261, 25.1: unreserved and user-unreserved).
        username = info.data.get("username", "")
        if not value and username and re.fullmatch(r"[A-Za-z0-9.!~*'()&=+$,_-]{1,64}", username) is None:
            raise _refuse(f"is required, because the username {username!r} cannot stand in a From header")
        return value

    @field_validator("password")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        if re.match(_NO_CONTROLS, value.get_secret_value()) is None:
            raise _refuse("must not hold control characters")
        return value

    @field_validator("password_file")
    @classmethod
    def _only_one_secret(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        secret = info.data.get("password")
        if value is not None and secret is not None and secret.get_secret_value():
            raise _refuse("give password or password_file, not both")
        return value

    @field_validator("registers")
    @classmethod
    def _registers_as_somebody(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not info.data.get("username"):
            raise _refuse("needs username")
        return value

    @property
    def host(self) -> str:
        """Name or address, IPv6 without its brackets."""
        return self._part("host").strip("[]")

    @property
    def port(self) -> int:
        """The port of the URI, or the transport's own: 5060, 5061 for TLS (RFC 3261, 19.1.2)."""
        return int(self._part("port") or (5061 if self.transport == "tls" else 5060))

    @property
    def transport(self) -> Transport:
        """UDP unless the URI says otherwise."""
        word = self._part("transport").lower()
        return "tcp" if word == "tcp" else "tls" if word == "tls" else "udp"

    @property
    def caller_ids(self) -> frozenset[str] | None:
        """What a playbook may choose, the default included; None: anything."""
        if self.allowed_caller_ids is None:
            return None
        return self.allowed_caller_ids | ({self.caller_id} if self.caller_id else set())

    def _part(self, name: str) -> str:
        found = _TRUNK_URI.match(self.uri)
        return (found[name] or "") if found else ""


class PhoneSettings(_Section):
    """What counts as a number beyond E.164. None switches either off."""

    internal_pattern: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    default_region: str | None = None

    @field_validator("internal_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise _refuse(f"is not a regular expression: {error}") from None
        return value

    @field_validator("default_region")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        import phonenumbers  # 30 ms that only those who set a region pay

        if value is not None and value not in phonenumbers.SUPPORTED_REGIONS:
            raise _refuse(f"knows no region {value!r}: use a country's two letters, as ES")
        return value


class LimitSettings(_Section):
    """What protects against a program run wild or a stolen token. None: no such limit. A refusal names its key.

    `international` None: numbers abroad are refused where `phone.default_region` says what is abroad, and `destinations` does
    not say where calls may go.
    """

    requests_per_second: Annotated[float, Field(ge=0.01, le=10_000)] | None = None
    max_calls_per_day: Annotated[int, Field(ge=1)] | None = None
    max_calls_per_day_per_token: Annotated[int, Field(ge=1)] | None = None
    max_concurrent_calls_per_account: Annotated[int, Field(ge=1)] | None = None
    max_concurrent_calls_per_token: Annotated[int, Field(ge=1)] | None = None
    destinations: (
        Annotated[
            tuple[Annotated[str, _matching(r"\+[1-9][0-9]{0,14}", "must begin with + and hold digits")], ...],
            Field(strict=False, min_length=1, max_length=1000),
            BeforeValidator(_comma_separated),
            NoDecode,
        ]
        | None
    ) = None
    international: bool | None = None
    premium: bool = False


class MqttSettings(_Section):
    """The broker that events go to. Without this section there is none. Credentials stand in the URL or in keys of their own.

    `ca_file`: the authorities that a broker's certificate is checked against, None: the system's. `commands`: whether
    campaigns may be paused, resumed and cancelled by a message. `password` holds the secret wherever it came from, once
    `load` has returned.
    """

    url: Annotated[str, StringConstraints(max_length=300)]
    topic_prefix: Annotated[
        str,
        _matching(r"(?=.{1,100}$)[^/+#\x00\s]+(/[^/+#\x00\s]+)*", "must be words joined by /, without +, # or space"),
    ] = "dialer/v1"
    username: Annotated[str, StringConstraints(max_length=256)] = ""
    password: Annotated[SecretStr, Field(max_length=256)] = SecretStr("")
    password_file: Annotated[FilePath, AfterValidator(_readable_secret)] | None = None
    ca_file: FilePath | None = None
    commands: bool = True

    @field_validator("url")
    @classmethod
    def _is_a_broker(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            well_formed = parts.scheme in {"mqtt", "mqtts"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none
            well_formed = False
        if not well_formed or parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise _refuse("must look like mqtt://HOST:PORT or mqtts://HOST:PORT")
        return value

    @field_validator("username")
    @classmethod
    def _only_one_user(cls, value: str, info: ValidationInfo) -> str:
        if value and urlsplit(info.data.get("url", "")).username is not None:
            raise _refuse("the url names a user already")
        return value

    @field_validator("password_file")
    @classmethod
    def _only_one_secret(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        secret = info.data.get("password")
        if value is not None and secret is not None and secret.get_secret_value():
            raise _refuse("give password or password_file, not both")
        return value

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        try:
            if value is not None:
                ssl.create_default_context(cafile=str(value))
        except ssl.SSLError:
            raise _refuse(f"{value} holds no certificates in PEM form") from None
        except OSError as error:
            raise _refuse(f"cannot read {value}: {error.strerror or error}") from None
        return value

    @property
    def host(self) -> str:
        """Name or address, IPv6 without its brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port of the URL, or the usual one: 1883, 8883 for TLS."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @property
    def tls(self) -> bool:
        """Whether the URL says mqtts."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def credentials(self) -> tuple[str | None, str | None]:
        """Username and password, of the URL or of the keys; None: none is sent."""
        parts = urlsplit(self.url)
        user = self.username or (unquote(parts.username) if parts.username else "")
        secret = self.password.get_secret_value() or (unquote(parts.password) if parts.password else "")
        return user or None, secret or None


class EventSettings(_Section):
    """How long events are kept. `stream_minutes`: for those who come back to GET /events, counted from the event and from
    the last listener. What MQTT or a webhook did not take in `outbox_hours`, or what lies before the newest `max_events`,
    is given up.
    """

    stream_minutes: Annotated[float, Field(gt=0, le=10_080)] = 60
    outbox_hours: Annotated[float, Field(gt=0, le=720)] = 24
    max_events: Annotated[int, Field(ge=1000, le=1_000_000_000)] = 5_000_000


def _only_one_secret(value: Path | None, info: ValidationInfo) -> Path | None:
    secret = info.data.get("secret")
    if value is not None and secret is not None and secret.get_secret_value():
        raise _refuse("give secret or secret_file, not both")
    return value


class WebhookSettings(_Section):
    """Where webhooks may go, those of events and those that playbooks ask, and what signs the questions of the latter.

    `allow_private`: also to addresses of private networks and this machine, and without TLS. `secret` stands here or in a file,
    and is there wherever it came from, once `load` has returned; "": no playbook may ask.
    """

    allow_private: bool = False
    secret: SecretStr = SecretStr("")
    secret_file: Annotated[FilePath, AfterValidator(_readable_secret)] | None = None

    _one_secret = field_validator("secret_file")(_only_one_secret)

    @property
    def secret_fault(self) -> str | None:
        """What is wrong with the secret's form; None: nothing, or there is none. Standard Webhooks asks for 24 to 64 bytes."""
        text = self.secret.get_secret_value()
        if not text:
            return None
        try:
            size = len(base64.b64decode(text.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        good = text.startswith("whsec_") and 24 <= size <= 64
        return None if good else "must be whsec_ and the base64 of 24 to 64 random bytes"


class BackupSettings(_Section):
    """Backups that the server takes by itself: into which folder, how often, and how many of them stay.

    Without this section it takes none.
    """

    directory: FilePath
    interval_hours: Annotated[float, Field(gt=0, le=8760)] = 24
    keep: Annotated[int, Field(ge=1, le=10_000)] = 7


class StreamSettings(_Section):
    """Where the step `stream` may connect, and what proves to its servers that it is us.

    `allow_private`: also to private networks and this machine, and without TLS. `secret` signs the requests; it stands here or
    in a file, and holds the secret wherever it came from, once `load` has returned.
    """

    allow_private: bool = False
    secret: Annotated[SecretStr, Field(max_length=256)] = SecretStr("")
    secret_file: Annotated[FilePath, AfterValidator(_readable_secret)] | None = None

    _one_secret = field_validator("secret_file")(_only_one_secret)


class MediaSettings(_Section):
    """Where the audio of playbooks lies, and the recordings of calls. `keep_recordings_days` 0: for ever."""

    directory: FilePath = Path("/var/lib/dialer/media")
    keep_recordings_days: Annotated[float, Field(ge=0, le=36_500)] = 90


class SpeechSettings(_Section):
    """The command that turns text into a WAV file. Without this section playbooks with `say` are refused.

    `voice` is {voice} where a step names none; at most `max_parallel` commands run at once.
    """

    command: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    voice: Annotated[
        str, _matching(r"[A-Za-z0-9][A-Za-z0-9+_./-]{0,63}", "must be the name of a voice, such as en")
    ] = "en"
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 2

    @field_validator("command")
    @classmethod
    def _can_be_run(cls, value: str) -> str:
        try:
            words = shlex.split(value)
            names = {name for word in words for _, name, _, _ in string.Formatter().parse(word) if name is not None}
        except ValueError as error:
            raise _refuse(f"cannot be split into words: {error}") from None
        if not {"input", "output"} <= names <= {"input", "output", "voice"}:
            raise _refuse("must hold {input} and {output}, and may hold {voice}")
        return value


class PageSettings(_Section):
    """The operator's page. `show_numbers`: who sees people's numbers in full: nobody, admins who ask for it, everybody.

    `session_hours`: how long a login lasts at most. `behind_proxy`: X-Forwarded-Proto, -Host and -For are believed.
    """

    enabled: bool = True
    show_numbers: Literal["never", "admin", "always"] = "admin"
    session_hours: Annotated[float, Field(gt=0, le=720)] = 12
    behind_proxy: bool = False


class LogSettings(_Section):
    """What the server writes to standard error. With `mask_numbers` people's numbers keep only their last digits."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    mask_numbers: bool = True
