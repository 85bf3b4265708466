"""Draw the posteriors of spoken digits under their spectrogram: ``python scripts/speech_picture.py MODEL [PICTURE]``.

MODEL is fsdd-live.elman of ``python benchmarks/accuracy/fsdd.py --parts live --models FOLDER``. The picture has labels
and symbols alone, so that one serves every language.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from elman.ctc import collapse
from elman.tasks.speech.corpora import digit_strings, fsdd
from elman.tasks.speech.labels import BLANK
from elman.tasks.speech.recogniser import Recogniser

ROOT = Path(__file__).resolve().parents[1]
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#222222"]


def main(model: Path, picture: Path) -> None:
    """Draw the first string of four different digits among those of the test part."""
    recogniser = Recogniser.load(model)
    strings = digit_strings(fsdd()[1], 100, seed=5, low=4, high=4)
    sound = next(u for u in strings if len(set(u.text.split())) == 4)
    frames = recogniser.front.frames(sound.x, sound.rate_hz)
    p = np.exp(recogniser.posteriors(frames))
    at = np.arange(len(p)) * recogniser.front.step_seconds
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(9, 5), sharex=True, layout="constrained", height_ratios=(1.1, 1)
    )
    seconds = len(frames) * recogniser.front.shift_ms / 1000
    low = np.percentile(frames, 5)
    top.imshow(frames.T, origin="lower", aspect="auto", extent=(0, seconds, 0, frames.shape[1]), cmap="magma", vmin=low)
    top.set_ylabel("mel")
    bottom.plot(at, p[:, BLANK], color="#999999", lw=1.2, ls=(0, (4, 2)))
    bottom.text(seconds, p[-1, BLANK] - 0.02, " blank", color="#777777", fontsize=9, va="top", ha="right")
    path = p.argmax(axis=1)
    read = collapse(path, BLANK).tolist()
    for colour, label in zip(COLOURS, dict.fromkeys(read), strict=False):
        bottom.plot(at, p[:, label], color=colour, lw=1.8)
        bottom.fill_between(at, p[:, label], color=colour, alpha=0.15)
        peak = int(p[:, label].argmax())
        word = recogniser.labels.symbols[label - 1]
        bottom.text(at[peak], p[peak, label] + 0.03, word, color=colour, ha="center", fontsize=10)
    bottom.set(xlim=(0, seconds), ylim=(0, 1.15), xlabel="s", ylabel="$p_t(k)$")
    bottom.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=110, facecolor="white", metadata={"Software": None})
    print(f"{picture}: {sound.text}, read as {recogniser.labels.decode(read)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "pictures" / "posteriors.png")
