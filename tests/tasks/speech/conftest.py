"""What the tests of speech share: the helpers beside them, and two trained recognisers of tones."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

for name in ("soundfile", "soxr", "kaldi_native_fbank", "jiwer"):
    pytest.importorskip(name)


def _train(front, bidirectional):
    from sounds import TONES, say

    from elman.tasks.speech.labels import Labels
    from elman.tasks.speech.recogniser import Example, Recipe, Recogniser

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list(TONES), rng.integers(1, 4))) for _ in range(60)]
    examples = [Example(front.frames(say(text, rng)), text) for text in texts]
    recogniser = Recogniser.build(
        front,
        Labels.learn(texts, "word"),
        examples,
        hidden_size=24,
        n_layers=1,
        dropout=0.1,
        bidirectional=bidirectional,
    )
    recipe = Recipe(n_epochs=25, batch_size=10, learning_rate=0.02, average=0.9, warmup_steps=5, noise=0.1)
    run = recogniser.training(examples, recipe)
    for _ in run:
        pass
    return run.average


@pytest.fixture(scope="session")
def offline():
    from elman.tasks.speech.front import FrontEnd

    return _train(FrontEnd(rate_hz=8000, bands=20), True)


@pytest.fixture(scope="session")
def live():
    from elman.tasks.speech.front import FrontEnd

    return _train(FrontEnd(rate_hz=8000, bands=20, normal="running"), False)
