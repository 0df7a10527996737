"""The command line: every command by its group; a command's module is imported when the command is used."""

from __future__ import annotations

import click

from wildseg.cli.group import LazyGroup, Section
from wildseg.cli.stages import STAGES

SECTIONS = (
    Section("Stages", "wildseg.cli.stages", (*STAGES, "weak")),
    Section(
        "Inspect",
        "wildseg.cli.inspect",
        ("summary", "truth", "agree", "calibrate", "methods", "compare", "diff", "explain"),
    ),
    Section("Predict", "wildseg.cli.predict", ("predict", "detect")),
    Section("Build", "wildseg.cli.memory", ("memory",)),
    Section("Exchange", "wildseg.cli.exchange", ("suggest", "export", "import")),
    Section("Label by hand", "wildseg.cli.tick.command", ("tick",)),
    Section("Change", "wildseg.cli.migrate", ("classes",)),
    Section("Maintain", "wildseg.cli.maintain", ("new", "init", "doctor", "cache", "repair", "unpack")),
)


@click.group(cls=LazyGroup, sections=SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wildseg")
def main() -> None:
    """From a field video and a list of class names to a segmentation model, with no hand-drawn pixel.

    The stages are usually run by DVC: `dvc repro`, or `dvc exp run -S cam.method=hirescam`.
    Each reads params.yaml in the current folder.
    """


if __name__ == "__main__":
    main()
