"""Plausible signals of machines: load cycles, daily cycle, drift, noise, and faults that come and go. Pure."""

import math
import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any

DAY_SECONDS = 86_400
FAULT_RAMP_SECONDS = 12.0
RATED_RPM = 1450


@dataclass(frozen=True, slots=True)
class Signal:
    """One number: its mean, how far load and time of day move it, and where a fault takes it."""

    mean: float
    noise: float
    load_gain: float = 0.0
    daily: float = 0.0
    drift: float = 0.0
    fault_value: float | None = None
    digits: int = 1


# `fault_value` lies beyond a rule of `plant.RULES`, and no normal value does.
SIGNALS: dict[str, dict[str, Signal]] = {
    "Pump": {
        "temperature": Signal(48, 0.25, load_gain=14, daily=3, drift=2, fault_value=91),
        "pressure": Signal(4.2, 0.03, load_gain=1.2, digits=2),
        "vibration": Signal(2.1, 0.12, load_gain=0.8, drift=0.3, fault_value=9.4, digits=2),
        "current": Signal(21, 0.3, load_gain=9, fault_value=31),
    },
    "Compressor": {
        "temperature": Signal(72, 0.4, load_gain=12, daily=3, drift=1.5, fault_value=104),
        "pressure": Signal(7.1, 0.04, load_gain=-0.6, fault_value=4.9, digits=2),
        "power": Signal(55, 0.8, load_gain=50),
    },
    "Furnace": {
        "temperature": Signal(860, 1.5, load_gain=30, drift=6, fault_value=968),
        "power": Signal(180, 4, load_gain=120, fault_value=330),
    },
    "Tank": {
        "level": Signal(52, 0.08, load_gain=56, drift=1, fault_value=97.5),
        "temperature": Signal(24, 0.05, daily=4, drift=1),
    },
    "Conveyor": {
        "speed": Signal(1.4, 0.01, load_gain=0.5, fault_value=0.6, digits=2),
        "current": Signal(9.5, 0.2, load_gain=5, fault_value=21),
        "temperature": Signal(44, 0.2, load_gain=10, daily=3, drift=1.5, fault_value=74),
    },
}
# Seconds of one load cycle: a tank fills and empties slowly, a compressor loads and unloads all the time.
LOAD_PERIOD_SECONDS = {"Pump": 900, "Compressor": 150, "Furnace": 1800, "Tank": 3600, "Conveyor": 400}


class Machine:
    """The signals of one device. Same seed, same personality; `values` is called with times that only go forward."""

    def __init__(self, kind: str, seed: str) -> None:
        self._kind = kind
        self._random = random.Random(seed)  # noqa: S311 - a simulation, no secret
        self._phase = self._random.random()
        self._drifts = dict.fromkeys(SIGNALS[kind], 0.0)
        self._offsets = {key: self._random.gauss(0, 0.4) * signal.drift for key, signal in SIGNALS[kind].items()}
        self._fault_until = -math.inf
        self._fault_level = 0.0
        self._before: float | None = None
        self._is_running = True
        self._rpm = RATED_RPM

    def obey(self, name: str, payload: Any) -> dict[str, float | bool]:
        """Carry out a command (`plant.COMMANDS`) and return what is so now.

        Raises:
            ValueError: it knows no such command, or cannot do that.
        """
        match self._kind, name, payload:
            case "Pump", "start" | "stop", _:
                self._is_running = name == "start"
            case "Pump", "set_speed", {"rpm": int(rpm)} if 600 <= rpm <= 1500:
                self._rpm = rpm
            case _:
                raise ValueError(f"a {self._kind.lower()} cannot do {name} with {payload}")
        return {"running": self._is_running, "rpm": self._rpm if self._is_running else 0}

    def start_fault(self, at: datetime, *, seconds: float) -> None:
        """Let the machine go wrong for a while."""
        self._fault_until = at.timestamp() + seconds

    @property
    def is_faulty(self) -> bool:
        """Whether it is wrong, or on its way back."""
        return self._fault_level > 0

    def values(self, at: datetime) -> dict[str, float | bool | str]:
        """Return what its sensors show at that time."""
        now = at.timestamp()
        elapsed = 0.0 if self._before is None else max(0.0, now - self._before)
        self._before = now
        self._move_fault(now, elapsed)
        load = self._load(now)
        values: dict[str, float | bool | str] = {
            key: self._value(key, signal, load, now, elapsed) for key, signal in SIGNALS[self._kind].items()
        }
        return {key: self._turned(key, value) for key, value in values.items()} | self._states(load, now)

    def _turned(self, key: str, value: float | bool | str) -> float | bool | str:
        """Return a pump's value at its speed: head goes with the square of it, power with the cube (affinity laws)."""
        if self._kind != "Pump" or key == "temperature" or not isinstance(value, float):
            return value
        speed = self._rpm / RATED_RPM if self._is_running else 0.0
        return round(value * speed ** {"pressure": 2, "current": 3}.get(key, 1), SIGNALS["Pump"][key].digits)

    def _load(self, now: float) -> float:
        """Return the load from 0 to 1: a rounded square wave, so that it rests at both ends."""
        wave = math.sin(2 * math.pi * (now / LOAD_PERIOD_SECONDS[self._kind] + self._phase))
        steepness = 1.0 if self._kind == "Tank" else 2.5
        return 0.5 + 0.5 * math.tanh(steepness * wave) / math.tanh(steepness)

    def _value(self, key: str, signal: Signal, load: float, now: float, elapsed: float) -> float:
        if signal.drift:  # a random walk that is drawn back to zero within about an hour
            pull = min(1.0, elapsed / 3600)
            self._drifts[key] += -pull * self._drifts[key] + self._random.gauss(0, signal.drift * math.sqrt(pull) * 0.5)
        day = math.sin(2 * math.pi * (now / DAY_SECONDS - 0.375))  # warmest at 15:00 UTC
        normal = signal.mean + signal.load_gain * (load - 0.5) + signal.daily * day + self._drifts[key] + self._offsets[key]
        if signal.fault_value is not None:
            normal += (signal.fault_value - normal) * self._fault_level
        return round(normal + self._random.gauss(0, signal.noise), signal.digits)

    def _move_fault(self, now: float, elapsed: float) -> None:
        step = elapsed / FAULT_RAMP_SECONDS
        if now < self._fault_until:
            self._fault_level = min(1.0, self._fault_level + step)
        else:
            self._fault_level = max(0.0, self._fault_level - step)

    def _states(self, load: float, now: float) -> dict[str, float | bool | str]:
        match self._kind:
            case "Pump" | "Conveyor":
                return {"running": self._is_running}
            case "Compressor":
                return {"state": "load" if load > 0.5 else "unload"}
            case "Furnace":
                return {"door_open": now % 600 < 20}
            case "Tank":
                slope = math.cos(2 * math.pi * (now / LOAD_PERIOD_SECONDS["Tank"] + self._phase))
                return {"flow": round(45 * slope + self._random.gauss(0, 0.5), 1)}
        return {}
