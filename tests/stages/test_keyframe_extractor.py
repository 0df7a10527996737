"""A source whose bytes are known is not decoded again, and leaves what it left before."""

from __future__ import annotations

import errno
import shutil
import weakref
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from tests.frames.clips import flat, numbered, write_clip
from tests.stages.test_extract import run
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, ParamsError
from wildseg.execution import result_store
from wildseg.frames import video
from wildseg.frames.photos import Photo, decode_photo
from wildseg.frames.read_stats import DecodeError
from wildseg.stages.tasks import keyframe_extractor, photo_cache


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """Two videos, one of them with a twin of the other's frames, photos, and a photo that is broken."""
    monkeypatch.delenv(result_store.VARIABLE)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    write_clip(raw / "north.mp4", 12, rate=10)
    write_clip(raw / "south.mp4", 8, rate=10)
    for number in range(12):
        Image.fromarray(numbered(100 + number)).save(raw / f"img_{number:02d}.png")
    (raw / "img_99.png").write_bytes(b"no picture")
    return Artifacts(tmp_path)


def files(artifacts: Artifacts) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in artifacts.frames_folder.iterdir()}
    return found | {"metrics": artifacts.metrics_path("extract.json").read_bytes()}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of sources that were read, as it happens."""
    names: list[str] = []
    read = keyframe_extractor.read

    def watched(source: Any, *arguments: Any) -> Any:  # noqa: ANN401
        names.append(source.name)
        return read(source, *arguments)

    monkeypatch.setattr(keyframe_extractor, "read", watched)
    return names


def test_known_sources_are_not_decoded_and_leave_the_same_bytes(
    project: Artifacts, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, duplicate_bits=2)
    before = files(project)
    assert decoded == ["raw", "north", "south"]
    assert "cache" not in capsys.readouterr().out
    run(project, duplicate_bits=2)
    assert files(project) == before
    assert decoded == ["raw", "north", "south"]
    assert capsys.readouterr().out.endswith("1 quarantined, 3 of 3 sources from the cache\n")


def test_only_a_new_source_is_decoded(project: Artifacts, decoded: list[str]) -> None:
    run(project)
    decoded.clear()
    write_clip(project.data / "raw" / "west.mp4", 6, rate=10)
    run(project)
    assert decoded == ["west"]
    assert sum(name.startswith("west_") for name in files(project)) == 6


def test_several_sources_read_at_once_leave_the_same_bytes(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, workers=3, duplicate_bits=2)
    at_once = files(project)
    capsys.readouterr()
    run(project, workers=3, duplicate_bits=2)
    assert capsys.readouterr().out.endswith("1 quarantined, 3 of 3 sources from the cache\n")
    assert files(project) == at_once
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(result_store.VARIABLE, "off")
        run(project, workers=1, duplicate_bits=2)
        assert files(project) == at_once
        run(project, workers=3, duplicate_bits=2)
        assert files(project) == at_once


def test_a_mistake_in_an_option_is_told_from_a_worker_too(project: Artifacts) -> None:
    with pytest.raises(ParamsError, match=r"absdiff\.width: expected a whole number from 1"):
        run(project, workers=2, options={"absdiff": {"width": 0}})


def test_what_comes_after_the_choice_costs_no_decoding(project: Artifacts, decoded: list[str]) -> None:
    every = run(project)["kept"]
    decoded.clear()
    fewer = run(project, duplicate_bits=2, test=0.4, stretch_s=0.5, held_out=("south",))["kept"]
    assert decoded == []
    assert fewer < every  # south shows what north shows
    run(project, max_side=32)
    assert decoded == ["raw", "north", "south"]


def test_a_damaged_entry_means_that_its_source_is_decoded_again(project: Artifacts, decoded: list[str]) -> None:
    run(project)
    before = files(project)
    decoded.clear()
    store = (path for path in (project.root / ".wildseg/cache/extract").rglob("*") if path.is_file())
    largest = max(store, key=lambda path: path.stat().st_size)  # a photo of the folder, or a frame
    largest.write_bytes(largest.read_bytes()[:-1])
    run(project)
    assert len(decoded) == 1
    assert files(project) == before


@pytest.mark.parametrize(
    "record", [None, [], {}, {"chosen": [{}], "tally": {}, "blurred": 0}, "../../outside_000000", "south_000000"]
)
def test_a_record_that_names_other_files_is_not_followed(
    record: Any,  # noqa: ANN401
    project: Artifacts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(project)
    before = files(project)
    get = result_store.ResultStore.get

    def planted(store: result_store.ResultStore, key: str) -> result_store.Entry | None:
        entry = get(store, key)
        if entry is None or not isinstance(entry.record, dict):  # a picture, or what was found in a photo
            return entry
        if not isinstance(record, str):
            return result_store.Entry(record)
        chosen = [frame | {"name": record} for frame in entry.record["chosen"]]
        return result_store.Entry(entry.record | {"chosen": chosen})

    monkeypatch.setattr(result_store.ResultStore, "get", planted)
    run(project)
    assert files(project) == before
    assert [path.name for path in project.root.rglob("outside*")] == []


# Photos one by one ---------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """A folder of ten photos, one of them broken, of which every second is a key frame."""
    monkeypatch.delenv(result_store.VARIABLE)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    for number in range(10):
        picture = flat(20 + 60 * (number // 2 % 3))
        picture[0, 0] = number  # no two files are the same
        Image.fromarray(picture).save(raw / f"img_{number:02d}.png")
    (raw / "img_05.png").write_bytes(b"no picture")
    return Artifacts(tmp_path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of photos that were decoded, as it happens."""
    names: list[str] = []
    read = photo_cache.decode_photo

    def watched(path: Path) -> Photo:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(photo_cache, "decode_photo", watched)
    return names


def run_clean(artifacts: Artifacts, **settings: Any) -> dict[str, bytes]:  # noqa: ANN401
    """What a run without any cache leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(result_store.VARIABLE, "off")
        run(artifacts, **settings)
    return files(artifacts)


SOME = {"options": {"absdiff": {"threshold": 30.0}}, "max_failures": 0.5}


def test_of_a_folder_that_grew_only_new_photos_and_their_neighbours_are_decoded(
    photos: Artifacts, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(photos, **SOME)
    assert sorted(opened) == [f"img_{n:02d}.png" for n in range(10)]
    opened.clear()
    capsys.readouterr()
    Image.fromarray(flat(250)).save(photos.data / "raw" / "img_03b.png")  # img_04 is compared with it
    run(photos, **SOME)
    assert sorted(opened) == ["img_02.png", "img_03b.png", "img_04.png"]
    assert capsys.readouterr().out.endswith("1 quarantined, 8 photos from the cache\n")
    grown = files(photos)
    assert run_clean(photos, **SOME) == grown


def test_a_removed_photo_costs_one_comparison(photos: Artifacts, opened: list[str]) -> None:
    run(photos, **SOME)
    opened.clear()
    (photos.data / "raw" / "img_02.png").unlink()  # the next that differs takes its place
    run(photos, **SOME)
    assert set(opened) <= {"img_00.png", "img_03.png", "img_04.png"}
    assert run_clean(photos, **SOME) == files(photos)


def test_another_size_of_key_frames_decodes_those_alone(photos: Artifacts, opened: list[str]) -> None:
    run(photos, **SOME)
    opened.clear()
    run(photos, **SOME, max_side=8)
    kept = [frame.index for frame in photos.load_frames()]
    assert opened == [f"img_{index:02d}.png" for index in kept]
    assert len(kept) < 9
    assert run_clean(photos, **SOME, max_side=8) == files(photos)


def test_what_is_to_be_said_of_a_photo_is_said_again_from_the_cache(
    photos: Artifacts, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("img_02.png", "img_07.png"):
        with Image.open(photos.data / "raw" / name) as image:
            image.save(photos.data / "raw" / name, icc_profile=b"no profile")
    line = "extract: 2 photos, the first img_02.png: unusable colour profile (it cannot be read), taken as sRGB"
    for last in ("img_09.png", "img_99.png", "img_99.png"):  # a new folder, one photo more, and nothing new
        if not (photos.data / "raw" / last).exists():
            Image.fromarray(flat(250)).save(photos.data / "raw" / last)
        opened.clear()
        run(photos, **SOME)
        assert capsys.readouterr().out.splitlines()[0] == line
    assert opened == []


@pytest.mark.parametrize("cache", ["on", "off"])
def test_of_photos_that_are_large_no_two_are_held_and_the_result_is_the_same(
    photos: Artifacts, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    expected = run_clean(photos, **SOME)
    if cache == "off":
        monkeypatch.setenv(result_store.VARIABLE, "off")
    held: list[int] = []
    alive: weakref.WeakSet[photo_cache._Photo] = weakref.WeakSet()
    hold = photo_cache.PhotoCache.hold

    def watched(known: photo_cache.PhotoCache, photo: photo_cache._Photo) -> None:
        alive.add(photo)
        hold(known, photo)
        held.append(sum(one._decoded is not None for one in alive))

    monkeypatch.setattr(photo_cache, "LARGE", 0)
    monkeypatch.setattr(photo_cache.PhotoCache, "hold", watched)
    run(photos, **SOME)
    assert files(photos) == expected
    assert max(held) <= 2  # one that is looked at, and one that is read ahead
    assert len(held) > 9


def test_a_photo_that_the_system_could_not_read_is_tried_again(
    photos: Artifacts, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> Photo:
        if path.name == "img_04.png":
            raise DecodeError("it cannot be decoded (Input/output error)") from OSError(errno.EIO, "Input/output error")
        return decode_photo(path)

    with monkeypatch.context() as patch:
        patch.setattr(photo_cache, "decode_photo", failing)
        run(photos, **SOME)
    assert "img_04.png" in (photos.frames_folder / "quarantine.csv").read_text()
    run(photos, **SOME)
    assert "img_04.png" not in (photos.frames_folder / "quarantine.csv").read_text()


def test_a_photo_for_which_there_was_no_memory_is_tried_again(
    photos: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> Photo:
        raise DecodeError("it cannot be decoded (MemoryError)") from MemoryError()

    with monkeypatch.context() as patch:
        patch.setattr(photo_cache, "decode_photo", failing)
        with pytest.raises(DataError):
            run(photos, **SOME)
    run(photos, **SOME)
    assert "img_04.png" not in (photos.frames_folder / "quarantine.csv").read_text()


def test_a_video_that_the_system_could_not_read_to_its_end_is_read_again(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(project)["kept"]
    before = files(project)
    shutil.rmtree(project.root / ".wildseg")

    class Broken:
        """A container whose disk stops answering after a few packets."""

        def __init__(self, container: Any) -> None:  # noqa: ANN401
            self.container = container

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return getattr(self.container, name)

        def demux(self, stream: Any) -> Any:  # noqa: ANN401
            for number, packet in enumerate(self.container.demux(stream)):
                if number == 4:
                    raise av.error.OSError(errno.EIO, "Input/output error")
                yield packet

    real = video.PacketDecoder
    with monkeypatch.context() as patch:
        patch.setattr(video, "PacketDecoder", lambda container, *rest: real(Broken(container), *rest))
        assert run(project, max_failures=0.9)["kept"] < whole
    assert run(project)["kept"] == whole
    assert files(project) == before


def test_a_photo_that_changes_while_it_is_read_is_told(photos: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    run(photos, **SOME)
    monkeypatch.setattr(photo_cache, "decode_photo", lambda _: (_ for _ in ()).throw(DecodeError("the file is empty")))
    with pytest.raises(DataError, match=r"img_00\.png: changed while it was read \(the file is empty\); run the same"):
        run(photos, **SOME, max_side=8)


def test_an_entry_that_names_another_file_is_computed_anew(project: Artifacts, decoded: list[str]) -> None:
    run(project)
    before = files(project)
    precious = project.root / "precious"
    precious.write_text("not of the cache")
    folder = result_store.location(project.root)
    assert folder is not None
    store = result_store.ResultStore(folder / "extract")
    for path in (folder / "extract").glob("??/*"):
        key = path.parent.name + path.name
        entry = store.get(key)
        if entry is not None and isinstance(entry.record, dict) and "chosen" in entry.record:
            for frame in entry.record["chosen"]:
                frame["picture"] = f"../../../../{precious.name}"
            store.put(key, entry)
    decoded.clear()
    run(project)
    assert decoded == ["raw", "north", "south"]
    assert precious.read_text() == "not of the cache"
    assert files(project) == before
