"""Writes docs/pictures/frame.png and report.png of the demo: ``python docs/pictures.py`` after ``dvc repro``.

The first is one of metrics/eval/pictures, the second the page of the report in a headless Chromium: where quality is
lost, what is known without truth, and the worst frames that the model was not trained on.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import browser  # noqa: E402

FRAME = "drive_000204"
WIDTH, HEIGHT = 1268, 1480
HIDDEN = "header, #run, #classes, #confusion, #training, #budget details, .note, #frames-section h2"
LEFT_OUT = "#verdict tr:nth-child(n+6)"  # measures beyond the first few, for a picture of this height


def main() -> None:
    """Write both pictures."""
    pictures = ROOT / "docs" / "pictures"
    shutil.copyfile(ROOT / "metrics" / "eval" / "pictures" / f"{FRAME}.png", pictures / "frame.png")
    with browser() as page:
        page.open(ROOT / "metrics" / "report" / "index.html", WIDTH, HEIGHT)
        page.run(
            f"document.querySelectorAll('{HIDDEN}, {LEFT_OUT}').forEach((one) => {{ one.style.display = 'none'; }})"
        )
        for words in ("tested on", "worst IoU first"):
            page.run(CHOOSE % words)
        page.wait("[...document.querySelectorAll('.frame img')].slice(0, 10).every((one) => one.complete)")
        page.run("document.documentElement.style.overflow = 'hidden'; scrollTo(0, 0)")
        page.screenshot(pictures / "report.png")


CHOOSE = """{
  const option = [...document.querySelectorAll('#tools option')].find((one) => one.textContent === '%s');
  option.selected = true;
  option.parentElement.dispatchEvent(new Event('change'));
}"""


if __name__ == "__main__":
    main()
