"""`wildseg memory`: builds the bank of regions that `cam.refine: memory` reads."""

from __future__ import annotations

import click

group = click.Group("memory")


@group.command(short_help="A bank of regions of your own frames, for cam.refine: memory.")
@click.option("--grow", is_flag=True, help="Add training frames that the bank lacks.")
@click.option("--rebuild", is_flag=True, help="Make a new bank, of the present training frames alone.")
def memory(grow: bool, rebuild: bool) -> None:
    """Build data/memory/bank.npz from the key frames of the split train.

    A bank that is there stays as it is unless one of the options is given: the maps of all frames depend on it.
    """
    from wildseg.artifacts.project import Artifacts
    from wildseg.execution import params
    from wildseg.execution.project_lock import writing
    from wildseg.execution.runtime import Runtime
    from wildseg.stages import memory as stage

    if grow and rebuild:
        raise click.UsageError("expected --grow or --rebuild, found both")
    values, artifacts, runtime = params.load(), Artifacts(), Runtime.from_environment()
    with writing(artifacts.root, "memory"):
        stage.run(values, artifacts, runtime, grow=grow, rebuild=rebuild)
