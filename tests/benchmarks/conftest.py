"""Benchmarks are scripts, not a package; their tests import them as Python does that runs them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
