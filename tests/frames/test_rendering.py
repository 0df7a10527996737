import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.frames.test_video import look
from wildseg.frames.image import grey
from wildseg.frames.photos import read_photo

HEIGHT, WIDTH = 128, 192
HIDDEN, SHOWN = (255, 0, 254), (40, 180, 60)

FILES = {
    "prores.mov": ("prores_ks", "yuva444p10le", {}),
    "png.mov": ("png", "rgba", {}),
    "png16.mov": ("png", "rgba64be", {}),
    "animation.mov": ("qtrle", "argb", {}),
    "vp9.webm": ("libvpx-vp9", "yuva420p", {}),
    "vp8.webm": ("libvpx", "yuva420p", {"auto-alt-ref": "0", "b": "4M"}),
    "ffv1.mkv": ("ffv1", "yuva420p", {}),
    "utvideo.avi": ("utvideo", "gbrap", {}),
}


def layered() -> np.ndarray:
    """Return (128, 192, 4): a hidden colour left, transparent above and half so below, and an opaque colour right."""
    image = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    image[..., :3] = HIDDEN
    image[64:, :96, 3] = 128
    image[:, 96:] = (*SHOWN, 255)
    return image


def write_layered(path: Path, codec: str, pixel_format: str, image: np.ndarray, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        if path.suffix == ".webm":
            stream.metadata["alpha_mode"] = "1"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(image, "rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", FILES)
def test_what_is_transparent_in_video_becomes_black_as_in_a_photo(tmp_path: Path, name: str) -> None:
    Image.fromarray(layered()).save(tmp_path / "photo.png")
    photo = read_photo(tmp_path / "photo.png")
    codec, pixel_format, options = FILES[name]
    frames, stats = look(write_layered(tmp_path / name, codec, pixel_format, layered(), **options))
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3], abs=2e-3)
    picture = frames[-1].pixels.rgb()
    for place in [(20, 20), (100, 20), (20, 170), (100, 170)]:
        np.testing.assert_allclose(picture[place], photo[place], atol=3)
    np.testing.assert_array_equal(frames[-1].pixels.grey(), grey(picture))
    small = frames[-1].pixels.rgb(51)  # of which the middle column is half transparent: no hidden colour bleeds into it
    np.testing.assert_allclose(small[5, 25], np.array(SHOWN) / 2, atol=20)
    np.testing.assert_allclose(small[5, 24], 0, atol=20)
    assert stats.quarantine == []


def test_transparent_parts_of_a_gif_become_black_and_opaque_ones_stay(tmp_path: Path) -> None:
    indices = np.repeat(np.arange(2), 32).astype(np.uint8)[None].repeat(64, axis=0)
    picture = Image.fromarray(indices, "P")
    picture.putpalette([*HIDDEN, *SHOWN])
    moved = Image.fromarray(1 - indices, "P")
    moved.putpalette([*HIDDEN, *SHOWN])
    for name, options, left in (("a.gif", {"transparency": 0, "disposal": 2}, (0, 0, 0)), ("b.gif", {}, HIDDEN)):
        picture.save(tmp_path / name, save_all=True, append_images=[moved], duration=100, **options)
        frames, _ = look(tmp_path / name)
        assert len(frames) == 2
        first, second = (frame.pixels.rgb() for frame in frames)
        assert (tuple(first[9, 9]), tuple(first[9, 60])) == (left, SHOWN)
        assert (tuple(second[9, 9]), tuple(second[9, 60])) == (SHOWN, left)


@pytest.mark.parametrize(("opacities", "left"), [((0, 255), 0), ((128, 255), 128), ((255, 255), 255)])
def test_a_palette_may_hold_transparent_colours(tmp_path: Path, opacities: tuple[int, int], left: int) -> None:
    picture = Image.fromarray(np.repeat(np.arange(2), 32).astype(np.uint8)[None].repeat(64, axis=0), "P")
    picture.putpalette([*HIDDEN, *SHOWN])
    content = io.BytesIO()
    picture.save(content, "PNG", transparency=bytes(opacities))
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        container.start_encoding()
        for number in range(2):
            packet = av.Packet(content.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            container.mux(packet)
    frames, _ = look(tmp_path / "a.mov")
    pixels = frames[0].pixels.rgb()
    assert tuple(pixels[9, 60]) == SHOWN
    np.testing.assert_allclose(pixels[9, 9], np.array(HIDDEN) * left / 255, atol=1)


def test_an_opaque_picture_with_an_opacity_is_the_one_without(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    image[..., 3] = 255
    frames, _ = look(write_layered(tmp_path / "a.mov", "png", "rgba", image))
    np.testing.assert_array_equal(frames[0].pixels.rgb(), image[..., :3])
