"""The front end of a recogniser: everything between the recording and the first layer, as a file can describe it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from elman import checks
from elman.params import Array
from elman.tasks.speech.audio import resample
from elman.tasks.speech.augment import Augment
from elman.tasks.speech.features import (
    FrameStream,
    RunningNormal,
    StackStream,
    deltas,
    normalise,
    stack_frames,
)

KINDS = ["logmel", "mfcc", "cepstra"]
NORMALS = ["utterance", "speaker", "running"]


@dataclass(frozen=True)
class FrontEnd:
    """How sound becomes what a model takes.

    Parameters
    ----------
    kind : "logmel" filter banks, "mfcc", or "cepstra": x is features already, of a corpus that has no audio
    rate_hz : of the audio; recordings of another rate are resampled
    bands : mel filters
    cepstra : coefficients of "mfcc" and "cepstra"
    shift_ms, window_ms : of the frames
    delta_order : 0 none, 1 slopes, 2 their slopes too
    normal : over what mean and deviation are taken: the "utterance", the "speaker", or, "running", what came so far
    width, stride : so many neighbouring frames are one step of the model, every so many frames
    """

    kind: str = "logmel"
    rate_hz: int = 16000
    bands: int = 40
    cepstra: int = 13
    shift_ms: float = 10.0
    window_ms: float = 25.0
    delta_order: int = 0
    normal: str = "utterance"
    width: int = 3
    stride: int = 3

    def __post_init__(self) -> None:
        checks.one_of("FrontEnd", "kind", self.kind, KINDS)
        checks.one_of("FrontEnd", "normal", self.normal, NORMALS)
        checks.one_of("FrontEnd", "delta_order", self.delta_order, [0, 1, 2])
        sizes = {name: getattr(self, name) for name in ("rate_hz", "bands", "cepstra", "width", "stride")}
        checks.positive("FrontEnd", **sizes)
        for name in ("shift_ms", "window_ms"):
            checks.in_range("FrontEnd", name, getattr(self, name), 1, 1000)

    @property
    def raw_size(self) -> int:
        """Features of a frame before slopes and stacking."""
        return self.bands if self.kind == "logmel" else self.cepstra

    @property
    def size(self) -> int:
        """Features of a step of the model."""
        return self.raw_size * (self.delta_order + 1) * self.width

    @property
    def step_seconds(self) -> float:
        """Time between two steps of the model."""
        return self.shift_ms * self.stride / 1000

    def frame_stream(self) -> FrameStream:
        """Return what makes frames of samples; ValueError where the features come ready made, from no audio."""
        if self.kind == "cepstra":
            raise ValueError("this recogniser takes the cepstra of a corpus, not audio; nothing can be recorded for it")
        return FrameStream(
            self.kind,
            self.rate_hz,
            self.raw_size,
            bands=self.bands,
            shift_ms=self.shift_ms,
            window_ms=self.window_ms,
        )

    def frames(self, samples: Array, rate_hz: int | None = None) -> Array:
        """Return raw features (T, F) of samples (N,) from -1 to 1; T is 0 for less than one window."""
        if rate_hz is not None and rate_hz != self.rate_hz:
            samples = resample(samples, rate_hz, self.rate_hz)
        return self.frame_stream().push(samples)

    def steps(
        self,
        raw: Array,
        *,
        speaker: tuple[Array, Array] | None = None,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Return the steps (T', F') of the model for raw features (T, F) of one utterance.

        Parameters
        ----------
        raw : (T, F) filter banks or cepstra
        speaker : mean and deviation of the features with slopes, as from `moments`: of the speaker, or, for
            "running", of the training data; None: the utterance's own
        augment, rng : variations for training
        """
        if augment is not None and rng is not None:
            raw = augment.at_other_speed(raw, rng)
            if augment.warp:
                matrix = augment.throat(self.raw_size, rng, cepstra=self.kind != "logmel")
                raw = raw @ matrix.T.astype(raw.dtype)
                if speaker is not None:  # whose throat it is now
                    blocks = np.reshape(speaker[0], (-1, self.raw_size))
                    speaker = ((blocks @ matrix.T).ravel(), speaker[1])
        x = deltas(raw, self.delta_order)
        if self.normal == "running":
            if speaker is None:
                raise ValueError('FrontEnd: normal="running" starts from the mean and deviation of the training data')
            x = RunningNormal(*speaker).push(x)
        else:
            x = normalise(x) if speaker is None else normalise(x, *speaker)
        if augment is not None and rng is not None:
            x = augment.after(x, rng)
        return stack_frames(x, self.width, self.stride)

    def to_json(self) -> dict[str, Any]:
        """Return what a file says about the front end."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> FrontEnd:
        """Return the front end that a file describes; ValueError where it is damaged."""
        known = {field.name: type(field.default) for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != set(known):
            raise ValueError(f"a front end must have {', '.join(known)}, got {value!r:.60}")
        for name, kind in known.items():
            if type(value[name]) is not kind and not (kind is float and type(value[name]) is int):
                raise ValueError(f"front end: {name} must be a {kind.__name__}, got {value[name]!r}")
        return cls(**value)


class StepStream:
    """Samples in, steps of the model out, as they come: what `FrontEnd.steps` gives for the whole, bit for bit.

    Parameters
    ----------
    front : FrontEnd with normal="running" and no slopes, which would need frames of the future
    start : mean and deviation of the training data
    """

    def __init__(self, front: FrontEnd, start: tuple[Array, Array]) -> None:
        if front.normal != "running" or front.delta_order:
            raise ValueError(
                "live recognition needs a model trained for it (elman speech train --live): this one's features need "
                + ("the whole utterance" if front.normal != "running" else "frames of the future")
            )
        self.front = front
        self._frames = front.frame_stream()
        self._normal = RunningNormal(*start)
        self._stack = StackStream(front.width, front.stride)

    def push(self, samples: Array) -> Array:
        """Return the steps (T, F) that samples (N,) complete."""
        return self._stack.push(self._normal.push(self._frames.push(samples)))

    def end(self) -> Array:
        """Return the steps (T, F) that remain."""
        steps = self._stack.end()
        return np.empty((0, self.front.size), np.float32) if steps is None else steps
