"""How people and machines answer, synthesised: espeak-ng speaks, noise and tones are made here, all goes through G.711.

The same every time: noise comes from a seed, and espeak-ng says the same text the same way.
"""

import math
import random
import shutil
import subprocess
import tempfile
import wave
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sip.g711 import RATE_HZ, decode, encode

PEAK = 12_000  # speech at about -20 dB mean, as lines carry it
FRAME = 160
Samples = array  # of 16 bits, at RATE_HZ


def has_voice() -> bool:
    return shutil.which("espeak-ng") is not None


@cache
def speech(text: str, voice: str = "en", words_a_minute: int = 165) -> bytes:
    """The text as samples, without silence around it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = ["espeak-ng", "-v", voice, "-s", str(words_a_minute), "-w", str(path), text]
        subprocess.run(command, check=True, capture_output=True)
        with wave.open(str(path)) as file:
            rate, given = file.getframerate(), array("h", file.readframes(file.getnframes()))
    loudest = max(map(abs, given))
    # The mean of neighbours: what lies above 4 kHz must not come back as a lower tone.
    at = [int(n * rate / RATE_HZ) for n in range(int(len(given) * RATE_HZ / rate) - 1)]
    spoken = array("h", ((given[i - 1] + 2 * given[i] + given[i + 1]) * PEAK // (4 * loudest) for i in at))
    audible = [n for n, sample in enumerate(spoken) if abs(sample) > 100]
    return spoken[audible[0] : audible[-1]].tobytes()


def tone(hertz: int, seconds: float, amplitude: int = 6_000) -> bytes:
    count = round(seconds * RATE_HZ)
    return array("h", (round(amplitude * math.sin(2 * math.pi * hertz * n / RATE_HZ)) for n in range(count))).tobytes()


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE_HZ))


@dataclass(frozen=True, slots=True)
class Line:
    """How the far side sounds here: `noise` is its mean amplitude, `gain` is of the voice."""

    name: str
    noise: float = 8
    gain: float = 1.0


LINES = (
    Line("clean"),
    Line("quiet voice", gain=0.2),
    Line("noise 20 dB below speech", noise=330),
    Line("noise 12 dB below speech", noise=820),
)


def on(line: Line, samples: bytes, seed: int = 1) -> array:
    """What arrives here of the samples."""
    dice = random.Random(seed)
    spread = line.noise * math.sqrt(math.pi / 2)
    mixed = (max(-32_000, min(32_000, round(line.gain * s + dice.gauss(0, spread)))) for s in array("h", samples))
    return array("h", decode(encode(mixed, "PCMA"), "PCMA"))


def frames(samples: array) -> Iterator[array]:
    for at in range(0, len(samples) - FRAME + 1, FRAME):
        yield samples[at : at + FRAME]


@dataclass(frozen=True, slots=True)
class Greeting:
    """What is heard from the answer on, without the silence that follows for ever. `tone_ends` in seconds, None: no tone."""

    kind: str
    samples: bytes
    tone_ends: float | None = None


_SHORT = {
    "en": ("Hello?", "Yes?", "Hello, who is this?", "Julia speaking.", "Hi, this is Peter."),
    "es": ("Diga?", "Hola, quién es?", "Sí, dígame."),
    "de": ("Hallo?", "Müller, guten Tag."),
    "fr": ("Allô?", "Oui, bonjour?"),
}
_FIRM = {
    "en": ("Good morning, Acme Limited, Julia speaking.", "Acme Corporation, how can I help you today?"),
    "es": ("Buenos días, talleres García, le atiende Ana.",),
    "de": ("Firma Müller und Söhne, guten Tag, was kann ich für Sie tun?",),
    "fr": ("Société Durand bonjour, que puis-je faire pour vous?",),
}
_MACHINE = {
    "en": (
        "Hi, you have reached the voice mail of Julia. I am not available right now. Please leave a message after the tone.",
        "The person you are calling is not available. Please leave a message after the beep.",
        "Your call has been forwarded to an automatic voice message system.",
    ),
    "es": ("El número al que llama no está disponible. Deje su mensaje después de la señal.",),
    "de": ("Guten Tag, Sie sind mit dem Anschluss von Familie Müller verbunden. Bitte sprechen Sie nach dem Ton.",),
    "fr": ("Bonjour, vous êtes bien chez Marie. Laissez un message après le signal sonore.",),
}
_CURT = {"en": ("Leave a message.", "Speak after the beep."), "es": ("Deje su mensaje.",)}
_VOICES = {"en": ("en", "en-us+f3", "en+m3"), "es": ("es", "es+f2"), "de": ("de", "de+f4"), "fr": ("fr", "fr+m2")}
_BEEPS = ((1_000, 0.4), (440, 0.5), (1_400, 0.25), (850, 1.0))
PICK_UP = (0.2, 0.9)


def _said(texts: dict[str, Sequence[str]]) -> Iterator[bytes]:
    for language, those in texts.items():
        for voice in _VOICES[language]:
            for text in those:
                for speed in (150, 185):
                    yield speech(text, voice, speed)


def _after(pick_up: float, *parts: bytes) -> bytes:
    return b"".join((silence(pick_up), *parts))


def greetings() -> Iterator[Greeting]:
    """All of them: about 200."""
    for i, said in enumerate(_said(_SHORT)):
        yield Greeting("a person, a word or two", _after(PICK_UP[i % 2], said))
    for i, said in enumerate(_said(_FIRM)):
        yield Greeting("a firm's long greeting", _after(PICK_UP[i % 2], said))
    for texts, kind in ((_MACHINE, "a machine"), (_CURT, "a machine of few words")):
        for i, said in enumerate(_said(texts)):
            hertz, seconds = _BEEPS[i % len(_BEEPS)]
            parts = _after(PICK_UP[i % 2], said, silence(0.6))
            yield Greeting(kind, parts + tone(hertz, seconds), len(parts) / 2 / RATE_HZ + seconds)
    for i, said in enumerate(_said({"en": _MACHINE["en"][:1]})):
        parts = _after(PICK_UP[i % 2], speech("Hello.", "en"), silence(0.6), said)
        yield Greeting("a machine that says hello first", parts)
    for pick_up in PICK_UP:
        yield Greeting("a fax", _after(pick_up, tone(2_100, 3.0)))
        yield Greeting("ringing that goes on", _after(pick_up, tone(425, 1.0), silence(4), tone(425, 1.0)))
    yield Greeting("nobody speaks", silence(1))
