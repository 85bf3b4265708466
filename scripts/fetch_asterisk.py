"""Fetch Debian's recordings of the Asterisk core sounds, and write lists of them for ``elman speech``.

    python scripts/fetch_asterisk.py [FOLDER]        # by default build/asterisk; needs dpkg-deb and apt-get or a mirror
    elman speech eval digits.elman build/asterisk/digits.tsv

digits.tsv holds the ten digits; prompts.tsv all prompts with a transcript, in capitals without punctuation.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME, VERSION = "asterisk-core-sounds-en-wav", "1.6.1-1"
MIRROR = f"https://deb.debian.org/debian/pool/main/a/asterisk-core-sounds/{NAME}_{VERSION}_all.deb"
SHA256 = "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"
DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


def fetch(folder: Path) -> Path:
    """Return the package, from apt where that knows it, else from Debian's mirror."""
    package = folder / f"{NAME}_{VERSION}_all.deb"
    if not package.exists():
        apt = ["apt-get", "download", f"{NAME}={VERSION}"]
        if not shutil.which("apt-get") or subprocess.run(apt, cwd=folder, check=False, capture_output=True).returncode:
            urllib.request.urlretrieve(MIRROR, package)
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{package}: is not the package of Debian: its SHA-256 is {found}; delete it and try again")
    return package


def main() -> None:
    """Fetch, unpack and list."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "asterisk"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", str(fetch(folder)), str(folder)], check=True)
    sounds = Path("usr/share/asterisk/sounds/en_US_f_Allison")
    digits = [f"{sounds}/digits/{k}.wav\t{word}\tallison\n" for k, word in enumerate(DIGITS)]
    (folder / "digits.tsv").write_text("".join(digits), encoding="utf-8")
    prompts = []
    transcript = (ROOT / "data" / "asterisk_prompts" / "core-sounds-en.txt").read_text(encoding="utf-8")
    for line in transcript.splitlines():
        name, colon, text = line.partition(":")
        words = " ".join(re.sub(r"[^A-Z' ]", " ", re.sub(r"\[.*?\]", "", text).upper()).split())
        path = sounds / f"{name.strip()}.wav"
        if colon and words and not re.search(r"\d", text) and (folder / path).is_file():
            prompts.append(f"{path}\t{words}\tallison\n")
    (folder / "prompts.tsv").write_text("".join(prompts), encoding="utf-8")
    print(f"{folder}: digits.tsv with {len(digits)} recordings, prompts.tsv with {len(prompts)}")


if __name__ == "__main__":
    main()
