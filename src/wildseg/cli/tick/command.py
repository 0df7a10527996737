"""The command that serves a page for labels by hand."""

from __future__ import annotations

import click

group = click.Group("tick")


@group.command(short_help="Tick the classes of tiles on a local page.")
@click.option("--frames", type=click.IntRange(1), metavar="N", help="So many key frames, evenly spread; else all.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of this machine; else any that is free.")
def tick(frames: int | None, port: int) -> None:
    """Serve a page on this machine on which a person ticks the classes of tiles by keys, until Ctrl-C.

    Ticks are saved in data/labels/ticks.csv, one by one; they win over any label method. label.grid says how many
    tiles a frame has. The page needs no network, and nothing else on this machine can send ticks.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.cli.tick import run
    from wildseg.execution import params

    run.run(params.load(), Artifacts(), frames, port)
