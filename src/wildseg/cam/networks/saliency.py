"""Saliency of training frames for networks that learn shape from it: from files, or estimated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wildseg.cam.networks.boundary_connectivity import boundary_saliency
from wildseg.cam.networks.objective import SaliencyOf
from wildseg.core.errors import DataError
from wildseg.core.images import load_grey_image

ESTIMATE = "estimate"  # in place of a folder


def saliency_of(value: str | None, root: Path, key: str) -> SaliencyOf | None:
    """Return where saliency comes from.

    Args:
        value: None for nowhere, ``estimate`` for `boundary_saliency`, or a folder of files, see `SaliencyFolder`.
        root: the folder that a relative path starts from.
        key: the parameter that holds the value, for error lines.

    Raises:
        DataError: there is no such folder, or no PNG file in it.
    """
    if value is None:
        return None
    if value == ESTIMATE:
        return estimate
    folder = root / value
    if not folder.is_dir():
        raise DataError(
            f"{key}: expected a folder of saliency maps, {ESTIMATE!r} or null; found no folder {str(folder)!r}"
        )
    if not any(folder.glob("*.png")):
        raise DataError(f"{key}: expected a file <frame>.png for each frame with saliency; found none in {folder}")
    return SaliencyFolder(folder, key)


def estimate(frame: str, image: np.ndarray) -> np.ndarray:
    """Return the estimated saliency of an image, whatever frame it is; see `boundary_saliency`."""
    return boundary_saliency(image)


@dataclass(frozen=True)
class SaliencyFolder:
    """Files <frame>.png of 8-bit grey, 0 for background and 255 for what is salient; a frame without one has None."""

    folder: Path
    key: str

    def __call__(self, frame: str, image: np.ndarray) -> np.ndarray | None:
        """Return the saliency (H, W) float32 in [0, 1] of a frame.

        Raises:
            DataError: the file is broken, not 8-bit grey, or of another size than the frame.
        """
        path = self.path(frame)
        if not path.exists():
            return None
        found = load_grey_image(path)
        if found.shape != image.shape[:2]:
            (height, width), (other, wide) = image.shape[:2], found.shape
            raise DataError(
                f"{path}: expected saliency of the size of its frame, {width}x{height}, found {wide}x{other}"
            )
        return found.astype(np.float32) / 255

    def check(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Check the files of frames of these sizes (H, W) before a training of hours.

        A file that cannot be used is an error and quarantines no frame: the frame is intact, its maps are wanted, and
        whoever made the file can correct it.

        Raises:
            DataError: none of the files belongs to a frame, or one is broken, not 8-bit grey, or of another size.
        """
        files = self.files(sizes)
        wrong = []
        for path in files:
            (height, width), found = sizes[path.stem], load_grey_image(path).shape
            if found != (height, width):
                wrong.append(f"{path} has {found[1]}x{found[0]} pixels and its frame {width}x{height}")
        if wrong:
            raise DataError(
                f"{self.key}: expected saliency of the size of its frame; {len(wrong)} of {len(files)} files have "
                f"another one: {wrong[0]}{', ...' if len(wrong) > 1 else ''}; resize them, or remove them: a frame "
                "without saliency learns from attention alone"
            )

    def path(self, frame: str) -> Path:
        """Return where the saliency of a frame lies if it has any."""
        return self.folder / f"{frame}.png"

    def files(self, frames: Iterable[str]) -> list[Path]:
        """Return the files of these frames that exist.

        Raises:
            DataError: there is none, so that the files belong to other frames.
        """
        paths = [self.path(frame) for frame in frames]
        found = [path for path in paths if path.exists()]
        if paths and not found:
            other = min(self.folder.glob("*.png")).name
            raise DataError(
                f"{self.key}: expected names of frames, such as {paths[0].name}; none of the files in {self.folder} "
                f"has one ({other}, ...)"
            )
        return found
