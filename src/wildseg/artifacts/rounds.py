"""The masks of rounds of self-training: what each round after the first was trained on, beside the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from wildseg.artifacts.segmenter import SegmenterFiles
from wildseg.artifacts.shards import exists, open_file, pack
from wildseg.core.files import save_bytes
from wildseg.core.images import encode_label_image, load_label_image
from wildseg.core.names import made_by, plain


class RoundMasks(SegmenterFiles):
    """models/segmenter/rounds: a folder for each round from the second on, of masks of the training frames."""

    @property
    def rounds_folder(self) -> Path:
        """The folder of all rounds; it exists where there was more than one."""
        return self.segmenter_folder / "rounds"

    def round_mask_path(self, number: int, frame: str) -> Path:
        """Return the path of a frame's mask of a round, if loose."""
        return self.rounds_folder / str(number) / f"{plain(frame)}.png"

    def save_round_mask(self, number: int, frame: str, mask: np.ndarray) -> None:
        """Write models/segmenter/rounds/<number>/<frame>.png; mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        save_bytes(self.round_mask_path(number, frame), encode_label_image(mask))

    def load_round_mask(self, number: int, frame: str) -> np.ndarray:
        """Read a frame's mask of a round: (H, W) uint8 ids, 0 background, 255 ignore.

        Raises:
            DataError: it is missing or broken.
        """
        with made_by("train"):
            return load_label_image(self.round_mask_path(number, frame), open_file)

    def mask_of_round(
        self, number: int, trained: Collection[str], otherwise: Callable[[str], np.ndarray], frame: str
    ) -> np.ndarray:
        """Read the mask of a round of one of the frames `trained` on, of any other what `otherwise` returns."""
        return self.load_round_mask(number, frame) if frame in trained else otherwise(frame)

    def pack_round_masks(self, number: int) -> None:
        """Pack the loose masks of a round into shards."""
        folder = self.rounds_folder / str(number)
        pack(folder, [path.stem for path in folder.glob("*.png")], ".png")

    def was_relabelled(self, frame: str) -> bool:
        """Return whether every round after the first has a mask of a frame."""
        return all(exists(self.round_mask_path(number, frame)) for number in self.rounds_of_masks())

    @contextmanager
    def model_alone(self) -> Iterator[Path]:
        """Give models/segmenter without the masks of rounds, as a copy where there are such: what is deployed."""
        if not self.rounds_folder.exists():
            yield self.segmenter_folder
            return
        with TemporaryDirectory() as folder:
            copy = Path(folder) / self.segmenter_folder.name
            shutil.copytree(self.segmenter_folder, copy, ignore=shutil.ignore_patterns(self.rounds_folder.name))
            yield copy

    def rounds_of_masks(self) -> list[int]:
        """Return the numbers of the rounds that have masks here."""
        found = [path.name for path in self.rounds_folder.glob("*/")] if self.rounds_folder.is_dir() else []
        return sorted(int(name) for name in found if name.isdecimal())
