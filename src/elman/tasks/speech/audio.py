"""Sound from files and from streams: samples of one channel at the rate that a recogniser wants."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from elman.params import Array

MAX_SECONDS = 6 * 3600  # of one file
SILENT_PEAK = 2**-14  # below it nothing but the last bits of 16 moves
CLIPPED_SHARE = 1e-3  # of the samples at full scale
RATES_HZ = (1000, 768000)  # that a recording can have
NEEDED = "recordings need soundfile, soxr and kaldi-native-fbank: pip install 'elman[speech]'"


class Audio(NamedTuple):
    """A recording."""

    samples: Array  # (N,) float32 from -1 to 1
    rate_hz: int
    notes: tuple[str, ...]  # what a listener should know: silent, clipped, cut short, made one channel


def read_audio(path: str | os.PathLike[str], rate_hz: int | None = None) -> Audio:
    """Return a recording from a file: wav, flac, ogg, mp3 and what else libsndfile reads, of any depth and rate.

    Several channels become their mean, or the loudest one where they cancel out. Another rate is resampled by soxr.

    Parameters
    ----------
    path : the file
    rate_hz : samples a second that are wanted; None keeps those of the file

    Raises
    ------
    FileNotFoundError, OSError
        where the file cannot be opened
    ValueError
        where it is not audio, has no samples, holds a NaN or an infinity, or is longer than six hours
    """
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(NEEDED) from error
    path = Path(path)
    with open(path, "rb") as file:  # a sentence of the system where there is no such file
        if not file.read(1):
            raise ValueError(f"{path}: is empty: not even a header of audio")
        promised = _promised_bytes(file)
    try:
        with soundfile.SoundFile(os.fspath(path)) as sound:
            rate = int(sound.samplerate)
            if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
                raise ValueError(f"{path}: says {rate:,} samples a second, which no recording has")
            if sound.frames > MAX_SECONDS * rate:
                hours = sound.frames / rate / 3600
                raise ValueError(
                    f"{path}: is {hours:.1f} hours long; cut it into parts of at most {MAX_SECONDS // 3600}"
                )
            channels = sound.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".").lower()
        raise ValueError(f"{path}: not audio that can be read: {reason}") from error
    if not len(channels):
        raise ValueError(f"{path}: is audio, but has no samples")
    if not np.isfinite(channels).all():
        raise ValueError(f"{path}: has samples that are no numbers (NaN or infinity)")
    notes = []
    if promised > 0:
        notes.append(f"is cut short: {promised:,} bytes of sound are missing at its end")
    samples, note = _one_channel(channels)
    notes += note
    notes += _loudness(samples)
    if rate_hz is not None and rate_hz != rate:
        samples = resample(samples, rate, rate_hz)
        rate = rate_hz
    return Audio(samples, rate, tuple(notes))


def resample(samples: Array, rate_hz: int, wanted_hz: int) -> Array:
    """Return samples (N,) at another rate, by soxr."""
    try:
        import soxr
    except ImportError as error:
        raise ImportError(NEEDED) from error
    out: Array = soxr.resample(samples, rate_hz, wanted_hz).astype(np.float32, copy=False)
    return out


class Resampler:
    """Resamples a stream as it comes; samples come out a little later than they go in."""

    def __init__(self, rate_hz: int, wanted_hz: int) -> None:
        self._stream: Any = None
        if rate_hz != wanted_hz:
            try:
                import soxr
            except ImportError as error:
                raise ImportError(NEEDED) from error
            self._stream = soxr.ResampleStream(rate_hz, wanted_hz, 1, dtype="float32")

    def push(self, samples: Array, *, end: bool = False) -> Array:
        """Return what can be said so far of the samples (N,); with end=True, the rest too."""
        if self._stream is None:
            return samples
        out: Array = self._stream.resample_chunk(samples.astype(np.float32, copy=False), last=end)
        return out


def pcm_chunks(stream: BinaryIO, n_samples: int, where: str = "standard input") -> Iterator[Array]:
    """Yield raw sound, signed 16 bit little endian of one channel, as samples from -1 to 1, n_samples at a time.

    Raises ValueError where it begins as a wav file does, or ends inside of a sample.
    """
    first = True
    while True:
        data = stream.read(2 * n_samples)
        if not data:
            return
        if first and data[:4] in (b"RIFF", b"fLaC", b"OggS"):
            raise ValueError(f"{where}: is a file with a header, not raw samples; name the file instead")
        first = False
        if len(data) % 2:
            data += stream.read(1)
        if len(data) % 2:
            raise ValueError(f"{where}: ends inside of a sample; it must be signed 16 bit, one channel")
        yield np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def _one_channel(channels: Array) -> tuple[Array, list[str]]:
    """Return the samples (N,) of channels (N, C), and what was done."""
    n = channels.shape[1]
    if n == 1:
        return np.ascontiguousarray(channels[:, 0]), []
    loudness = np.sqrt(np.mean(channels.astype(np.float64) ** 2, axis=0))
    mean = channels.mean(axis=1, dtype=np.float64).astype(np.float32)
    if np.sqrt(np.mean(mean.astype(np.float64) ** 2)) < 0.1 * loudness.max():
        at = int(loudness.argmax())
        return np.ascontiguousarray(channels[:, at]), [f"has {n} channels that cancel out: took channel {at + 1}"]
    return mean, [f"has {n} channels: took their mean"]


def _loudness(samples: Array) -> list[str]:
    peak = float(np.abs(samples).max())
    if peak < SILENT_PEAK:
        return ["is silent"]
    share = float(np.mean(np.abs(samples) >= 0.999 * max(peak, 0.99)))
    if share > CLIPPED_SHARE:
        return [f"is clipped: {100 * share:.1f} % of its samples are at full scale, which costs accuracy"]
    return []


def _promised_bytes(file: BinaryIO) -> int:
    """Return how many bytes of sound the header of a wav file promises beyond the end of the file, else 0."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return 0
    while True:
        chunk = file.read(8)
        if len(chunk) < 8:
            return 0
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":  # writers to a pipe do not know the length, and say the largest
            return 0 if length >= 0x7FFFFF00 else max(0, length - (size - file.tell()))
        file.seek(length + length % 2, os.SEEK_CUR)
