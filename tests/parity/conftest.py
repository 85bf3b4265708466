"""Live comparisons with other libraries. They share the cases, and PyTorch's side of them, with tests/golden."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))
