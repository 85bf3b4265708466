"""Careless recordings: each is handled, with a note, or refused in one sentence."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from sounds import RATE, float_wav, say, write_wav

from elman.tasks.speech.audio import Resampler, pcm_chunks, read_audio, resample
from tolerances import exactly

SPEECH = say("LOW HIGH MID", np.random.default_rng(0))


def test_16_bit_is_read_as_it_is(tmp_path):
    audio = read_audio(write_wav(tmp_path / "a.wav", SPEECH))
    assert audio.samples.dtype == np.float32
    assert (audio.rate_hz, audio.notes) == (RATE, ())
    np.testing.assert_allclose(audio.samples, SPEECH, rtol=0, atol=1e-4)


def test_24_bit(tmp_path):
    audio = read_audio(write_wav(tmp_path / "a.wav", SPEECH, width=3))
    assert audio.notes == ()
    np.testing.assert_allclose(audio.samples, SPEECH, rtol=0, atol=1e-6)


def test_stereo_becomes_its_mean(tmp_path):
    both = np.stack([SPEECH, np.zeros_like(SPEECH)], axis=1)
    audio = read_audio(write_wav(tmp_path / "a.wav", both, channels=2))
    assert audio.notes == ("has 2 channels: took their mean",)
    np.testing.assert_allclose(audio.samples, SPEECH / 2, rtol=0, atol=1e-4)


def test_channels_that_cancel_out_do_not_vanish(tmp_path):
    both = np.stack([SPEECH, -SPEECH], axis=1)
    audio = read_audio(write_wav(tmp_path / "a.wav", both, channels=2))
    assert audio.notes == ("has 2 channels that cancel out: took channel 1",)
    np.testing.assert_allclose(audio.samples, SPEECH, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rate", [11025, 16000, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path, rate):
    spoken = say("LOW MID", np.random.default_rng(1), rate)
    audio = read_audio(write_wav(tmp_path / "a.wav", spoken, rate), RATE)
    assert audio.rate_hz == RATE
    assert len(audio.samples) == pytest.approx(len(spoken) * RATE / rate, abs=2)
    spectrum = np.abs(np.fft.rfft(audio.samples * np.hanning(len(audio.samples))))
    loudest_hz = np.fft.rfftfreq(len(audio.samples), 1 / RATE)[spectrum.argmax()]
    assert min(abs(loudest_hz - 300), abs(loudest_hz - 800)) < 10


def test_silence_and_clipping_are_noted(tmp_path):
    assert read_audio(write_wav(tmp_path / "s.wav", np.zeros(RATE))).notes == ("is silent",)
    (note,) = read_audio(write_wav(tmp_path / "c.wav", np.clip(10 * SPEECH, -1, 1))).notes
    assert re.fullmatch(r"is clipped: \d+\.\d % of its samples are at full scale, which costs accuracy", note)


def test_a_file_cut_short_gives_what_is_there(tmp_path):
    whole = write_wav(tmp_path / "a.wav", SPEECH).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    audio = read_audio(tmp_path / "cut.wav")
    missing = len(whole) - len(whole) // 2
    assert audio.notes == (f"is cut short: {missing:,} bytes of sound are missing at its end",)
    np.testing.assert_allclose(audio.samples, SPEECH[: len(audio.samples)], rtol=0, atol=1e-4)
    assert len(audio.samples) == pytest.approx(len(SPEECH) / 2, abs=30)


def test_what_is_refused(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=exactly(f"{tmp_path}/empty.wav: is empty: not even a header of audio")):
        read_audio(tmp_path / "empty.wav")
    write_wav(tmp_path / "none.wav", np.empty(0))
    with pytest.raises(ValueError, match=exactly(f"{tmp_path}/none.wav: is audio, but has no samples")):
        read_audio(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("These are words, not sound.", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.wav: not audio that can be read: "):
        read_audio(tmp_path / "text.wav")
    float_wav(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.2]))
    with pytest.raises(ValueError, match=r"nan\.wav: has samples that are no numbers"):
        read_audio(tmp_path / "nan.wav")
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "absent.wav")
    with pytest.raises(OSError, match="directory"):
        read_audio(tmp_path)


@pytest.mark.parametrize("size", range(0, 60, 7))
def test_no_beginning_of_a_file_breaks_the_reader(tmp_path, size):
    whole = write_wav(tmp_path / "a.wav", SPEECH).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:size])
    if size < 46:  # no more than the header
        with pytest.raises(ValueError, match=r"cut\.wav: (is empty|not audio|is audio, but has no samples)"):
            read_audio(tmp_path / "cut.wav")
    else:
        assert len(read_audio(tmp_path / "cut.wav").samples) == (size - 44) // 2


def test_a_resampled_stream_is_the_resampled_whole():
    whole = resample(SPEECH, RATE, 16000)
    stream = Resampler(RATE, 16000)
    parts = [stream.push(SPEECH[k : k + 333]) for k in range(0, len(SPEECH), 333)]
    joined = np.concatenate([*parts, stream.push(np.empty(0, np.float32), end=True)])
    assert len(joined) == len(whole)
    np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-5)


def test_raw_samples():
    data = (SPEECH * 32767).astype("<i2").tobytes()
    joined = np.concatenate(list(pcm_chunks(io.BytesIO(data), 100)))
    np.testing.assert_allclose(joined, SPEECH, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"ends inside of a sample"):
        list(pcm_chunks(io.BytesIO(data[:-1]), 100))
    with pytest.raises(ValueError, match=r"is a file with a header, not raw samples"):
        list(pcm_chunks(io.BytesIO(b"RIFF" + data), 100))
