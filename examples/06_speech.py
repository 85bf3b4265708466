"""A recogniser of spoken digits that listens live: CTC on real recordings, then words while the sound goes in.

Run it as ``python examples/06_speech.py`` (a few minutes), or with ``--quick`` for a look at how it works. It needs
``pip install 'elman[speech]'``. ``elman speech train`` and ``elman speech transcribe --live`` do the same with files.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from elman.ctc import align
from elman.tasks.speech.corpora import digit_strings, fsdd
from elman.tasks.speech.front import FrontEnd
from elman.tasks.speech.labels import Labels
from elman.tasks.speech.live import Live
from elman.tasks.speech.metrics import confusions, word_errors
from elman.tasks.speech.recogniser import Example, Recipe, Recogniser


def main() -> None:
    """Train on strings of digits, test on strings of other recordings, and listen to one of them piece by piece."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a small model on few recordings: to see how, not how well"
    )
    options = parser.parse_args()
    n_strings, n_epochs, hidden_size = (60, 1, 24) if options.quick else (2000, 12, 128)

    # Recordings of one digit each, joined to strings: nobody says where a digit begins or ends.
    recordings, others = fsdd()
    training = digit_strings(recordings, n_strings, seed=1)
    test = digit_strings(others, 20 if options.quick else 200, seed=2)

    # 40 mel bands every 10 ms, normalised by what was heard so far; three frames are one step of the network.
    front = FrontEnd(rate_hz=8000, normal="running", width=3, stride=3)
    examples, held = (
        [Example(front.frames(u.x, u.rate_hz), u.text, u.speaker) for u in part] for part in (training, test)
    )
    labels = Labels.learn((e.text for e in examples), "word")
    recogniser = Recogniser.build(
        front, labels, examples, hidden_size=hidden_size, n_layers=2, bidirectional=False, dropout=0.2
    )
    recipe = Recipe(
        n_epochs=n_epochs, batch_size=32, learning_rate=3e-3, average=0.98, validation=0, speed=0.15, noise=0.15
    )
    print(f"{len(examples)} strings, {recogniser.model.params.flat.size:,} parameters, labels {labels.symbols}")
    start = time.perf_counter()
    run, losses = recogniser.training(examples, recipe), []
    for record in run:
        losses.append(record.loss)
        if record.step % run.n_in_epoch == 0:
            print(f"epoch {record.step // run.n_in_epoch}: {np.mean(losses):.3f} nats a string")
            losses = []
    print(f"trained in {time.perf_counter() - start:.0f} seconds")

    # The weights averaged over the training are better than the last ones.
    recogniser = run.average
    said = [e.text for e in held]
    found = [recogniser.decode(recogniser.posteriors(e.x))[0] for e in held]
    errors = word_errors(said, [transcript.text for transcript in found])
    print(
        f"{len(said)} other strings: word error rate {100 * errors.rate:.2f} % ({errors.substitutions} substituted, "
        f"{errors.deletions} left out, {errors.insertions} added, of {errors.length})"
    )
    for confusion in confusions(said, [transcript.text for transcript in found])[:3]:
        print(f"  {confusion.said or '-':6} taken for {confusion.written or '-':6} {confusion.times} times")

    # The same sound in pieces of 100 ms, as from a microphone.
    sound = test[0]
    print(f"\nlistening to {sound.text}")
    live = Live(recogniser)
    latencies_ms = []
    for k in range(0, len(sound.x), 800):
        heard = live.push(sound.x[k : k + 800])
        latencies_ms.append(1000 * heard.latency_seconds)
        if heard.final:
            print(f"  {heard.audio_seconds:5.2f} s  {' '.join(heard.final)}")
    live.end()
    share = 100 * live.seconds / (len(sound.x) / sound.rate_hz)
    print(f"heard {live.text or 'nothing'}: {np.median(latencies_ms):.2f} ms a piece, {share:.2f} % of real time")

    # Where each digit was said, if what was said is known: the likeliest path through the posteriors.
    spans = align(recogniser.posteriors(held[0].x), labels.encode(sound.text), from_logits=False)
    places = ", ".join(
        f"{word} {first * front.step_seconds:.2f}-{(last + 1) * front.step_seconds:.2f} s"
        for word, (first, last) in zip(sound.text.split(), spans.tolist(), strict=True)
    )
    print(f"aligned: {places}")


if __name__ == "__main__":
    main()
