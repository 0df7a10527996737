from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames.clips import write_clip
from tests.frames.light import PATCHES, REC709_TO_2020, coded_frame, linear, middles, patches, write_coded
from tests.frames.test_video import look
from wildseg.frames import video_colour as colour
from wildseg.frames.image import grey
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import read
from wildseg.frames.rgb_spaces import rgb_to_xyz
from wildseg.frames.sources import Source
from wildseg.methods.keyframes.absdiff import select

FILES = {
    "phone.mp4": ("libx265", "yuv420p10le", {"x265-params": "log-level=error:bframes=0", "crf": "4"}),
    "editor.mov": ("prores_ks", "yuv422p10le", {}),
    "lossless.mkv": ("ffv1", "yuv444p10le", {}),
    "eight_bits.mp4": ("libx264", "yuv420p", {"crf": "2"}),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("curve", ["hlg", "pq", "sdr"])
def test_a_patch_of_known_colour_comes_back_from_bt2020(tmp_path: Path, curve: str, name: str) -> None:
    codec, pixel_format, options = FILES[name]
    frames, stats = look(write_coded(tmp_path / name, [patches()] * 2, curve, codec, pixel_format, **options))
    picture = frames[0].pixels.rgb()
    coarse = 6 if name == "eight_bits.mp4" else 3  # a step of the signal is as many levels
    np.testing.assert_allclose(middles(picture), PATCHES, atol=coarse)
    np.testing.assert_array_equal(frames[0].pixels.grey(), grey(picture))
    np.testing.assert_allclose(middles(frames[0].pixels.rgb(112)), PATCHES, atol=coarse + 1)
    said = [(name, f"HDR video ({curve.upper()}), tone-mapped to sRGB with white at 203 nits")]
    assert stats.notes == ([] if curve == "sdr" else said)


@pytest.mark.parametrize("curve", ["hlg", "pq"])
def test_full_range_hdr_and_hdr_without_a_matrix_give_the_same_colours(tmp_path: Path, curve: str) -> None:
    for options in ({"full": True}, {"matrix": 2}):
        path = write_coded(tmp_path / "a.mkv", [patches()], curve, "ffv1", "yuv444p10le", **options)
        np.testing.assert_allclose(middles(look(path)[0][0].pixels.rgb()), PATCHES, atol=3)


@pytest.mark.parametrize("curve", ["hlg", "pq"])
def test_light_brighter_than_white_keeps_its_hue_and_order(tmp_path: Path, curve: str) -> None:
    colours = ((240, 120, 60), (120, 60, 30), (255, 255, 255))
    path = write_coded(tmp_path / "a.mkv", [patches(colours)], curve, "ffv1", "yuv444p10le", gain=3)
    lamp, leaf, white = middles(look(path)[0][0].pixels.rgb(), 3)
    assert white.min() > 250
    assert lamp[0] > 250
    stored = linear(np.array(colours[0]))
    np.testing.assert_allclose(linear(lamp) / linear(lamp)[0], stored / stored[0], atol=0.03)
    np.testing.assert_allclose((leaf / 255) ** 2.2, 3 * (np.array(colours[1]) / 255) ** 2.2, atol=0.02)


def test_an_hdr_drive_gives_as_many_key_frames_as_the_same_drive_in_sdr(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    world = np.kron(rng.integers(20, 220, (8, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    images = [np.ascontiguousarray(world[:, 3 * n : 3 * n + 96]) for n in range(60)]
    paths = [write_clip(tmp_path / "sdr.mkv", images, codec="ffv1")]
    for curve in ("hlg", "pq"):
        paths.append(write_coded(tmp_path / f"{curve}.mkv", images, curve, "ffv1", "yuv420p10le"))
    sdr, hlg, pq = (len(list(select(read(Source("a", "video", (path,)), None, ReadStats())))) for path in paths)
    assert sdr > 5
    assert abs(hlg - sdr) <= 1
    assert abs(pq - sdr) <= 1


def test_each_frame_is_shown_by_its_own_colours_also_where_they_change_within_a_file(tmp_path: Path) -> None:
    codec, pixel_format, options = FILES["phone.mp4"]
    parts = [write_coded(tmp_path / ".1.ts", [patches()] * 3, "pq", codec, pixel_format, **options)]
    parts += [
        write_clip(tmp_path / ".2.ts", [patches()] * 3, codec=codec, prepare=lambda s: setattr(s, "options", options))
    ]
    parts += [write_coded(tmp_path / ".3.ts", [patches()] * 3, "hlg", codec, pixel_format, **options)]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, stats = look(tmp_path / "a.ts")
    assert len(frames) == 9
    for frame in frames:
        np.testing.assert_allclose(middles(frame.pixels.rgb()), PATCHES, atol=3)
    assert [text[:15] for _, text in stats.notes] == ["HDR video (PQ),", "HDR video (HLG)"]


@pytest.mark.parametrize(
    ("code", "name"),
    [(8, "linear light"), (9, "logarithmic, 100:1"), (10, "logarithmic, 316:1"), (17, "SMPTE ST 428-1")],
)
def test_a_curve_that_cannot_be_mapped_is_named_and_its_colours_are_taken_as_stored(
    tmp_path: Path, code: int, name: str
) -> None:
    path = write_coded(tmp_path / "a.mkv", [patches()], "sdr", "ffv1", "yuv444p10le", transfer=code)
    frames, stats = look(path)
    assert len(frames) == 1
    [(item, text)] = stats.notes
    assert item == "a.mkv"
    assert f"code {code}" in text
    assert name in text
    np.testing.assert_array_equal(frames[0].pixels.rgb(), frames[0].pixels._frame.to_ndarray(format="rgb24"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [8, 14])
def test_a_matrix_that_cannot_be_read_is_named_and_stops_nothing(tmp_path: Path, code: int) -> None:
    path = write_coded(tmp_path / "a.mkv", [patches()], "pq", "ffv1", "yuv444p10le", matrix=code)
    frames, stats = look(path)
    assert frames[0].pixels.rgb().shape == patches().shape
    assert frames[0].pixels.grey().shape == patches().shape[:2]
    assert f"its matrix (code {code}" in stats.notes[-1][1]


def test_what_a_frame_does_not_say_of_its_colours_is_taken_from_its_decoder() -> None:
    frame = coded_frame(patches(), "hlg", "yuv420p10le")
    context = av.CodecContext.create("hevc", "r")
    context.color_trc, context.color_primaries, context.colorspace = 18, 9, 9
    frame.colorspace = 2
    assert colour.coding_of(frame, context) == (18, 9, 9)
    frame.color_trc, frame.color_primaries, frame.colorspace = 16, 12, 1
    assert colour.coding_of(frame, context) == (16, 12, 1)
    context.color_primaries = frame.color_primaries = 2
    assert colour.coding_of(frame, context) == (16, 9, 1)
    frame.color_trc, frame.colorspace = 1, 9
    assert colour.coding_of(frame, context) == (1, 9, 9)
    frame.colorspace = 1
    assert colour.coding_of(frame, context) == (1, 2, 1)


def test_curves_and_matrices_are_those_of_the_standards() -> None:
    # Points of BT.2100-2 and BT.2408-7: HLG's reference white is a signal of 75 %, PQ's one of 58 %.
    assert colour.pq_light(np.array([0, 1, 0.580689])) == pytest.approx([0, 10_000, 203], rel=1e-3, abs=1e-9)
    assert colour.hlg_scene(np.array([0, 0.5, 0.75, 1])) == pytest.approx([0, 1 / 12, 0.2650, 1], abs=1e-4)
    np.testing.assert_allclose(np.linalg.inv(colour.to_rec709(9)), REC709_TO_2020, atol=2e-4)
    np.testing.assert_allclose(rgb_to_xyz(*colour.CHROMATICITIES[1])[1], [0.2126, 0.7152, 0.0722], atol=1e-4)
    for primaries in colour.CHROMATICITIES:
        np.testing.assert_allclose(colour.to_rec709(primaries).sum(axis=1), 1, atol=1e-3)  # white stays white
    codes = np.array([[[0, 0, 0], [65535, 65535, 65535], [32768, 32768, 32768]]], np.uint16)
    assert colour.to_srgb(codes, colour.Coding(1, 12, 1)).tolist() == [[[0] * 3, [255] * 3, [128] * 3]]


@pytest.mark.parametrize("name", ["phone.mp4", "eight_bits.mp4"])
def test_ordinary_video_takes_the_way_that_it_always_took(tmp_path: Path, name: str) -> None:
    for matrix, full in ((1, False), (6, False), (1, True), (6, True)):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            codec, pixel_format, options = FILES[name]
            stream = container.add_stream(codec, rate=10, options=options)
            stream.height, stream.width = patches().shape[:2]
            stream.pix_fmt = pixel_format
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace, context.color_range = 1, 1, matrix, 1 + full
            frame = av.VideoFrame.from_ndarray(patches(), "rgb24")
            frame = frame.reformat(
                format=pixel_format, dst_colorspace=5 if matrix == 6 else 1, dst_color_range=1 + full
            )
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        frames, stats = look(path)
        assert stats.notes == []
        np.testing.assert_allclose(middles(frames[0].pixels.rgb()), PATCHES, atol=4)
        assert frames[0].pixels._spec.is_plain  # type: ignore[attr-defined]
