"""``make demo``: the main job on real input. Each command is shown before it runs, so that you can run it yourself."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(os.path.relpath(ROOT / "demo"))
BIN = Path(sys.executable).parent
TEXT = Path(os.path.relpath(ROOT / "data" / "tinyshakespeare" / "input.txt"))
MINUTES = os.environ.get("DEMO_MINUTES", "2")
POEM_MINUTES = f"{float(MINUTES) / 3:.2g}"


def title(text: str) -> None:
    """Print a headline."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def run(*command: str | Path) -> None:
    """Show a command and run it; end with its exit code if it fails."""
    words = [str(word) for word in command]
    print("$ " + shlex.join(words), flush=True)
    program = str(BIN / words[0]) if (BIN / words[0]).exists() else words[0]
    code = subprocess.run([program, *words[1:]], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    """Run the demonstration."""
    start = time.monotonic()
    HERE.mkdir(exist_ok=True)
    english, chinese, poems = HERE / "shakespeare.elman", HERE / "tang.elman", HERE / "tang.txt"

    title("1. Memory: a recurrent layer beside one without memory")
    run("python", ROOT.relative_to(Path.cwd()) / "examples" / "01_memory.py", HERE / "unrolled.png")

    title("2. Why memory is hard: the gradient through time, measured")
    run("elman", "diagnose", "--compare", "--out", HERE / "compare.png")

    title(f"3. A language model of English, in about {MINUTES} minutes")
    run("elman", "text", "train", TEXT, "--out", english, "--hidden", "192", "--minutes", MINUTES, "--overwrite")
    run("elman", "text", "generate", english, "--prompt", "ROMEO:", "--tokens", "300", "--seed", "1")

    title("4. What its gradients do through time")
    run("elman", "diagnose", english, TEXT, "--out", HERE / "gradient-flow.png")

    title("5. A small model of Tang poems")
    run("python", ROOT.relative_to(Path.cwd()) / "scripts" / "tang_text.py", poems)
    size = ("--hidden", "160", "--embedding", "96", "--max-vocabulary", "2500", "--window", "32", "--rate", "5e-3")
    run("elman", "text", "train", poems, "--out", chinese, *size, "--minutes", POEM_MINUTES, "--overwrite")
    run("elman", "text", "generate", chinese, "--prompt", "明月", "--stop", "\n", "--seed", "1")

    title(f"Done in {(time.monotonic() - start) / 60:.1f} minutes. It wrote:")
    for path in sorted(HERE.iterdir()):
        print(f"  {path}  ({path.stat().st_size / 1000:,.0f} kB)")
    title("Try next:")
    print(f'  {BIN}/elman text generate {english} --prompt "JULIET:" --temperature 0.5')
    print(f"  {BIN}/elman text train YOUR-TEXT.txt --out yours.elman --minutes 5")
    print(f"  {BIN}/elman diagnose --help")
    print("  docs/en/tutorial.md, or in Chinese docs/zh/tutorial.md")


if __name__ == "__main__":
    main()
