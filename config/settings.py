"""Every setting of the engine: `load` reads them from a file and the environment, and names all faults at once.

Sources, the first that has a key wins: the environment (`DIALER_PACING__STAGGER_SECONDS=0.5`, lists as comma-separated
text; empty variables count as unset), then the TOML file. A trunk's password, the broker's, and the secrets of streams
and webhooks may also come from `password_file` (`secret_file`), or from the systemd credential `trunks.NAME.password`,
`mqtt.password`, `stream.secret` or `webhooks.secret` (LoadCredential=).
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, SecretStr, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from config.sections import (
    ApiSettings,
    BackupSettings,
    DatabaseSettings,
    EventSettings,
    LimitSettings,
    LogSettings,
    MediaSettings,
    MqttSettings,
    PacingSettings,
    PageSettings,
    PhoneSettings,
    SipSettings,
    SpeechSettings,
    StreamSettings,
    TrunkSettings,
    WebhookSettings,
)

DEFAULT_FILES = (Path("/etc/dialer/dialer.toml"), Path("dialer.toml"))

# Lower case, so that the environment (upper case) can name it; no "__", which separates there.
TrunkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=32)]


class Settings(BaseSettings):
    """All settings, checked. Frozen: a reload makes a new one."""

    model_config = SettingsConfigDict(
        env_prefix="DIALER_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
    )

    database: DatabaseSettings = DatabaseSettings()
    backup: BackupSettings | None = None
    api: ApiSettings = ApiSettings()
    pacing: PacingSettings = PacingSettings()
    sip: SipSettings = SipSettings()
    phone: PhoneSettings = PhoneSettings()
    trunks: dict[TrunkName, TrunkSettings] = Field(default_factory=dict, max_length=64)
    mqtt: MqttSettings | None = None
    webhooks: WebhookSettings = WebhookSettings()
    events: EventSettings = EventSettings()
    media: MediaSettings = MediaSettings()
    stream: StreamSettings = StreamSettings()
    speech: SpeechSettings | None = None
    log: LogSettings = LogSettings()
    page: PageSettings = PageSettings()
    limits: LimitSettings = LimitSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings calls it by these names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment stands above what `load` read from the file (passed as init arguments)."""
        return env_settings, init_settings


class InvalidSettings(Exception):
    """The configuration cannot be used. `faults` has one line for each thing that is wrong, beginning with its key."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


def find_file(given: Path | None = None) -> Path | None:
    """The configuration file to read: the given one, `$DIALER_CONFIG`, or the first of `DEFAULT_FILES` that exists.

    None: there is no file, and the environment and the defaults are all there is.
    """
    if given is not None:
        return given
    if named := os.environ.get("DIALER_CONFIG"):
        return Path(named)
    return next((path for path in DEFAULT_FILES if path.is_file()), None)


def load(path: Path | None = None) -> Settings:
    """Read and check all settings. `path` None: where `find_file` looks.

    Raises `InvalidSettings` with every fault: unknown keys, wrong types, values out of bounds, unreadable secrets.
    """
    found = find_file(path)
    tables = _read(found) if found is not None else {}
    faults = _unknown_sections_of_environment()
    try:
        settings = Settings(**tables)
    except SettingsError as error:  # the environment gave a whole section, and it is not JSON
        raise InvalidSettings([*faults, f"environment: {error}"]) from None
    except ValidationError as error:
        # A union reports each of its arms; the fault is one.
        told = [_told(detail) for detail in error.errors(include_url=False, include_input=False)]
        raise InvalidSettings(list(dict.fromkeys(faults + told))) from None
    if settings.limits.international is False and settings.phone.default_region is None:
        faults.append("limits.international: needs phone.default_region, to know which numbers are not")
    if faults:
        raise InvalidSettings(faults)
    return _with_secrets(settings)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidSettings([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError:
        raise InvalidSettings([f"{path}: is not UTF-8 text"]) from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings([f"{path}: {error}"]) from None


def _unknown_sections_of_environment() -> list[str]:
    # pydantic-settings looks only for the sections it knows, so a mistyped one would be passed over in silence.
    faults = []
    for name in sorted(os.environ):
        section, separator, _ = name.upper().removeprefix("DIALER_").partition("__")
        if name.upper().startswith("DIALER_") and separator and section.lower() not in Settings.model_fields:
            faults.append(f"{name}: {_no_such(section.lower(), Settings.model_fields)}")
    return faults


def _with_secrets(settings: Settings) -> Settings:
    faults: list[str] = []
    trunks = {name: _with_secret(f"trunks.{name}", trunk, faults) for name, trunk in settings.trunks.items()}
    mqtt = None if settings.mqtt is None else _with_secret("mqtt", settings.mqtt, faults)
    stream = _with_secret("stream", settings.stream, faults, "secret")
    webhooks = _with_secret("webhooks", settings.webhooks, faults, "secret")
    if (fault := webhooks.secret_fault) is not None:
        faults.append(f"webhooks.secret: {fault}")
    if faults:
        raise InvalidSettings(faults)
    return settings.model_copy(update={"trunks": trunks, "mqtt": mqtt, "stream": stream, "webhooks": webhooks})


_Holder = TypeVar("_Holder", TrunkSettings, MqttSettings, StreamSettings, WebhookSettings)


def _with_secret(key: str, section: _Holder, faults: list[str], name: str = "password") -> _Holder:
    """The section with the secret `name` in it that its file or the systemd credential `<key>.<name>` holds."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder) / f"{key}.{name}" if folder else None
    source: Path | None = getattr(section, f"{name}_file")
    secret: SecretStr = getattr(section, name)
    if source is None and not secret.get_secret_value() and credential is not None and credential.is_file():
        source = credential
    try:
        secret = SecretStr(source.read_text("utf-8").rstrip("\r\n")) if source is not None else secret
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{key}.{name}: cannot read {source}: {error}")
        return section
    return section.model_copy(update={name: secret})


def _told(detail: ErrorDetails) -> str:
    """One line for one fault: its key, what is wrong, and the environment variable where that is where it came from."""
    where = [str(part) for part in detail["loc"] if part != "[key]"]
    key = ".".join(where)
    variable = "_".join(["DIALER", "__".join(where).upper()])
    source = f" (set by {variable})" if variable in os.environ else ""
    if "[key]" in detail["loc"] and where[:-1] == ["trunks"]:
        return f"{key}: a trunk's name is lower-case letters and digits, joined by single - or _, 32 at most{source}"
    if detail["type"] == "extra_forbidden":
        return f"{key}: {_no_such(where[-1], _keys_of(where[:-1]))}{source}"
    words = _WORDS.get(detail["type"])
    bounds = {name: _plain(value) for name, value in detail.get("ctx", {}).items()}
    reason = words.format_map(bounds) if words else detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{key}: {reason}{source}"


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "must be {expected}",
    "too_long": "must have at most {max_length} entries",
    "frozen_set_type": "must be a list",
    "model_type": "must be a section",
    "model_attributes_type": "must be a section",
    "dict_type": "must be a section",
}


_SECTIONS: Mapping[str, type[BaseModel]] = {
    "database": DatabaseSettings,
    "backup": BackupSettings,
    "api": ApiSettings,
    "pacing": PacingSettings,
    "sip": SipSettings,
    "phone": PhoneSettings,
    "trunks": TrunkSettings,
    "mqtt": MqttSettings,
    "webhooks": WebhookSettings,
    "events": EventSettings,
    "media": MediaSettings,
    "speech": SpeechSettings,
    "stream": StreamSettings,
    "log": LogSettings,
    "page": PageSettings,
    "limits": LimitSettings,
}


def _keys_of(where: Sequence[str]) -> list[str]:
    model = _SECTIONS[where[0]] if where else Settings
    return [field.alias or name for name, field in model.model_fields.items()]


def _no_such(key: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"no such key; did you mean {near[0]}?" if near else f"no such key (known: {', '.join(sorted(known))})"
