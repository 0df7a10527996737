"""The page for ticks: what it is told, what it may save, and whom it does not answer."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders.models import noise
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.tiles import Ticks
from wildseg.cli.tick import run
from wildseg.cli.tick.server import TickServer
from wildseg.cli.tick.session import Session
from wildseg.core.colours import hex_colour, palette
from wildseg.core.errors import DataError, ParamsError, WildsegError
from wildseg.execution import params

NAMES = ("sky", "<b>mud</b>", "grass")
FRAMES = ["drive_000000", "drive_000001"]
GRID = (1, 2)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    made = Artifacts(tmp_path)
    made.save_frames([Frame(name, "drive", n, n / 5, "train") for n, name in enumerate(FRAMES)])
    for n, name in enumerate(FRAMES):
        made.save_image(name, noise((12, 16), n))
    return made


@pytest.fixture
def server(artifacts: Artifacts) -> Iterator[TickServer]:
    with TickServer(Session(artifacts, NAMES, palette(NAMES), GRID, FRAMES)) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: TickServer, method: str, path: str, body: Any = None, **headers: str | None) -> tuple[int, bytes]:  # noqa: ANN401
    """Send a request as the page does; a header of None is left out, `Host` and others replace the page's."""
    sent: dict[str, str | None] = {"Host": server.origins[0].removeprefix("http://")}
    if method == "POST":
        sent |= {"Origin": server.origins[0], "X-Token": server.token, "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**sent, "Content-Length": str(len(content))}.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(content)
    answer = connection.getresponse()
    assert answer.getheader("Content-Security-Policy", "").startswith("default-src 'none'")
    found = answer.status, answer.read()
    connection.close()
    return found


def test_it_listens_on_this_machine_alone(server: TickServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css"])
def test_the_page_comes_whole_and_names_no_other_host(server: TickServer, path: str) -> None:
    status, content = ask(server, "GET", path)
    assert status == 200
    assert len(content) > 500
    assert b"//" not in content.replace(b"// Ticks", b"").replace(b"// Shift", b"").replace(b"; // ", b"")


def test_the_page_is_told_what_was_found_and_what_was_ticked(artifacts: Artifacts) -> None:
    tiles = np.zeros((2, 1, 2, 3), bool)
    tiles[0, 0, 0, 0] = tiles[1, 0, 1, 2] = True
    artifacts.save_labels(FRAMES, NAMES, tiles.any((1, 2)), tiles)
    artifacts.save_ticks(NAMES, {FRAMES[0]: Ticks(np.array([[[0, 1, 1], [0, 0, 0]]], bool), np.array([[True, False]]))})
    state = Session(artifacts, NAMES, palette(NAMES), GRID, FRAMES).state()
    assert state["classes"] == list(NAMES)
    assert state["colours"] == [hex_colour(rgb) for rgb in palette(NAMES)[1:4]]
    assert state["frames"] == [
        {"name": FRAMES[0], "tiles": [[[1, 2], []]], "ticked": [[True, False]]},
        {"name": FRAMES[1], "tiles": [[[], [2]]], "ticked": [[False, False]]},
    ]
    other = Session(artifacts, NAMES, palette(NAMES), (1, 2), FRAMES[:1])
    assert len(other.state()["frames"]) == 1


def test_ticks_are_saved_one_by_one_and_those_of_other_frames_stay(server: TickServer, artifacts: Artifacts) -> None:
    state = json.loads(ask(server, "GET", "/state.json")[1])
    assert state["token"] == server.token
    assert ask(server, "POST", "/ticks", {"frame": FRAMES[0], "tiles": [[[0, 2], None]]})[0] == 204
    assert ask(server, "POST", "/ticks", {"frame": FRAMES[1], "tiles": [[[], [1]]]})[0] == 204
    ticks = artifacts.load_ticks(NAMES, GRID)
    np.testing.assert_array_equal(ticks[FRAMES[0]].labels, [[[1, 0, 1], [0, 0, 0]]])
    np.testing.assert_array_equal(ticks[FRAMES[0]].ticked, [[True, False]])
    np.testing.assert_array_equal(ticks[FRAMES[1]].ticked, [[True, True]])
    assert ask(server, "POST", "/ticks", {"frame": FRAMES[0], "tiles": [[None, None]]})[0] == 204
    assert list(artifacts.load_ticks(NAMES, GRID)) == FRAMES[1:]


def page(artifacts: Artifacts, grid: tuple[int, int] = GRID, names: tuple[str, ...] = NAMES) -> Session:
    return Session(artifacts, names, palette(names), grid, FRAMES)


def test_ticks_of_another_page_or_of_a_spreadsheet_stay(artifacts: Artifacts) -> None:
    one, other = page(artifacts), page(artifacts)
    one.tick({"frame": FRAMES[0], "tiles": [[[0], None]]})
    other.tick({"frame": FRAMES[1], "tiles": [[None, [1]]]})
    assert set(artifacts.load_ticks(NAMES, GRID)) == {*FRAMES}
    artifacts.ticks_csv.write_text(artifacts.ticks_csv.read_text().replace("sky", "grass"))
    one.tick({"frame": FRAMES[1], "tiles": [[[2], [1]]]})
    ticks = artifacts.load_ticks(NAMES, GRID)
    np.testing.assert_array_equal(ticks[FRAMES[0]].labels[0, 0], [0, 0, 1])
    np.testing.assert_array_equal(ticks[FRAMES[1]].ticked, [[True, True]])
    assert other.state()["frames"][0]["tiles"] == [[[2], []]]


def test_no_tick_is_lost_where_two_pages_send_at_once(artifacts: Artifacts) -> None:
    names = [f"drive_{n:06d}" for n in range(40)]
    pages = [Session(artifacts, NAMES, palette(NAMES), GRID, names) for _ in range(2)]

    def send(own: Session, frames: list[str]) -> None:
        for frame in frames:
            own.tick({"frame": frame, "tiles": [[[0], None]]})

    threads = [threading.Thread(target=send, args=(own, names[n::2])) for n, own in enumerate(pages)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(artifacts.load_ticks(NAMES, GRID)) == names


def test_a_table_that_was_broken_meanwhile_is_told_and_left_as_it_is(server: TickServer, artifacts: Artifacts) -> None:
    artifacts.ticks_csv.parent.mkdir(parents=True)
    artifacts.ticks_csv.write_text("Frame,Row,Column,Labels\ndrive_000000,1,1,snow\n")
    for method, path, status in (("GET", "/state.json", 500), ("POST", "/ticks", 400)):
        found = ask(server, method, path, TICK if method == "POST" else None)
        assert found[0] == status
        assert b"expected classes of params.yaml, found 'snow'" in found[1]
    assert artifacts.ticks_csv.read_text().endswith("snow\n")


def test_labels_of_whole_frames_are_proposed_where_there_are_no_tiles(artifacts: Artifacts) -> None:
    artifacts.save_labels(FRAMES, NAMES, np.array([[1, 0, 1], [0, 0, 0]], bool))
    frames = page(artifacts, (1, 1)).state()["frames"]
    assert [one["tiles"] for one in frames] == [[[[0, 2]]], [[[]]]]
    assert [one["ticked"] for one in frames] == [[[False]], [[False]]]
    assert [one["tiles"] for one in page(artifacts, (2, 1)).state()["frames"]] == [[[[]], [[]]]] * 2


def test_labels_of_other_classes_are_not_proposed_and_the_page_comes_all_the_same(artifacts: Artifacts) -> None:
    tiles = np.ones((2, 1, 2, 3), bool)
    artifacts.save_labels(FRAMES, NAMES, tiles.any((1, 2)), tiles)
    session = page(artifacts, names=(*NAMES, "snow"))
    assert "no labels are proposed" in session.remark
    assert "'snow' is missing" in session.remark
    assert [one["tiles"] for one in session.state()["frames"]] == [[[[], []]]] * 2
    assert page(artifacts).remark == ""


def test_a_browser_that_goes_away_prints_nothing_and_a_mistake_of_ours_its_traceback(
    server: TickServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(error: Exception) -> str:
        def state(_: Session) -> None:
            raise error

        monkeypatch.setattr(Session, "state", state)
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, "GET", "/state.json")
        return capsys.readouterr().err

    assert raising(BrokenPipeError(32, "Broken pipe")) == ""
    assert raising(ConnectionResetError(104, "Connection reset by peer")) == ""
    assert "KeyError: 'a mistake'" in raising(KeyError("a mistake"))


def test_a_frame_is_shown_as_it_was_extracted_and_nothing_else_of_the_disk(
    server: TickServer, artifacts: Artifacts
) -> None:
    assert ask(server, "GET", f"/frames/{FRAMES[0]}.jpg") == (200, artifacts.frame_path(FRAMES[0]).read_bytes())
    (artifacts.root / "secret.jpg").write_bytes(b"secret")
    for path in ("/frames/../../secret.jpg", "/frames/..%2F..%2Fsecret.jpg", "/frames/drive_000009.jpg", "/secret.jpg"):
        status, content = ask(server, "GET", path)
        assert status == 404
        assert content != b"secret"


TICK = {"frame": FRAMES[0], "tiles": [[[0], None]]}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1"},
        {"Host": None},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"X_Token": "guessed"},
        {"X_Token": None},
        {"Content_Type": "text/plain"},
    ],
)
def test_another_page_cannot_send_ticks(
    server: TickServer, artifacts: Artifacts, headers: dict[str, str | None]
) -> None:
    assert ask(server, "POST", "/ticks", TICK, **headers)[0] == 403
    assert not artifacts.ticks_csv.exists()
    assert ask(server, "POST", "/ticks", TICK)[0] == 204


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize("path", ["/", "/state.json", f"/frames/{FRAMES[0]}.jpg"])
def test_another_page_is_told_nothing(server: TickServer, path: str, headers: dict[str, str | None]) -> None:
    status, content = ask(server, "GET", path, **headers)
    assert (status, content) == (403, b"this server answers its own page alone")


@pytest.mark.parametrize(
    "sent",
    [
        b"{", b"[" * 5000, [], {}, {"frame": "../x", "tiles": [[[], []]]}, {"frame": FRAMES[0]},
        {"frame": FRAMES[0], "tiles": [[[]]]}, {"frame": FRAMES[0], "tiles": [[[3], []]]},
        {"frame": FRAMES[0], "tiles": [[[True], []]]}, {"frame": FRAMES[0], "tiles": [["sky", []]]},
        {"frame": FRAMES[0], "tiles": [[[-1], []]]},
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_and_leaves_the_ticks(
    server: TickServer, artifacts: Artifacts, sent: object
) -> None:
    assert ask(server, "POST", "/ticks", TICK)[0] == 204
    before = artifacts.ticks_csv.read_bytes()
    assert ask(server, "POST", "/ticks", sent)[0] == 400
    assert artifacts.ticks_csv.read_bytes() == before
    assert ask(server, "POST", "/elsewhere", TICK)[0] == 400


def test_a_full_disk_is_told(server: TickServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Artifacts, "save_ticks", full)
    assert ask(server, "POST", "/ticks", TICK) == (500, b"ticks.csv: No space left on device")


# The command ---------------------------------------------------------------------------------------------------------


def values(**changes: Any) -> params.Params:  # noqa: ANN401
    from dataclasses import replace

    whole = params.load(Path(__file__).parents[3] / "params.yaml")
    classes = params.Classes.from_mapping({"sky": "sky", "row": "crop row"})
    return replace(whole, classes=classes, label=replace(whole.label, **changes))


def test_frames_are_evenly_spread(artifacts: Artifacts) -> None:
    names = [f"drive_{n:06d}" for n in range(10)]
    artifacts.save_frames([Frame(name, "drive", n, n / 5, "train") for n, name in enumerate(names)])
    assert run.chosen(artifacts, None) == names
    assert run.chosen(artifacts, 2) == ["drive_000002", "drive_000007"]
    assert run.chosen(artifacts, 99) == names


def test_mistakes_are_one_line_before_anything_is_served(artifacts: Artifacts, server: TickServer) -> None:
    with pytest.raises(ParamsError, match=r"classes\.row"):
        run.run(values(grid=(1, 2)), artifacts)
    with pytest.raises(WildsegError, match=f"port {server.server_address[1]} of this machine cannot be had"):
        run.run(values(), artifacts, port=server.server_address[1])
    artifacts.ticks_csv.parent.mkdir(parents=True)
    artifacts.ticks_csv.write_text("Frame,Row,Column,Rows,Columns,Labels\ndrive_000000,1,1,2,2,sky\n")
    with pytest.raises(DataError, match="expected 1 x 1 tiles, as label.grid has them, found"):
        run.run(values(), artifacts)


def test_it_serves_until_it_is_stopped(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: TickServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TickServer, "serve_forever", stopped)
    run.run(values(), artifacts)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tick: 2 frames, as a whole; label.grid divides them into tiles: open http://127.0.0.1:")
    assert lines[1].endswith("ticks.csv; 'dvc repro label' takes them over")
    tiles = np.ones((2, 1, 2, 3), bool)
    artifacts.save_labels(FRAMES, NAMES, tiles.any((1, 2)), tiles)
    run.run(values(), artifacts)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tick: no labels are proposed: ")
    assert len(lines) == 3
