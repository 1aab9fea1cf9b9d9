"""The paired difference in Dice of two scored runs, over all cases and apart for square and other pictures.

Run from the repository's root:
.venv/bin/python docs/analyses/paired_by_shape.py runs/cyclegan runs/floor
"""

import csv
import json
import sys
from pathlib import Path

from PIL import Image

from fewmask.metrics.interval import bootstrap_interval

SQUARE = 1.1
"""A picture whose sides differ by less than this factor counts as square."""


def dice(run: Path) -> dict[str, tuple[float, str]]:
    """Dice and patient of each case; of several classes the mean."""
    rows = list(csv.DictReader((run / "scores.csv").open()))
    cases = {row["case"]: row["patient"] for row in rows}
    return {
        case: (sum(found) / len(found), patient)
        for case, patient in cases.items()
        if (found := [float(row["dice"]) for row in rows if row["case"] == case and row["dice"]])
    }


def main() -> None:
    """Print three lines: all, square, not square."""
    one, other = (dice(Path(folder)) for folder in sys.argv[1:3])
    manifest = json.loads((Path(sys.argv[1]) / "predictions" / "predictions.json").read_text())
    sizes = {entry["case"]: Image.open(entry["images"][0]).size for entry in manifest["cases"]}
    groups = {"all": [], "square": [], "not square": []}
    for case in sorted(one.keys() & other.keys()):
        difference = (one[case][0] - other[case][0], one[case][1])
        groups["all"].append(difference)
        groups["square" if max(sizes[case]) < SQUARE * min(sizes[case]) else "not square"].append(difference)
    for name, found in groups.items():
        if found:
            values, patients = zip(*found, strict=True)
            interval = bootstrap_interval(values, patients)
            between = f"[{interval.low:+.3f}, {interval.high:+.3f}]" if interval else ""
            print(f"{name:10}  n = {len(values):3}  {sum(values) / len(values):+.3f} {between}")


if __name__ == "__main__":
    main()
