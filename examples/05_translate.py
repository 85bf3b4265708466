"""English to Chinese: tokens of both languages, an encoder-decoder with attention, training, search and BLEU.

Run it as ``python examples/05_translate.py [--quick] [PICTURE.png]``. It reads the sentence pairs of Tatoeba from the
folder data/ of a checkout. ``--quick`` takes the short ones and a small network: about a minute on one core.
``elman translate train`` does the same with files of your own.
"""

from __future__ import annotations

import argparse
import time

from elman import datasets
from elman.tasks.translate import Recipe, Tokens, Translator, bleu, split_pairs

SENTENCES = (
    "I like music.",
    "He is a good student.",
    "Do you speak English?",
    "I don't know where she is.",
    "Tom wants to drink some water.",
    "What time is it now?",
)


def main() -> None:
    """Train a translator, measure it on sentences that it has not seen, and translate a few."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", help="where to draw what attention looks at")
    parser.add_argument("--quick", action="store_true", help="short sentences, a small network")
    parser.add_argument("--steps", type=int, help="updates")
    options = parser.parse_args()

    # No English sentence is in two parts: a sentence often has several translations.
    pairs = datasets.sentence_pairs("tatoeba")
    train, dev, test = split_pairs(pairs, 0.02, 0.03)
    if options.quick:
        train, dev, test = ([pair for pair in part if pair[0].count(" ") < 6] for part in (train, dev, test))
    print(f"{len(train):,} pairs to learn from, {len(dev)} to choose by, {len(test)} to test")

    source = Tokens.learn([english for english, _ in train], "word", min_count=2, lower=True)
    target = Tokens.learn([chinese for _, chinese in train], "char", min_count=2)
    print(f"reads {len(source):,} English words, writes {len(target):,} Chinese characters")
    print("  ".join(source.split("I don't know.")[1]), " ->", "  ".join(target.split("我不知道。")[1]))

    H = 128 if options.quick else 256
    translator = Translator.build(source, target, embedding_size=H, hidden_size=H, dropout=0.3, shortcut=True, seed=0)
    recipe = Recipe(n_steps=options.steps or (1400 if options.quick else 4000))
    learned, held_out = translator.encode(train), translator.encode(dev)
    translator.learn_lexicon(learned)  # what each word is translated to, counted: attention finds its way by it
    start = time.perf_counter()
    for record in translator.training(learned, recipe):
        if record.step % max(recipe.n_steps // 7, 1) == 0:
            text = translator.translate(["I want to go home."], beam=1)[0][0].text
            nats = translator.evaluate(held_out)
            print(f"step {record.step:5}  loss {record.loss:.2f}  held out {nats:.2f} nats a character  {text}")
    print(f"{time.perf_counter() - start:.0f} seconds of training\n")

    lines, references = [english for english, _ in test], [chinese for _, chinese in test]
    start = time.perf_counter()
    for beam in (1, 5):
        found = [best[0].text for best in translator.translate(lines, beam=beam)]
        score = bleu(found, references, tokenize="char")
        print(f"beam {beam}: BLEU {score.bleu:.2f}  ({score.signature})")
    print(f"{2 * len(lines) / (time.perf_counter() - start):.0f} sentences a second\n")

    for line, found in zip(SENTENCES, translator.translate(SENTENCES, n_best=2, attention=True), strict=True):
        print(f"{line:32} {found[0].text}   (or: {found[-1].text})")

    if options.picture:
        from elman import plots

        plots.plot_attention(found[0].attention, found[0].source_pieces, found[0].target_pieces, options.picture)
        print(f"\nwrote {options.picture}: a row for each character, dark where it looked")


if __name__ == "__main__":
    main()
