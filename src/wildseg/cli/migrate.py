"""Commands that change the classes of a project, and all files that name or number them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wildseg.cli.classes.run import Build

group = click.Group("migrate")
dry_run = click.option("--dry-run", is_flag=True, help="Show what would change and write nothing.")


@group.group(short_help="Rename, merge, reorder or split classes.")
def classes() -> None:
    """Change the classes in params.yaml, labels, maps, masks and truth, without computing a frame again.

    All new files are complete before the first one takes its place; a command that was killed is finished by the next.
    See docs/classes.md.
    """


@classes.command()
@click.argument("old")
@click.argument("new")
@dry_run
def rename(old: str, new: str, dry_run: bool) -> None:
    """Give the class OLD the name NEW. Its phrases, its id and all numbers stay; no model is trained again."""
    from wildseg.cli.classes import change

    _apply(lambda known: change.rename(known, old, new), dry_run=dry_run)


@classes.command()
@click.argument("into")
@click.argument("parts", nargs=-1, required=True)
@dry_run
def merge(into: str, parts: tuple[str, ...], dry_run: bool) -> None:
    """Make one class INTO of PARTS, and of INTO where that is a class; it has all their phrases."""
    from wildseg.cli.classes import change

    _apply(lambda known: change.merge(known, into, parts), dry_run=dry_run)


@classes.command()
@click.argument("first", nargs=-1, required=True)
@dry_run
def reorder(first: tuple[str, ...], dry_run: bool) -> None:
    """Let the classes FIRST stand first, in this order; the others follow. Ids in masks follow."""
    from wildseg.cli.classes import change

    _apply(lambda known: change.reorder(known, first), dry_run=dry_run)


@classes.command()
@click.argument("old")
@click.argument("parts", nargs=-1, required=True)
@dry_run
def split(old: str, parts: tuple[str, ...], dry_run: bool) -> None:
    """Make several classes of OLD, each NAME or "NAME=phrase, phrase".

    Nothing says which part a labelled pixel is of: truth of OLD becomes 255, and `dvc repro` computes the rest.
    """
    from wildseg.cli.classes import change

    _apply(lambda known: change.split(known, old, dict(map(_part, parts))), dry_run=dry_run)


def _part(text: str) -> tuple[str, list[str]]:
    name, _, phrases = text.partition("=")
    own = [phrase.strip() for phrase in phrases.split(",") if phrase.strip()]
    return name.strip(), own or [name.strip().replace("_", " ")]


def _apply(build: Build, *, dry_run: bool) -> None:
    from pathlib import Path

    from wildseg.cli.classes import run

    click.echo("\n".join(f"classes: {line}" for line in run.apply(Path(), build, dry_run=dry_run)))
