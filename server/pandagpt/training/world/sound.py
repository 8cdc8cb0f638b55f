"""What each thing sounds like: mono samples at 16 kHz, synthesised from tones and noise.

Every thing has its own timbre and rhythm; each recording its own pitch, tempo, start and
background hiss. Frequencies in Hz, times in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RATE_HZ = 16_000
PITCH_SPREAD = 0.13
TEMPO_SPREAD = 0.17
PEAK = (0.25, 0.8)
HISS = (0.001, 0.01)


@dataclass(frozen=True, slots=True)
class Take:
    """One recording in the making: its clock and its lots. `time` runs in the thing's tempo."""

    rng: np.random.Generator
    time: np.ndarray
    pitch: float

    def since(self, period: float, offset: float = 0.0) -> np.ndarray:
        """Seconds since the last beat of a rhythm."""
        return np.mod(self.time - offset, period)

    def beats(self, period: float, offset: float = 0.0) -> np.ndarray:
        """Index of the beat that sounds now."""
        return np.floor((self.time - offset) / period).astype(int)

    def sine(self, hertz: np.ndarray | float) -> np.ndarray:
        return np.sin(self.angle(hertz))

    def reed(self, hertz: np.ndarray | float, partials: int, roll_off: float = 1.0) -> np.ndarray:
        """A buzzing tone: `partials` harmonics falling as 1 / n**roll_off."""
        angle = self.angle(hertz)
        return sum(np.sin(n * angle) / n**roll_off for n in range(1, partials + 1))

    def angle(self, hertz: np.ndarray | float) -> np.ndarray:
        steps = np.broadcast_to(np.asarray(hertz) * self.pitch, self.time.shape)
        return np.cumsum(steps) * (2 * np.pi / RATE_HZ)

    def noise(self, low: float, high: float) -> np.ndarray:
        """White noise between two frequencies, of unit deviation."""
        spectrum = np.fft.rfft(self.rng.standard_normal(len(self.time)))
        hertz = np.fft.rfftfreq(len(self.time), 1 / RATE_HZ)
        spectrum[(hertz < low) | (hertz > high)] = 0
        wave = np.fft.irfft(spectrum, len(self.time))
        return wave / wave.std()


def render_sound(things: tuple[str, ...], seconds: float, rng: np.random.Generator) -> np.ndarray:
    """[seconds * 16000] float32 in -1..1; several things are heard at once, about equally loud."""
    voices = [_voice(thing, seconds, rng) * rng.uniform(0.7, 1.0) for thing in things]
    return _finish(np.sum(voices, axis=0), rng)


def _voice(thing: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    tempo = rng.uniform(1 - TEMPO_SPREAD, 1 + TEMPO_SPREAD)
    clock = np.arange(round(seconds * RATE_HZ)) / RATE_HZ * tempo + rng.uniform(0, 10)
    wave = SOUNDS[thing](Take(rng, clock, rng.uniform(1 - PITCH_SPREAD, 1 + PITCH_SPREAD)))
    return wave / np.sqrt(np.mean(wave**2))


def _finish(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    peak = rng.uniform(*PEAK) / np.abs(wave).max()
    hiss = rng.uniform(*HISS) * rng.standard_normal(len(wave))
    return np.clip(wave * peak + hiss, -1, 1).astype(np.float32)


def _gate(since: np.ndarray, seconds: float, ramp: float = 0.02) -> np.ndarray:
    """1 for the first `seconds` after each beat, with soft edges."""
    return np.clip(since / ramp, 0, 1) * np.clip((seconds - since) / ramp, 0, 1)


def _bell(take: Take) -> np.ndarray:
    fading = np.exp(-take.since(1.1) / 0.45)
    return fading * sum(take.sine(640 * r) / (1 + k) for k, r in enumerate((1, 2, 2.76, 5.4)))


def _drum(take: Take) -> np.ndarray:
    since = take.since(0.48)
    skin = take.sine(70 + 90 * np.exp(-since / 0.04)) * np.exp(-since / 0.12)
    return skin + 0.25 * take.noise(200, 3000) * np.exp(-since / 0.03)


def _bird(take: Take) -> np.ndarray:
    since = take.since(0.22)
    phrase = take.since(1.3) < 0.85
    return take.sine(2900 + 9000 * np.clip(since, 0, 0.13)) * _gate(since, 0.13) * phrase


def _dog(take: Take) -> np.ndarray:
    since = np.minimum(take.since(0.95), take.since(0.95, 0.32))
    bark = np.sin(np.pi * np.clip(since / 0.19, 0, 1)) ** 0.7 * (since < 0.19)
    return bark * (take.reed(330 + 500 * since - 3800 * since**2, 10) + 0.4 * take.noise(500, 2500))


def _cat(take: Take) -> np.ndarray:
    since = take.since(1.25)
    glide = 520 + 260 * np.sin(np.pi * np.clip(since / 0.85, 0, 1))
    return np.sin(np.pi * np.clip(since / 0.85, 0, 1)) * take.reed(glide, 7, 0.7)


def _car(take: Take) -> np.ndarray:
    revs = 78 + 14 * np.sin(2 * np.pi * 0.35 * take.time)
    return take.reed(revs, 14, 0.8) * (1 + 0.3 * take.sine(revs / 2)) + 0.5 * take.noise(60, 700)


def _train(take: Take) -> np.ndarray:
    chuff = take.noise(250, 2600) * np.exp(-take.since(0.26) / 0.08)
    chord = sum(take.reed(hertz, 3, 1.5) for hertz in (392, 494, 587))
    return chuff + 0.5 * chord * _gate(take.since(1.4), 0.8, 0.05)


def _rain(take: Take) -> np.ndarray:
    drops = take.rng.random(len(take.time)) < 60 / RATE_HZ
    splash = np.convolve(drops, np.exp(-np.arange(240) / 50), "same")
    return take.noise(900, 7800) * (0.5 + 1.6 * splash)


def _clock(take: Take) -> np.ndarray:
    tick, tock = take.since(1.0), take.since(1.0, 0.5)
    first = take.sine(2300) * np.exp(-tick / 0.014)
    return first + take.sine(1650) * np.exp(-tock / 0.02)


def _kettle(take: Take) -> np.ndarray:
    whistle = take.sine(2350 + 45 * np.sin(2 * np.pi * 7 * take.time))
    return whistle + 0.3 * take.sine(4700) + 0.35 * take.noise(2500, 7800)


def _siren(take: Take) -> np.ndarray:
    return take.reed(900 + 350 * np.sin(2 * np.pi * 0.7 * take.time), 4, 1.3)


def _guitar(take: Take) -> np.ndarray:
    scale = np.array([196.0, 246.9, 293.7, 329.6, 392.0, 493.9])
    first = take.beats(0.42).min()
    melody = take.rng.choice(scale, take.beats(0.42).max() - first + 1)
    since = take.since(0.42)
    string = take.reed(melody[take.beats(0.42) - first], 8, 1.1)
    return string * np.exp(-since / 0.22) * np.clip(since / 0.004, 0, 1)


def _frog(take: Take) -> np.ndarray:
    croak = np.maximum(0, np.sin(2 * np.pi * 38 * take.time)) ** 3
    return croak * take.reed(420, 5, 0.8) * _gate(take.since(0.62), 0.36)


def _bee(take: Take) -> np.ndarray:
    wings = 225 + 18 * np.sin(2 * np.pi * 2.3 * take.time)
    return take.reed(wings, 16, 0.7) * (1 + 0.35 * np.sin(2 * np.pi * 3.1 * take.time))


def _wave(take: Take) -> np.ndarray:
    swell = 0.25 + 0.75 * np.abs(np.sin(np.pi * 0.45 * take.time)) ** 2
    return swell * (take.noise(60, 900) + 0.35 * take.noise(900, 3500) * swell)


def _fire(take: Take) -> np.ndarray:
    sparks = (take.rng.random(len(take.time)) < 22 / RATE_HZ) * take.rng.uniform(
        1, 6, len(take.time)
    )
    crackle = np.convolve(sparks, np.exp(-np.arange(160) / 28), "same")
    return take.noise(1200, 6500) * crackle + 0.25 * take.noise(40, 320)


def _helicopter(take: Take) -> np.ndarray:
    blade = np.exp(-take.since(0.092) / 0.028)
    return blade * (take.noise(50, 900) + take.sine(62)) + 0.12 * take.reed(310, 6)


def _horse(take: Take) -> np.ndarray:
    hooves = ((0.0, 980), (0.13, 820), (0.26, 700))
    wave = np.zeros_like(take.time)
    for offset, hertz in hooves:
        since = take.since(0.56, offset)
        wave += (take.sine(hertz) + 0.3 * take.noise(400, 2200)) * np.exp(-since / 0.026)
    return wave


def _boat(take: Take) -> np.ndarray:
    horn = take.reed(118, 9, 0.9) * _gate(take.since(1.7), 1.15, 0.06)
    return horn + 0.2 * take.noise(150, 1200) * (1 + np.sin(2 * np.pi * 0.8 * take.time))


def _phone(take: Take) -> np.ndarray:
    warble = np.where(np.mod(take.time, 0.08) < 0.04, 1250, 1560)
    return take.reed(warble, 3, 1.6) * _gate(take.since(1.0), 0.62)


SOUNDS: dict[str, Callable[[Take], np.ndarray]] = {
    "bell": _bell,
    "drum": _drum,
    "bird": _bird,
    "dog": _dog,
    "cat": _cat,
    "car": _car,
    "train": _train,
    "rain": _rain,
    "clock": _clock,
    "kettle": _kettle,
    "siren": _siren,
    "guitar": _guitar,
    "frog": _frog,
    "bee": _bee,
    "wave": _wave,
    "fire": _fire,
    "helicopter": _helicopter,
    "horse": _horse,
    "boat": _boat,
    "phone": _phone,
}
