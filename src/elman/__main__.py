"""``python -m elman`` is ``elman``."""

from elman.cli import app

app(prog_name="elman")
