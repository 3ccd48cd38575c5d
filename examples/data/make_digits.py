"""Writes handwritten digits as CSV files: python make_digits.py DIR [BRIGHTNESS]

Needs scikit-learn, whose package has the data. Beside DIR it writes `digit.json`, a request for one
of them. With a BRIGHTNESS other than 1 the values drift, as those of a new camera would.
"""

import csv
import json
import sys
from pathlib import Path

from sklearn.datasets import load_digits

FILES = 4

folder = Path(sys.argv[1])
brightness = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
folder.mkdir(exist_ok=True)
images, labels = load_digits(return_X_y=True)
rows = [
    [*(int(value * brightness) for value in image), label]
    for image, label in zip(images, labels, strict=True)
]
names = [*(f"p{number:02}" for number in range(64)), "label"]
for number in range(FILES):
    with (folder / f"part-{number}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows[number::FILES])
pixels = rows[0][:-1]
Path("digit.json").write_text(json.dumps({"input": pixels}))
print(f"{len(rows)} digits; digit.json is a {rows[0][-1]}")
