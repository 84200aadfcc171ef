"""What is built: versions, pinned sources, limits and flags, and the name that they give the wheel."""

import hashlib
import json
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "pjsua2-python"
"""The name of the wheel on PyPI, which ours replaces: one import name, so one distribution."""

VERSION = "2.17"

CONFIG_SITE = Path(__file__).with_name("config_site.h").read_text(encoding="utf-8")

# Raise it when the steps of compile.py change what comes out: they are no part of the configuration's hash.
_REVISION = 1


@dataclass(frozen=True)
class Pinned:
    """A source archive that we know byte for byte, and the Debian source package that carries it."""

    name: str
    package: str
    suites: tuple[str, ...]
    sha256: str


# Debian's copy of pjproject leaves out third_party (srtp and the resampler with it), so those two come along.
PJPROJECT = Pinned(
    "pjproject-2.17",
    "asterisk",
    ("forky", "sid"),
    "6860c2f7604b4eee75f38151a9ef69774eb3f0c5286fc1d14bc1db2dc5a9e8aa",
)
LIBSRTP = Pinned(
    "libsrtp-2.7.0",
    "libsrtp2",
    ("trixie",),
    "54facb1727a557c2a76b91194dcb2d0a453aaf8e2d0cbbf1e3c2848c323e28ad",
)
SPEEXDSP = Pinned(
    "speexdsp-1.2.1",
    "speexdsp",
    ("trixie", "bookworm", "forky", "sid"),
    "8c777343e4a6399569c72abc38a95b24db56882c83dbdb6c6424a5f4aeb54d3d",
)

UPSTREAM_SHA256 = "065fe06c06788d97c35f563796d59f00ce52fe9558a52d7b490a042a966facce"
"""Upstream's own archive of the tag 2.17 (tar.gz), for who has it at hand; it is complete."""

SWIG = "swig==4.5.1"
"""Taken from PyPI into the build's own folder where the machine has no swig."""

CONFIGURE = (
    "--enable-epoll",  # select() ends at descriptor 1,024
    "--disable-shared",
    "--disable-video",
    "--disable-sound",
    "--disable-upnp",
    # Codecs are PCMA, PCMU and G.722; no echo to cancel where there is no microphone.
    "--disable-speex-aec",
    "--disable-speex-codec",
    "--disable-gsm-codec",
    "--disable-ilbc-codec",
    "--disable-g7221-codec",
    "--disable-silk",
    "--disable-opus",
    "--disable-lyra",
    "--disable-bcg729",
    "--disable-opencore-amr",
    "--disable-libwebrtc",
    "--disable-libyuv",
    "--disable-sdl",
    "--disable-ffmpeg",
    "--disable-v4l2",
    "--disable-openh264",
    "--disable-vpx",
)

# Where the tree comes without third_party: SRTP and the resampler (G.722 beside G.711 needs one) from our own builds.
CONFIGURE_STRIPPED = ("--with-external-srtp", "--enable-speex-resample")

_CFLAGS = ("-O2", "-fPIC", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2")
LDFLAGS = ("-Wl,-z,relro,-z,now",)

# -threads: a callback may run on another thread (onEof2), and polling must let other Python threads run.
SWIG_FLAGS = ("-python", "-c++", "-threads", "-doxygen", "-w312")


@dataclass(frozen=True)
class Recipe:
    """One way to build: production, or with assertions on.

    An assertion ends the process at the first misuse, which CI wants to see. In production the same checks return an
    error instead, so that no message from the network can abort a worker and its calls.
    """

    assertions: bool = False

    @property
    def cflags(self) -> tuple[str, ...]:
        """Compiler flags of everything that is linked into the binding."""
        return _CFLAGS if self.assertions else (*_CFLAGS, "-DNDEBUG")

    @property
    def config_hash(self) -> str:
        """Eight hexadecimal digits that change with anything that changes the build."""
        parts = [
            _REVISION,
            CONFIG_SITE,
            CONFIGURE,
            CONFIGURE_STRIPPED,
            self.cflags,
            LDFLAGS,
            SWIG_FLAGS,
            [pinned.sha256 for pinned in (PJPROJECT, LIBSRTP, SPEEXDSP)],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]

    @property
    def version(self) -> str:
        """The wheel's version: above every 2.15 of PyPI, and its own for every configuration."""
        return f"{VERSION}+dialer.{self.config_hash}" + (".assertions" if self.assertions else "")

    @property
    def wheel_name(self) -> str:
        """The wheel's file name, for the running interpreter."""
        return f"{DISTRIBUTION.replace('-', '_')}-{self.version}-{wheel_tag()}.whl"

    @property
    def cache_key(self) -> str:
        """The name of this recipe's folder in the cache, for the running interpreter."""
        return f"{VERSION}-{self.config_hash}-{abi()}"


def max_calls() -> int:
    """Calls that one process of this build carries, read from config_site.h."""
    found = re.search(r"^#define PJSUA_MAX_CALLS\s+(\d+)$", CONFIG_SITE, re.MULTILINE)
    if found is None:
        raise ValueError("config_site.h does not set PJSUA_MAX_CALLS")
    return int(found[1])


def _python_tag() -> str:
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def _platform_tag() -> str:
    return re.sub(r"[-.]", "_", sysconfig.get_platform())


def abi() -> str:
    """The running interpreter's ABI and platform, such as ``cp311-linux_x86_64``."""
    return f"{_python_tag()}{sys.abiflags}-{_platform_tag()}"


def wheel_tag() -> str:
    """The running interpreter's wheel tag, such as ``cp311-cp311-linux_x86_64``."""
    return f"{_python_tag()}-{_python_tag()}{sys.abiflags}-{_platform_tag()}"
