"""Commands that maintain a project: parameters, result store, sharded files, DVC's own files."""

from __future__ import annotations

import click

group = click.Group("maintain")


@group.command(short_help="Make a project of your video and class names.")
@click.argument("source", type=click.Path(exists=True))
@click.option("--classes", "text", required=True, metavar="TEXT", help='"mud, tall grass, track=dirt track/gravel"')
@click.option("--into", metavar="FOLDER", help="Clone this project into a new folder first; else use this clone.")
@click.option(
    "--preset", "presets", multiple=True, metavar="NAME", help="Instead of photographs; several are laid over."
)
@click.option("--topic", metavar="NAME", help="Of a rosbag2 or MCAP recording; else its only topic of images.")
@click.option("--embedded", is_flag=True, help="Keep the embedded CLIP and all other settings: no preset.")
def new(source: str, text: str, into: str | None, presets: tuple[str, ...], topic: str | None, embedded: bool) -> None:
    """Make a project of SOURCE (a video, a rosbag2 or MCAP recording, a folder of these and photos) and of classes.

    It is copied below data/raw and tracked by DVC; params.yaml gets the classes and the preset `photographs`. Then the
    next commands are printed, and how long they will take.
    """
    from pathlib import Path

    from wildseg.cli.new import project, words

    if presets and embedded:
        raise click.UsageError("give --preset or --embedded")
    chosen = () if embedded else presets or ("photographs",)
    lines = project.create(Path(source), words.parse(text), Path(), chosen, Path(into) if into else None, topic)
    click.echo("\n".join(lines))


@group.command(short_help="Lay presets over params.yaml.")
@click.argument("presets", nargs=-1, metavar="[PRESET ...]")
@click.option("--update", is_flag=True, help="Write in what params.yaml lacks, and replace old names of parameters.")
@click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")
def init(presets: tuple[str, ...], update: bool, dry_run: bool) -> None:
    """Lay presets over params.yaml, later ones winning, and show what changed; without any, list what there is.

    `wildseg init photographs` is a starting point for video of your own; `wildseg init voc clip_es` is CLIP-ES.
    """
    from pathlib import Path

    from wildseg.execution import presets as overlays

    if not presets and not update:
        for name, purpose in overlays.available().items():
            click.echo(f"{name:<15} {purpose}")
        return
    changed = overlays.init(Path("params.yaml"), presets, update=update, dry_run=dry_run)
    click.echo("\n".join(changed or ["init: params.yaml already says all of this"]))
    if presets and not dry_run:
        from wildseg.cli.new.project import time_of

        for line in time_of(Path()):
            click.echo(line)


@group.command(short_help="Size and use of the result store; --prune.")
@click.option(
    "--prune", "limit", metavar="SIZE", help="Remove the least recently used results, down to 500MB, 20GB, 0, ..."
)
def cache(limit: str | None) -> None:
    """Show how many results of frames are stored, and how many of them the last run used."""
    from pathlib import Path

    from wildseg.execution import cache_usage

    cache_usage.show(Path(), limit)


@group.command(short_help="What a run needs, and what it would meet here.")
@click.option("--status", is_flag=True, help="Have `dvc status` compare all contents, which takes longer.")
def doctor(status: bool) -> None:
    """Check the installation and this project; each finding is one line with what to do.

    Nothing is written or downloaded. The exit code is 1 only where something prevents a run.
    """
    import sys
    from pathlib import Path

    from wildseg.cli.doctor import run

    if not run.show(Path(), status=status):
        sys.exit(1)


@group.command(short_help="Repair DVC's files after a kill.")
def repair() -> None:
    """Repair files of DVC that a kill or a power cut left incomplete or locked."""
    from pathlib import Path

    from wildseg.execution import repair as repairing

    click.echo("\n".join(repairing.repair(Path()) or ["repair: all files are complete"]))


@group.command(short_help="Copy frames out of shards.")
@click.argument("frames", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All key frames instead of those named.")
@click.option("--into", required=True, metavar="FOLDER", help="Where to put the files.")
def unpack(frames: tuple[str, ...], everything: bool, into: str) -> None:
    """Copy the outputs of FRAMES to single files: key frame, maps, pseudo mask and its confidence.

    For large data sets, which are stored in shards; see docs/storage.md.
    """
    from pathlib import Path

    from wildseg.artifacts import unpack as files
    from wildseg.artifacts.project import Artifacts

    if everything == bool(frames):
        raise click.UsageError("name some frames, or give --all")
    files.unpack(Artifacts(), frames, Path(into))
