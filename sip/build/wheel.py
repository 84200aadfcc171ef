"""Packs the binding as a wheel, and has a wheel prove itself in a process of its own."""

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from sip.build.compile import Binding
from sip.build.recipe import DISTRIBUTION, VERSION, Recipe, max_calls, wheel_tag

_PROOF_SECONDS = 30
_SYSTEM_LIBRARIES = ("libssl.so.3", "libuuid.so.1")

_WHEEL = "Wheel-Version: 1.0\nGenerator: sip.build\nRoot-Is-Purelib: false\nTag: {tag}\n"

# Reports in a file: the library logs to standard output. Ends by os._exit: destroying the library takes a second.
_PROOF = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import pjsua2
config = pjsua2.EpConfig()
calls = config.uaConfig.maxCalls
config.uaConfig.threadCnt = 0
config.logConfig.level = config.logConfig.consoleLevel = 0
endpoint = pjsua2.Endpoint()
endpoint.libCreate()
endpoint.libInit(config)
transport = pjsua2.TransportConfig()
transport.boundAddress = "127.0.0.1"
endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_TLS, transport)
with open("/proc/self/maps") as maps:
    loaded = {line.split()[-1].rpartition("/")[2] for line in maps if ".so" in line}
with open(sys.argv[2], "w") as report:
    json.dump({"calls": calls, "version": endpoint.libVersion().full, "loaded": sorted(loaded)}, report)
os._exit(0)
"""


class UnusableWheelError(Exception):
    """A wheel that does not load here, or is not what the recipe says; the message says why."""


def pack(binding: Binding, recipe: Recipe, folder: Path) -> Path:
    """Write the wheel of a binding into `folder` and return its path."""
    info = f"{DISTRIBUTION.replace('-', '_')}-{recipe.version}.dist-info"
    files = {
        "pjsua2.py": binding.module.read_bytes(),
        binding.extension.name: binding.extension.read_bytes(),
        f"{info}/METADATA": _metadata(recipe).encode(),
        f"{info}/WHEEL": _WHEEL.format(tag=wheel_tag()).encode(),
        **{f"{info}/licenses/{name}.txt": path.read_bytes() for name, path in binding.licenses.items()},
    }
    path = folder / recipe.wheel_name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # A fixed date: the same build gives the same bytes.
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", _record(files, f"{info}/RECORD"))
    return path


def prove(wheel: Path) -> None:
    """Load a wheel in a fresh process and hold it to the recipe: version, calls, OpenSSL 3 and libuuid.

    Takes about half a second. Raises UnusableWheelError.
    """
    with tempfile.TemporaryDirectory(prefix="dialer-pjsua2-proof-") as folder:
        report = Path(folder) / "report.json"
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            # -I: neither the environment nor the current folder adds a module.
            subprocess.run(  # noqa: S603
                [sys.executable, "-I", "-c", _PROOF, folder, report],
                capture_output=True,
                text=True,
                timeout=_PROOF_SECONDS,
                check=True,
            )
            found = json.loads(report.read_text(encoding="utf-8"))
        except subprocess.CalledProcessError as error:
            lines = str(error.stderr).strip().splitlines()
            raise UnusableWheelError(f"does not load: {lines[-1] if lines else error}") from None
        except (OSError, ValueError, zipfile.BadZipFile, subprocess.TimeoutExpired) as error:
            raise UnusableWheelError(str(error)) from None
    faults = []
    if found["version"] != VERSION:
        faults.append(f"is pjproject {found['version']}, not {VERSION}")
    if found["calls"] != max_calls():
        faults.append(f"carries {found['calls']} calls, not {max_calls()}")
    # The mapped name is the file's own, such as libuuid.so.1.3.0.
    loaded = tuple(found["loaded"])
    faults += [f"does not link {name}" for name in _SYSTEM_LIBRARIES if not any(x.startswith(name) for x in loaded)]
    if faults:
        raise UnusableWheelError("; ".join(faults))


def _metadata(recipe: Recipe) -> str:
    return (
        "Metadata-Version: 2.1\n"
        f"Name: {DISTRIBUTION}\n"
        f"Version: {recipe.version}\n"
        f"Summary: PJSUA2 of pjproject {VERSION}, built by the dialer for {max_calls()} calls a process\n"
        "License: GPL-2.0-or-later\n"
        "Requires-Python: >=3.11\n"
    )


def _record(files: dict[str, bytes], own_name: str) -> str:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={digest}", len(content)])
    writer.writerow([own_name, "", ""])
    return rows.getvalue()
