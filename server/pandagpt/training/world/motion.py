"""How each thing moves, felt by an inertial sensor fixed to it: [6, steps] at 200 Hz.

Accelerometer x, y, z in m/s2 with gravity, then gyroscope x, y, z in rad/s. A thing is a
row of numbers: how it rocks, bobs, shakes, is struck and drifts.
"""

from dataclasses import dataclass

import numpy as np

RATE_HZ = 200
GRAVITY = 9.81
SPREAD = 0.15
NOISE = (0.03, 0.05)
Axis = int


@dataclass(frozen=True, slots=True)
class Motion:
    """Rates in Hz, turns in rad/s, pushes in m/s2, times in seconds."""

    rock_hz: float = 0.5
    rock: float = 0.0
    rock_axis: Axis = 0
    bob_hz: float = 1.0
    bob: float = 0.0
    shake_hz: float = 30.0
    shake: float = 0.0
    shake_axis: Axis = 0
    period: float = 1.0
    hits: tuple[float, ...] = ()
    hit: float = 0.0
    decay: float = 0.05
    rough: float = 0.0
    burst: float = 1.0
    """Share of each period in which it shakes."""


MOTIONS: dict[str, Motion] = {
    "bell": Motion(rock_hz=0.9, rock=2.6, period=0.55, hits=(0.0,), hit=5, decay=0.12),
    "drum": Motion(period=0.48, hits=(0.0, 0.24), hit=14, decay=0.03, shake_hz=80, shake=0.2),
    "bird": Motion(bob_hz=5.5, bob=7, rock_hz=5.5, rock=1.2, rock_axis=1, rough=0.3),
    "dog": Motion(bob_hz=2.6, bob=3, rock_hz=2.6, rock=0.9, rock_axis=1, rough=0.5),
    "cat": Motion(bob_hz=1.6, bob=0.9, rock_hz=0.8, rock=0.5, rock_axis=2, rough=0.12),
    "car": Motion(shake_hz=26, shake=0.7, rock_hz=0.16, rock=0.3, rock_axis=2, rough=0.35),
    "train": Motion(
        period=1.1, hits=(0.0, 0.16), hit=4, decay=0.05, shake_hz=12, shake=0.25, shake_axis=1
    ),
    "rain": Motion(rough=0.9),
    "clock": Motion(period=0.5, hits=(0.0,), hit=0.9, decay=0.02),
    "kettle": Motion(shake_hz=9, shake=0.55, shake_axis=2, rough=0.5, rock_hz=4, rock=0.12),
    "siren": Motion(rock_hz=1.4, rock=3.2, rock_axis=2),
    "guitar": Motion(shake_hz=60, shake=1.0, shake_axis=1, period=0.42, hits=(0.0,), hit=1.4),
    "frog": Motion(period=1.3, hits=(0.0, 0.42), hit=16, decay=0.07, rough=0.08),
    "bee": Motion(shake_hz=88, shake=3.2, shake_axis=2, rock_hz=1.1, rock=0.9, rock_axis=2),
    "wave": Motion(bob_hz=0.32, bob=2.2, rock_hz=0.32, rock=0.5, rock_axis=0),
    "fire": Motion(rock_hz=7, rock=0.25, rock_axis=1, rough=0.18, shake_hz=4, shake=0.3),
    "helicopter": Motion(shake_hz=17, shake=3.0, shake_axis=2, rock_hz=0.3, rock=0.35),
    "horse": Motion(
        bob_hz=1.8,
        bob=5,
        rock_hz=1.8,
        rock=1.0,
        rock_axis=1,
        period=0.56,
        hits=(0.0, 0.13, 0.26),
        hit=9,
        decay=0.04,
    ),
    "boat": Motion(
        rock_hz=0.22, rock=0.55, rock_axis=0, bob_hz=0.3, bob=0.5, shake_hz=38, shake=0.5
    ),
    "phone": Motion(shake_hz=70, shake=4.5, shake_axis=0, period=1.0, burst=0.5),
}


def render_motion(thing: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """[6, seconds * 200] float32."""
    motion = MOTIONS[thing]
    clock = np.arange(round(seconds * RATE_HZ)) / RATE_HZ * _around_one(rng) + rng.uniform(0, 20)
    acceleration = _push(motion, clock, rng)
    gyroscope = _turn(motion, clock, rng)
    tilted = _tilt(rng) @ acceleration
    noise = rng.standard_normal((6, len(clock)))
    both = np.concatenate([tilted + NOISE[0] * noise[:3], gyroscope + NOISE[1] * noise[3:]])
    return both.astype(np.float32)


def _push(motion: Motion, clock: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What the accelerometer feels before it is tilted."""
    push = motion.rough * _around_one(rng) * rng.standard_normal((3, len(clock)))
    push[2] += GRAVITY + motion.bob * _around_one(rng) * _wave(motion.bob_hz, clock, rng)
    shaking = np.mod(clock, motion.period) < motion.burst * motion.period
    shake = motion.shake * _around_one(rng) * _wave(motion.shake_hz, clock, rng) * shaking
    push[motion.shake_axis] += shake
    # Rocking tips gravity sideways by the angle, which is the integral of the turning rate.
    sideways = motion.rock / (2 * np.pi * motion.rock_hz) * _wave(motion.rock_hz, clock, rng)
    push[1 if motion.rock_axis == 0 else 0] += GRAVITY * np.sin(np.clip(sideways, -0.6, 0.6))
    for offset in motion.hits:
        since = np.mod(clock - offset, motion.period)
        ringing = np.exp(-since / motion.decay) * np.cos(2 * np.pi * 24 * since)
        push += np.array([[0.35], [0.2], [1.0]]) * motion.hit * _around_one(rng) * ringing
    return push


def _turn(motion: Motion, clock: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turn = 0.1 * motion.rough * rng.standard_normal((3, len(clock)))
    turn[motion.rock_axis] += motion.rock * _around_one(rng) * _wave(motion.rock_hz, clock, rng)
    for offset in motion.hits:
        since = np.mod(clock - offset, motion.period)
        turn[1] += 0.06 * motion.hit * np.exp(-since / motion.decay)
    return turn


def _wave(hertz: float, clock: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * clock + rng.uniform(0, 2 * np.pi))


def _tilt(rng: np.random.Generator) -> np.ndarray:
    """How the sensor was stuck on: a small turn about x, then about y."""
    a, b = rng.uniform(-0.2, 0.2, 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return about_y @ about_x


def _around_one(rng: np.random.Generator) -> float:
    return rng.uniform(1 - SPREAD, 1 + SPREAD)
