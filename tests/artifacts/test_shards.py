"""Files in shards read like loose ones, change few bytes when frames come and go, and are refused when broken."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.broken_files import cut as cut_off
from wildseg.artifacts import shards
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.execution.engines.local import LocalPool

# In the order of names; a shard begins at the third and at the last but one.
FRAMES = [
    "drive_000900",
    "drive_000901",
    "drive_001181",
    "drive_001182",
    "süd 草_000001",
    "süd 草_000244",
    "süd 草_000245",
]


def filled(root: Path) -> Artifacts:
    """What the stages leave of each of FRAMES, loose."""
    artifacts, noise = Artifacts(root), np.random.default_rng(0)
    for name in FRAMES:
        artifacts.save_image(name, noise.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        artifacts.save_maps(name, np.array([0, 2]), noise.random((2, 3, 4)))
        artifacts.save_mask(name, noise.integers(0, 4, (12, 16), dtype=np.uint8))
        artifacts.save_confidence(name, noise.random((12, 16)))
    return artifacts


def pack(artifacts: Artifacts) -> Artifacts:
    artifacts.pack_frames(FRAMES)
    artifacts.pack_maps(FRAMES)
    artifacts.pack_masks(FRAMES)
    return artifacts


def everything(artifacts: Artifacts, name: str) -> list[object]:
    """All that readers give of a frame."""
    classes, maps = artifacts.load_maps(name)
    arrays = [artifacts.load_image(name), classes, maps, artifacts.load_mask(name), artifacts.load_confidence(name)]
    files = [artifacts.frame_bytes(name), artifacts.maps_bytes(name), artifacts.mask_bytes(name)]
    return [*(array.tolist() for array in arrays), *files, artifacts.confidence_bytes(name)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def packed(tmp_path: Path) -> Artifacts:
    return pack(filled(tmp_path / "packed"))


# Both forms ----------------------------------------------------------------------------------------------------------


def test_every_reader_gives_the_same_from_shards_as_from_loose_files(packed: Artifacts, tmp_path: Path) -> None:
    loose = filled(tmp_path / "loose")
    for name in random.Random(0).sample(FRAMES, len(FRAMES)):
        assert everything(packed, name) == everything(loose, name)
    assert (packed.frames_are_packed(), loose.frames_are_packed()) == (True, False)


def test_a_shard_is_named_after_its_first_frame_and_nothing_else_is_left(packed: Artifacts) -> None:
    names = [f"{FRAMES[first]}.zip" for first in (0, 2, 5)]
    for folder in (packed.frames_folder, packed.cams_folder, packed.masks_folder, packed.confidence_folder):
        assert sorted(path.name for path in folder.iterdir() if path.is_file()) == names


def test_any_program_for_zip_files_can_open_a_shard(packed: Artifacts) -> None:
    with zipfile.ZipFile(packed.cams_folder / f"{FRAMES[2]}.zip") as archive:
        assert archive.namelist() == [f"{name}.npz" for name in FRAMES[2:5]]
        assert archive.testzip() is None
        assert archive.read(f"{FRAMES[4]}.npz") == packed.maps_bytes(FRAMES[4])


def test_a_frame_that_is_nowhere_is_told(packed: Artifacts) -> None:
    for name in ("a_000000", "drive_000902", "zzz_000000"):  # before, between and after what is there
        with pytest.raises(DataError, match=rf"{name}\.npz: expected the arrays .*No such file.*dvc repro cam"):
            packed.load_maps(name)


def test_a_loose_file_wins_over_its_shard(packed: Artifacts) -> None:
    packed.save_mask(FRAMES[3], np.full((2, 2), 9, np.uint8))
    assert packed.load_mask(FRAMES[3]).tolist() == [[9, 9], [9, 9]]


def test_shards_that_another_process_replaced_are_read_anew(packed: Artifacts, tmp_path: Path) -> None:
    before = [packed.load_mask(name).tolist() for name in FRAMES]
    again = filled(tmp_path / "again")
    for name in FRAMES[1:]:
        again.save_mask(name, np.full((2, 2), 7, np.uint8))
    (again.masks_folder / f"{FRAMES[0]}.png").unlink()
    shards.pack(again.masks_folder, FRAMES[1:], ".png")
    for path in packed.masks_folder.glob("*.zip"):
        path.unlink()
    for path in again.masks_folder.glob("*.zip"):
        path.replace(packed.masks_folder / path.name)
    assert before[1] != [[7, 7], [7, 7]]
    assert [packed.load_mask(name).tolist() for name in FRAMES[1:]] == [[[7, 7], [7, 7]]] * (len(FRAMES) - 1)
    with pytest.raises(DataError, match=FRAMES[0]):
        packed.load_mask(FRAMES[0])


# Processes -----------------------------------------------------------------------------------------------------------


def _read(name: str, artifacts: Artifacts) -> list[int]:
    return artifacts.load_mask(name).tolist()


class _Give:
    """What workers prepare, carrying an Artifacts that has read already."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts

    def __call__(self, _: int) -> Artifacts:
        return self.artifacts


def test_workers_read_from_shards_that_their_parent_has_read(packed: Artifacts) -> None:
    here = [_read(name, packed) for name in FRAMES]
    with LocalPool(2, _Give(packed)) as pool:
        assert list(pool.each(_read, FRAMES)) == here


def test_a_fork_reads_what_its_parent_reads_at_the_same_time(packed: Artifacts) -> None:
    expected = [_read(name, packed) for name in FRAMES]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put([[_read(name, packed) for name in FRAMES] for _ in range(50)]))
    child.start()
    assert all([_read(name, packed) for name in FRAMES] == expected for _ in range(50))
    assert answers.get() == [expected] * 50
    child.join()


def test_no_file_stays_open_and_what_is_remembered_is_bounded(packed: Artifacts) -> None:
    before = list(Path("/proc/self/fd").iterdir())
    for name in FRAMES:
        everything(packed, name)
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)
    assert shards._directory.cache_info().maxsize == shards.CACHED_DIRECTORIES


# Bytes and boundaries ------------------------------------------------------------------------------------------------


def test_bytes_depend_on_names_and_contents_alone(packed: Artifacts, tmp_path: Path) -> None:
    again = filled(tmp_path / "again")
    for path in again.root.rglob("*.*"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o600)
    umask = os.umask(0o077)
    try:
        for one in (again.pack_masks, again.pack_maps, again.pack_frames):
            one(FRAMES[::-1])
    finally:
        os.umask(umask)
    assert content(again.root) == content(packed.root)


def names(source: str, count: int) -> list[str]:
    return [f"{source}_{index:06d}" for index in range(count)]


def test_every_frame_is_in_one_shard_and_shards_are_in_order_and_not_too_large() -> None:
    frames = [*names("north", 30_000), *names("south", 30_000)]
    groups = shards.split_into_shards(dict.fromkeys(random.Random(0).sample(frames, len(frames)), 1))
    assert [frame for group in groups for frame in group] == frames
    assert max(map(len, groups)) <= shards.MAX_FILES
    assert 700 < len(frames) / len(groups) < 1100  # a seventh ends at LARGEST, so a little below USUAL
    for before, group in zip(groups, groups[1:], strict=False):
        assert shards.begins_shard(group[0]) or len(before) == shards.MAX_FILES


def test_a_shard_ends_before_it_has_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_BYTES", 10)
    assert shards.split_into_shards({"a": 4, "b": 6, "c": 1, "d": 99, "e": 1}) == [["a", "b"], ["c"], ["d"], ["e"]]


def split(frames: list[str]) -> set[tuple[str, ...]]:
    """The files of each shard."""
    return {tuple(group) for group in shards.split_into_shards(dict.fromkeys(frames, 1))}


def changed_shards(before: set[tuple[str, ...]], after: set[tuple[str, ...]]) -> int:
    """How many shards of `after` have other files than any of `before`: what `dvc push` would send."""
    return len(after - before)


def test_a_frame_more_or_less_changes_few_shards_wherever_it_is() -> None:
    frames = names("drive", 20_000)
    whole, chance = split(frames), random.Random(0)
    for place in chance.sample(range(len(frames)), 30):
        # Its own shard; a second one where it makes one larger than LARGEST, or begins one itself.
        fewer = split([*frames[:place], *frames[place + 1 :]])
        assert 1 <= changed_shards(fewer, whole) <= 3
        assert changed_shards(whole, fewer) <= 3


def test_a_new_video_changes_few_shards_and_frames_everywhere_change_all() -> None:
    frames = [name for drive in range(20) for name in names(f"drive_{drive:02d}", 1000)]
    whole = split(frames)
    for source in ("a", "drive_07b", "zoo"):
        assert changed_shards(whole, split([*frames, *names(source, 200)])) <= 3
    scattered = [f"{name}b" for name in frames[::100]]
    assert changed_shards(whole, split([*frames, *scattered])) >= len(whole)


def test_the_bytes_of_other_shards_stay_when_a_video_is_added(tmp_path: Path) -> None:
    digests = []
    for number, sources in enumerate((("north", "south"), ("north", "pole", "south"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        frames = [name for source in sources for name in names(source, 60 if source == "pole" else 2000)]
        for frame in frames:
            (folder / f"{frame}.jpg").write_bytes(hashlib.sha256(frame.encode()).digest())
        shards.pack(folder, frames, ".jpg")
        digests.append({path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    before, after = digests
    assert len(after) >= 5
    assert len(set(after.items()) - set(before.items())) <= 2


# Killed while packing ------------------------------------------------------------------------------------------------


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(12))
def test_every_frame_can_be_read_at_any_moment_of_packing(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = filled(tmp_path)
    before = {name: artifacts.load_mask(name).tolist() for name in FRAMES}
    left = moment

    def killing(real: Callable[..., object]) -> Callable[..., object]:
        def act(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Killed
            return real(*arguments, **named)

        return act

    monkeypatch.setattr(Path, "unlink", killing(Path.unlink))
    monkeypatch.setattr(Path, "replace", killing(Path.replace))
    with pytest.raises(_Killed):
        artifacts.pack_masks(FRAMES)
    monkeypatch.undo()
    assert {name: artifacts.load_mask(name).tolist() for name in FRAMES} == before


# Broken and hostile --------------------------------------------------------------------------------------------------


def entry(name: str, data: bytes = b"x" * 40, **changes: object) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name, shards.EARLIEST_DATE)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, data


def archive(path: Path, *entries: tuple[zipfile.ZipInfo, bytes], comment: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w") as new:
        new.comment = comment
        for info, data in entries:
            new.writestr(info, data)


def patched(path: Path, mark: bytes, offset: int, value: bytes, which: int = 0) -> None:
    """Overwrite bytes after the `which`-th place where `mark` stands."""
    whole, place = bytearray(path.read_bytes()), -1
    for _ in range(which + 1):
        place = whole.index(mark, place + 1)
    whole[place + offset : place + offset + len(value)] = value
    path.write_bytes(whole)


DIRECTORY = b"PK\1\2"  # what an entry of it begins with
NAME = f"{FRAMES[1]}.npz"


def bomb(path: Path) -> None:
    archive(path, entry(NAME, bytes(10**6), compress_type=zipfile.ZIP_DEFLATED))


def bomb_in_disguise(path: Path) -> None:
    archive(path, entry(NAME))
    patched(path, DIRECTORY, 20, struct.pack("<LL", 2**31, 2**31))


def overlapping(path: Path) -> None:
    archive(path, entry("a.npz"), entry(NAME))
    patched(path, DIRECTORY, 42, struct.pack("<L", 0), which=1)


def outside(path: Path) -> None:
    archive(path, entry("../../precious.npz"), entry(NAME))


def encrypted(path: Path) -> None:
    archive(path, entry(NAME))
    patched(path, DIRECTORY, 8, b"\1")


def too_many(path: Path) -> None:
    archive(path, *(entry(f"{number}.npz", b"") for number in range(shards.MAX_FILES + 1)))


def long_directory(path: Path) -> None:
    archive(path, *(entry(f"{number}.npz", b"", comment=bytes(2000)) for number in range(1000)))


def twice(path: Path) -> None:
    archive(path, entry(NAME), entry("drive_000902.npz"))
    whole = path.read_bytes().replace(b"drive_000902", NAME.removesuffix(".npz").encode())
    path.write_bytes(whole)


def another_checksum(path: Path) -> None:
    patched(path, NAME.encode(), 100, b"\0\0\0\0")


def moved(path: Path) -> None:
    patched(path, NAME.encode(), -30, b"XX")


def large(path: Path) -> None:
    archive(path, (entry(NAME)[0], b"x"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-22] + b"PK\6\7" + bytes(16) + whole[-22:])


HOSTILE: dict[str, Callable[[Path], None]] = {
    "cut in the middle": cut_off,
    "cut before its end": lambda path: cut_off(path, 0.99),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(100)),
    "with a comment": lambda path: archive(path, entry(NAME), comment=b"hello"),
    **{make.__name__: make for make in (bomb, bomb_in_disguise, overlapping, outside, encrypted, too_many)},
    **{make.__name__: make for make in (long_directory, twice, another_checksum, moved, large)},
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_broken_or_hostile_shard_is_one_line(packed: Artifacts, how: str) -> None:
    path = packed.cams_folder / f"{FRAMES[0]}.zip"
    assert packed.load_maps(FRAMES[1])
    HOSTILE[how](path)
    for read in (packed.load_maps, packed.maps_bytes):
        with pytest.raises(DataError) as caught:
            read(FRAMES[1])
        message = str(caught.value)
        assert f"data/cams/{NAME}: expected " in message
        assert f"in {path.name}: " in message, message
        assert message.endswith("; run 'dvc repro cam'")
        assert "\n" not in message
    assert [found for found in packed.root.parent.rglob("precious*")] == []


def test_a_folder_in_place_of_a_shard_is_one_line(packed: Artifacts) -> None:
    path = packed.masks_folder / f"{FRAMES[0]}.zip"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"expected an image of class ids \(Is a directory\); run 'dvc repro crf'"):
        packed.load_mask(FRAMES[0])


def test_a_shard_that_was_never_finished_is_passed_over(packed: Artifacts) -> None:
    (packed.masks_folder / f".{FRAMES[0]}.123.zip").write_bytes(b"half")
    assert packed.load_mask(FRAMES[0]).shape == (12, 16)
    assert shards.is_packed(packed.masks_folder)
