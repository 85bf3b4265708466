"""The command line as a user meets it: a process of its own, with warnings as errors, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*words, cwd, code=0, **options):
    """Run ``elman WORDS`` and return what it printed, after checking its exit code."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "elman", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
        timeout=120,
        **{"encoding": "utf-8", **options},
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in str(done.stderr)
    return done
