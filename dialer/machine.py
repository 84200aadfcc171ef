"""What the settings mean to the parts below the roof: rules for numbers, trunks, what this machine offers to playbooks."""

import re
from pathlib import Path
from typing import Any

from config.sections import TrunkSettings
from config.settings import Settings
from dialer.core.agents import AgentRules
from dialer.core.destinations import DestinationRules
from dialer.core.dispatch import Limits
from dialer.core.intake import IntakeRules
from dialer.core.model import Disposition, Trunk
from dialer.core.phone import PhoneRules
from dialer.core.playbook import Machine
from dialer.log_lines import LogStyle
from sip.library import OWN_FOLDER, RECORDINGS
from sip.trunk import TrunkProfile


def phone_rules(settings: Settings) -> PhoneRules:
    """What counts as a number here."""
    pattern = settings.phone.internal_pattern
    return PhoneRules(re.compile(pattern) if pattern is not None else None, settings.phone.default_region)


def destination_rules(settings: Settings) -> DestinationRules:
    """Which numbers calls may go to."""
    limits = settings.limits
    abroad = limits.destinations is not None if limits.international is None else limits.international
    home = None if abroad else settings.phone.default_region
    return DestinationRules(limits.destinations, home, refuse_premium=not limits.premium)


def agent_rules(settings: Settings) -> AgentRules:
    """Whom playbooks may hand calls over to: numbers that calls may go to, and URIs of the trunks' own hosts and domains."""
    domains: dict[str, tuple[str, ...]] = {}
    for name, trunk in settings.trunks.items():
        for domain in {*trunk_profile(name, trunk).own_domains, *trunk.domains}:
            domains[domain] = (*domains.get(domain, ()), name)
    return AgentRules(phone_rules(settings), destination_rules(settings), domains)


def trunk_profile(name: str, trunk: TrunkSettings) -> TrunkProfile:
    """What the SIP floor needs to know of a trunk."""
    return TrunkProfile(
        name=name,
        uri=trunk.uri,
        username=trunk.username,
        password=trunk.password.get_secret_value(),
        caller_id=trunk.caller_id,
        from_user=trunk.from_user,
        register=trunk.registers,
        assert_identity=trunk.assert_identity,
        anonymous=trunk.anonymous,
        strip_digits=trunk.strip_digits,
        prefix=trunk.prefix,
        send_plus=trunk.send_plus,
        outbound_proxy=trunk.outbound_proxy,
        codecs=list(trunk.codecs),
        ca_file=str(trunk.ca_file or ""),
        verify=trunk.verify,
        srtp=trunk.srtp,
        domains=list(trunk.domains),
    )


def trunk_limits(name: str, trunk: TrunkSettings) -> Trunk:
    """What the core needs to know of a trunk."""
    return Trunk(
        name=name,
        max_concurrent_calls=trunk.max_concurrent_calls,
        calls_per_second=trunk.calls_per_second,
        caller_id=trunk.caller_id,
        options_interval_seconds=trunk.options_interval_seconds,
        allowed_caller_ids=trunk.caller_ids,
        dispositions={int(status): Disposition(word) for status, word in trunk.dispositions.items()},
    )


def trunk_profiles(settings: Settings) -> list[TrunkProfile]:
    """All of them."""
    return [trunk_profile(name, trunk) for name, trunk in settings.trunks.items()]


def trunks_of(settings: Settings) -> list[Trunk]:
    """All of them."""
    return [trunk_limits(name, trunk) for name, trunk in settings.trunks.items()]


def engine_limits(settings: Settings) -> Limits:
    """The machine's own limits on dialing."""
    return Limits(
        max_concurrent_calls=settings.pacing.max_concurrent_calls,
        min_recall_gap_ms=round(settings.pacing.min_recall_gap_seconds * 1000),
        max_per_account=settings.limits.max_concurrent_calls_per_account,
        max_per_token=settings.limits.max_concurrent_calls_per_token,
    )


def intake_rules(settings: Settings) -> IntakeRules:
    """What a request must keep to be accepted."""
    return IntakeRules(
        max_contacts=settings.api.max_contacts,
        stagger_ms=round(settings.pacing.stagger_seconds * 1000),
        phone=phone_rules(settings),
        destinations=destination_rules(settings),
        max_calls_per_day=settings.limits.max_calls_per_day,
        max_calls_per_day_per_token=settings.limits.max_calls_per_day_per_token,
    )


def log_style(settings: Settings) -> LogStyle:
    """How every process tells the log."""
    return LogStyle(settings.log.format, settings.log.level, settings.log.mask_numbers)


def machine_of(settings: Settings) -> Machine:
    """The configured trunks with their caller ids, and the audio that lies in the media directory now."""
    return Machine(
        trunks={name: trunk.caller_ids for name, trunk in settings.trunks.items()},
        audio=audio_files(settings.media.directory),
        caller_ids={name: trunk.caller_id or trunk.username for name, trunk in settings.trunks.items()},
        speaks=settings.speech is not None,
        streams_privately=settings.stream.allow_private,
        asks=bool(settings.webhooks.secret.get_secret_value()),
        asks_privately=settings.webhooks.allow_private,
        agents=agent_rules(settings),
    )


def audio_files(directory: Path) -> frozenset[str]:
    """The files below the directory, as playbooks name them; none where it does not exist or cannot be read.

    What the server made itself and the recordings of calls are none of them.
    """
    names = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return frozenset(name for name in names if not name.startswith((f"{OWN_FOLDER}/", f"{RECORDINGS}/")))


def stream_options(settings: Settings) -> dict[str, Any]:
    """For `WorkerPool.follow_streams`."""
    stream = settings.stream
    return {"private_streams": stream.allow_private, "stream_secret": stream.secret.get_secret_value()}


def pool_options(settings: Settings) -> dict[str, Any]:
    """For a `WorkerPool`, beside its trunks and its size."""
    sip = settings.sip
    return {
        "media_directory": settings.media.directory,
        "bind_host": sip.bind_host,
        "port": sip.port,
        "rtp_ports": (sip.rtp_port_min, sip.rtp_port_max) if sip.rtp_port_min and sip.rtp_port_max else None,
        "workers": sip.workers,
        "signalling_dscp": sip.signalling_dscp,
        "media_dscp": sip.media_dscp,
        "log": log_style(settings),
        **stream_options(settings),
    }


def asker_options(settings: Settings) -> dict[str, Any]:
    """For a `WebhookAsker`."""
    webhooks = settings.webhooks
    return {"allow_private": webhooks.allow_private, "secret": webhooks.secret.get_secret_value()}


def library_options(settings: Settings) -> dict[str, Any]:
    """For a `Library`, beside its folder."""
    speech, keep_days = settings.speech, settings.media.keep_recordings_days
    if speech is None:
        return {"command": None, "keep_recordings_days": keep_days}
    return {
        "command": speech.command,
        "voice": speech.voice,
        "parallel": speech.max_parallel,
        "keep_recordings_days": keep_days,
    }
