"""`wildseg tick`: choose the frames, serve the page, and say what was ticked when it is stopped."""

from __future__ import annotations

from wildseg.artifacts.project import Artifacts
from wildseg.cli.tick.server import TickServer
from wildseg.cli.tick.session import Session
from wildseg.core.colours import palette
from wildseg.core.errors import WildsegError
from wildseg.execution.params import Params
from wildseg.labels.tiles import check_names
from wildseg.report.sampling import sample_evenly


def run(params: Params, artifacts: Artifacts, count: int | None = None, port: int = 0) -> None:
    """Serve the page until it is stopped by Ctrl-C.

    Args:
        params: classes, and the grid of `label.grid`.
        artifacts: of the project; `extract` has run.
        count: how many key frames, evenly spread, are shown; None for all.
        port: of this machine; 0 for any that is free.

    Raises:
        DataError: there are no key frames, or ticks.csv is malformed.
        ParamsError: a class has the name of a column.
        WildsegError: the port is taken.
    """
    grid = (params.label.grid[0], params.label.grid[1])
    check_names(params.classes.names, grid)
    own = palette(params.classes.names, params.colours)
    session = Session(artifacts, params.classes.names, own, grid, chosen(artifacts, count))
    try:
        server = TickServer(session, port)
    except OSError as error:
        raise WildsegError(
            f"tick: port {port} of this machine cannot be had ({error.strerror}); choose another"
        ) from error
    with server:
        tiles = (
            f"{grid[0]} x {grid[1]} tiles each" if grid != (1, 1) else "as a whole; label.grid divides them into tiles"
        )
        if session.remark:
            print(f"tick: {session.remark}")
        print(f"tick: {len(session.frames)} frames, {tiles}: open {server.origins[0]} in a browser; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"tick: ticks are in {artifacts.ticks_csv}; 'dvc repro label' takes them over")


def chosen(artifacts: Artifacts, count: int | None) -> list[str]:
    """Return the names of key frames, all or `count` of them evenly spread.

    Raises:
        DataError: there are none.
    """
    names = [frame.name for frame in artifacts.load_frames()]
    return names if count is None else sample_evenly([names], count)
