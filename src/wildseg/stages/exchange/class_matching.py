"""Classes of a data set, by name, id or colour, as classes of params.yaml; what has no class is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wildseg.artifacts import truth_maps, truth_masks
from wildseg.artifacts.truth_map_files import Key, parse_key
from wildseg.artifacts.truth_maps import LabelMap, class_id, plain
from wildseg.core.classes import MAX_CLASSES
from wildseg.core.errors import DataError, WildsegError, did_you_mean

SHOWN = 8  # values that an error lists


@dataclass(frozen=True)
class Matching:
    """What values of masks mean.

    label_map: from values to ids: of classes, from C + 1 of `others`; None where ids are those of params.yaml.
    others: names of the data set that are no class.
    """

    class_names: tuple[str, ...]
    label_map: LabelMap | None
    others: tuple[str, ...]

    @property
    def num_ids(self) -> int:
        """The last id of a name."""
        return len(self.class_names) + len(self.others)


class Renames:
    """What a person says of names, ids and colours: ``{"rough trail": "soil", "#ff0080": "ignore"}``."""

    def __init__(self, texts: Sequence[str], class_names: Sequence[str]) -> None:
        """Read lines ``NAME=CLASS``.

        Raises:
            WildsegError: a line without an equals sign, or a right side that is neither a class, background nor ignore.
        """
        self.of_names: dict[str, int] = {}
        self.of_keys: dict[Key, int] = {}
        for text in texts:
            left, equals, right = text.rpartition("=")
            if not equals or not left.strip():
                raise WildsegError(f"--map: expected NAME=CLASS, such as 'rough trail=soil', found {text!r}")
            try:
                meaning = class_id(Path("--map"), right, class_names)
            except DataError as error:
                raise WildsegError(str(error).replace("; map everything else to ignore", "")) from error
            key = parse_key(left.strip())
            if key is not None:
                self.of_keys[key] = meaning
            self.of_names[plain(left)] = meaning


def match(path: Path, table: Mapping[Key, str] | None, class_names: Sequence[str], renames: Renames) -> Matching:
    """Return what ids and colours mean.

    Args:
        path: of the table, for error lines.
        table: the name of each id or colour; None where ids are those of params.yaml.
        class_names: C names of params.yaml.
        renames: which win over names.
    """
    if table is None:
        known = {id_: id_ for id_ in range(len(class_names) + 1)} | renames.of_keys
        return Matching(tuple(class_names), truth_maps.label_map(path, known) if renames.of_keys else None, ())
    others: list[str] = []
    meanings: dict[Key, int] = {}
    for key, name in table.items():
        meanings[key] = _meaning(name, class_names, renames, others)
    if len(class_names) + len(others) > MAX_CLASSES:
        raise DataError(f"{path}: expected at most {MAX_CLASSES} classes, with those of params.yaml; "
                        f"found {len(others)} others")  # fmt: skip
    return Matching(tuple(class_names), truth_maps.label_map(path, meanings | renames.of_keys), tuple(others))


def ids_of_names(names: Sequence[str], class_names: Sequence[str], renames: Renames) -> tuple[set[int], list[str]]:
    """Return the ids of classes among the names of a photo's objects, and the names that are no class."""
    others: list[str] = []
    ids = {_meaning(name, class_names, renames, others) for name in names}
    return {id_ for id_ in ids if 0 < id_ <= len(class_names)}, others


def _meaning(name: str, class_names: Sequence[str], renames: Renames, others: list[str]) -> int:
    if plain(name) in renames.of_names:
        return renames.of_names[plain(name)]
    try:
        return class_id(Path(), name, class_names)
    except DataError:
        alike = {plain(other): place for place, other in enumerate(others)}
        if plain(name) not in alike:
            others.append(name)
        return len(class_names) + 1 + alike.get(plain(name), len(others) - 1)


# Reading masks -------------------------------------------------------------------------------------------------------


@dataclass
class MaskCounts:
    """Pixels over all masks: by id, (256,), and of values without a meaning, with the files that hold them."""

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    masks: int = 0
    resampled: int = 0
    unknown: dict[tuple[bool, int], int] = field(default_factory=dict)  # by (is a colour, id or packed colour)
    files: dict[tuple[bool, int], list[str]] = field(default_factory=dict)
    files_of_ids: dict[int, int] = field(default_factory=dict)

    def read(self, path: Path, matching: Matching, shape: tuple[int, int]) -> np.ndarray:
        """Read and count a mask; return its ids, (H, W) uint8, in which other names have ids above those of classes.

        Raises:
            DataError: it cannot be read, or has another size than its photo.
        """
        found = truth_masks.decode(path, matching.label_map, matching.num_ids, shape)
        self.masks += 1
        self.resampled += found.stored != shape
        for value, pixels in found.unknown.items():
            key = (found.colours, value)
            self.unknown[key] = self.unknown.get(key, 0) + pixels
            self.files.setdefault(key, []).append(path.name)
        counted = np.bincount(found.ids.ravel(), minlength=256)
        self.pixels += counted
        for id_ in np.flatnonzero(counted).tolist():
            self.files_of_ids[id_] = self.files_of_ids.get(id_, 0) + 1
        return found.ids

    def lines(self, class_names: Sequence[str], *, background: bool) -> list[str]:
        """Return lines on the share of pixels of each class, on background without any, and masks of another size."""
        if not self.masks:
            return []
        shares, by_id = self.pixels / self.pixels.sum(), dict(enumerate(("background", *class_names))) | {255: "ignore"}
        shown = ", ".join(f"{by_id[id_]} {shares[id_]:.1%}" for id_ in np.flatnonzero(self.pixels).tolist())
        found = [f"pixels of {self.masks} masks: {shown}"]
        if self.pixels[0] and not background:
            found.append(f"{shares[0]:.1%} of the pixels are background, and 'background' is [] in params.yaml: list "
                         "phrases there, or --map background=ignore")  # fmt: skip
        if self.resampled:
            found.append(f"{self.resampled} masks of another size were resized to their photo by nearest-neighbour "
                         "interpolation")  # fmt: skip
        return found

    def check(self, where: Path, matching: Matching) -> None:
        """Raise a DataError that lists all values without a meaning, and all names that are no class, with pixels."""
        first = len(matching.class_names) + 1
        lines = [
            f"{name!r} in {self.pixels[first + place]} pixels of {self.files_of_ids[first + place]} masks"
            for place, name in enumerate(matching.others)
            if self.pixels[first + place]
        ]
        problems = []
        if lines:
            names = [name for place, name in enumerate(matching.others) if self.pixels[first + place]]
            problems.append(f"{len(lines)} names that are no class of params.yaml: {_some(lines)}"
                            f"{did_you_mean(names[0], matching.class_names)}")  # fmt: skip
        for is_colour, what in ((False, "ids"), (True, "colours")):
            own = sorted((key for key in self.unknown if key[0] == is_colour), key=lambda key: -self.unknown[key])
            values = [
                f"{truth_masks.hex_of(value) if is_colour else value} in {self.unknown[is_colour, value]} pixels of "
                f"{len(self.files[is_colour, value])} masks, first {self.files[is_colour, value][0]}"
                for _, value in own
            ]
            if values:
                named = f"that {matching.label_map.path} does not name" if matching.label_map else "without a class"
                problems.append(f"{len(values)} {what} {named}: {_some(values)}")
        if problems:
            raise DataError(f"{where}: expected classes of params.yaml, background or ignore; found "
                            f"{'; '.join(problems)}; map each by --map NAME=CLASS or --map NAME=ignore, where NAME may "
                            "be an id or a colour; --propose prints 'classes' for params.yaml")  # fmt: skip


def _some(lines: Sequence[str]) -> str:
    return ", ".join(lines[:SHOWN]) + (f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")


def class_names_of(table: Mapping[Key, str]) -> list[str]:
    """Return the names of a table that can be classes, in its order, each once."""
    names: dict[str, str] = {}
    for name in table.values():
        if plain(name) not in ("background", *truth_maps.UNCOUNTED):
            names.setdefault(plain(name), name)
    return list(names.values())
