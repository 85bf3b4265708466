"""Write the Tang poems of four lines of five characters (wujue), a poem a line, as a text to train on."""

import random
import sys
from pathlib import Path

from elman import datasets

if __name__ == "__main__":
    poems = [poem.text for poem in datasets.tang_poems("wujue")]
    random.Random(0).shuffle(poems)  # the collection is in the order of the poets
    Path(sys.argv[1]).write_text("\n".join(poems) + "\n", encoding="utf-8")
    print(f"{len(poems):,} poems, {sum(map(len, poems)):,} characters -> {sys.argv[1]}")
