"""Recordings for tests: three words, each a tone of its own, joined with pauses; and files of every careless kind."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np

RATE = 8000
TONES = {"LOW": 300, "MID": 800, "HIGH": 2000}


def say(words: str, rng: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """Return samples (N,) of words."""
    parts = [rng.normal(0, 0.003, int(rng.uniform(0.05, 0.15) * rate))]
    for word in words.split():
        n = int(rng.uniform(0.12, 0.2) * rate)
        tone = 0.3 * np.sin(2 * np.pi * TONES[word] * np.arange(n) / rate) * np.hanning(n)
        parts += [tone, rng.normal(0, 0.003, int(rng.uniform(0.08, 0.15) * rate))]
    return np.concatenate(parts).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, *, width: int = 2, channels: int = 1) -> Path:
    """Write samples (N,) or (N, C) as a wav file of 16 or 24 bits."""
    scale = 2 ** (8 * width - 1) - 1
    whole = np.round(np.clip(samples, -1, 1) * scale).astype("<i4")
    data = whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def float_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Write samples as a wav file of 32-bit floats, which may hold what is no number."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
    path.write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
    return path


def write_corpus(folder: Path, n: int, seed: int = 0) -> Path:
    """Write n recordings and their list, and return the list."""
    rng = np.random.default_rng(seed)
    lines = []
    for k in range(n):
        words = " ".join(rng.choice(list(TONES), rng.integers(1, 4)))
        write_wav(folder / f"{k}.wav", say(words, rng))
        lines.append(f"{k}.wav\t{words}\ts{k % 2}\n")
    path = folder / "list.tsv"
    path.write_text("".join(lines), encoding="utf-8")
    return path
