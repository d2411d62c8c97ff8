"""Right input becomes upright RGB, whatever PIL makes of it, and damaged input one sentence."""

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from headscope.models import pixels
from headscope.models.errors import HeadscopeError
from headscope.models.images import read_image


def encoded(image: Image.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def raw_png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for depths that PIL does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


@pytest.fixture
def colours() -> np.ndarray:
    """Noise in colour, 24×32: every byte of its files matters."""
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 8, columns * 6, 60 + rows * 2 + columns * 2], -1).astype(np.uint8)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.linspace(0, 65_535, 256).astype(np.uint16).reshape(16, 16)
    clipped = np.asarray(Image.fromarray(values).convert("L"))
    assert (clipped == 255).sum() > 200, "PIL no longer clips: this special case may go"
    expected = np.rint(values / 257).astype(np.uint8)
    assert expected.min() == 0
    assert expected.max() == 255
    for source in (
        encoded(Image.fromarray(values), "PNG"),
        encoded(Image.fromarray(values), "TIFF"),
        encoded(Image.fromarray(values), "TIFF", compression="tiff_lzw"),
        encoded(Image.fromarray(values), "PPM"),
        encoded(Image.fromarray(values), "JPEG2000", irreversible=False),
        values,
    ):
        photograph = read_image(source)
        for channel in range(3):
            np.testing.assert_array_equal(photograph.pixels[..., channel], expected)
        assert photograph.notes == (
            "16 bits per channel, reduced to 8",
            "grey, the same in all three channels",
        )


def test_sixteen_bit_colour_is_scaled():
    values = np.random.default_rng(0).integers(0, 65_536, (8, 8, 3)).astype(">u2")
    values[0, 0], values[0, 1] = 0, 65_535
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    photograph = read_image(raw_png(8, 8, depth=16, colour=2, rows=rows))
    expected = values / 257
    assert np.abs(photograph.pixels - expected).max() < 1  # PIL keeps the upper byte
    assert photograph.pixels[0, :2].tolist() == [[0] * 3, [255] * 3]
    assert photograph.notes == ("16 bits per channel, reduced to 8",)
    nearest = read_image(values.astype(np.uint16)).pixels
    np.testing.assert_array_equal(nearest, np.rint(expected))


def test_sixteen_bit_grey_with_one_clear_value_is_put_on_white():
    values = np.array([[0, 1000], [30_000, 65_535]], np.uint16)
    data = encoded(Image.fromarray(values), "PNG", transparency=1000)
    photograph = read_image(data)
    assert photograph.pixels[..., 0].tolist() == [[0, 255], [117, 255]]
    assert "transparent, put on white" in photograph.notes


@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255], None),
        (
            np.array([[-2.0, 0.0, 2.0]], np.float32),
            [0, 128, 255],
            "values from -2 to 2, stretched from black to white",
        ),
        (
            np.array([[np.nan, 0.0, 1.0]], np.float32),
            [0, 0, 255],
            "pixels that are not numbers, taken as the darkest",
        ),
        (np.array([[7.0, 7.0]], np.float32), [0, 0], "values from 7 to 7, stretched from"),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255], None),
        (np.array([[0, 257, 65_535]], np.int32), [0, 1, 255], "16 bits per channel, reduced to 8"),
        (
            np.array([[-100, 0, 100]], np.int32),
            [0, 128, 255],
            "values from -100 to 100, stretched from black to white",
        ),
    ],
)
def test_tiff_of_32_bits(values, expected, note):
    photograph = read_image(encoded(Image.fromarray(values), "TIFF"))
    assert photograph.pixels[0, :, 0].tolist() == expected
    if note is None:
        assert photograph.notes == ("grey, the same in all three channels",)
    else:
        assert photograph.notes[0].startswith(note)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_not_inverted(format):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(cmyk, format)
    if format == "JPEG":
        assert b"Adobe" in data, "the premise: Adobe's JPEG holds inverted values"
    photograph = read_image(data)
    assert np.abs(photograph.pixels.astype(int) - [255, 0, 0]).max() <= 2  # JPEG rounds
    assert photograph.notes == ("converted from CMYK, without its colour profile",)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "HSV"])
def test_other_colour_spaces(mode):
    image = Image.new("RGB", (8, 8), (200, 40, 40)).convert(mode)
    photograph = read_image(image)
    assert np.abs(photograph.pixels.astype(int) - [200, 40, 40]).max() <= 3  # 8 bits each way


def test_palette():
    image = Image.fromarray(smooth()).convert("P", palette=Image.Palette.ADAPTIVE)
    photograph = read_image(encoded(image, "PNG"))
    np.testing.assert_array_equal(photograph.pixels, np.asarray(image.convert("RGB")))
    assert photograph.notes == ()


def halves(mode: str) -> Image.Image:
    """Left half opaque black, right half clear black."""
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (2, 0, 4, 2))
    return image.convert(mode)


def clear_palette() -> bytes:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([0, 0, 0, 10, 10, 10])
    image.paste(1, (2, 0, 4, 2))
    return encoded(image, "PNG", transparency=b"\xff\x00")


@pytest.mark.parametrize(
    "source",
    [
        encoded(halves("RGBA"), "PNG"),
        encoded(halves("LA"), "PNG"),
        encoded(halves("RGBA"), "WEBP", lossless=True),
        encoded(halves("RGBA"), "GIF"),
        halves("RGBa"),
        clear_palette(),
        np.asarray(halves("RGBA")),
    ],
    ids=["RGBA", "LA", "WebP", "GIF", "RGBa", "palette", "array"],
)
def test_transparency_is_put_on_white(source):
    photograph = read_image(source)
    assert photograph.pixels[0, :, 0].tolist() == [0, 0, 255, 255]
    assert "transparent, put on white" in photograph.notes


def test_half_transparency_mixes_with_white():
    image = Image.new("RGBA", (2, 2), (200, 0, 0, 51))
    assert read_image(image).pixels[0, 0].tolist() == [244, 204, 204]


def test_an_opaque_alpha_channel_is_not_worth_a_note(colours):
    photograph = read_image(encoded(Image.fromarray(colours).convert("RGBA"), "PNG"))
    np.testing.assert_array_equal(photograph.pixels, colours)
    assert photograph.notes == ()


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    photograph = read_image(data)
    assert (photograph.pixels == [255, 0, 0]).all()
    assert photograph.notes == ("first of 3 frames",)


def test_a_pil_image_keeps_the_frame_it_is_at():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    image = Image.open(
        io.BytesIO(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    )
    image.seek(2)
    photograph = read_image(image)
    assert (photograph.pixels == [0, 0, 255]).all()
    assert photograph.notes == ("number 3 of 3 frames",)


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "WEBP", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_upright(format, orientation):
    upright = smooth()
    inverse = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(inverse[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
    image = Image.fromarray(stored)
    photograph = read_image(encoded(image, format, exif=exif, **options.get(format, {})))
    assert photograph.pixels.shape == upright.shape
    assert np.abs(photograph.pixels.astype(int) - upright).max() <= 8  # JPEG is lossy
    assert photograph.notes == (() if orientation == 1 else ("turned upright",))


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\x08\0\0\0\xff", b"Exif\0\0nonsense", b"Exif\0\0"])
def test_corrupt_exif_costs_no_image_and_no_warning(exif):
    data = encoded(Image.fromarray(smooth()), "JPEG", exif=exif)
    assert read_image(data).pixels.shape == (24, 32, 3)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_has_three_equal_channels(mode):
    image = Image.fromarray(smooth()).convert(mode)
    photograph = read_image(encoded(image, "PNG"))
    for channel in range(3):
        np.testing.assert_array_equal(photograph.pixels[..., channel], image.convert("L"))
    assert photograph.notes == ("grey, the same in all three channels",)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("JPEG2000", {}),
        ("AVIF", {}),
        ("PPM", {}),
        ("TGA", {}),
        ("QOI", {}),
    ],
    ids=lambda value: str(value),
)
def test_cut_short_is_refused_never_half_an_image(format, options, colours, capfd):
    data = encoded(Image.fromarray(colours), format, **options)
    whole = read_image(data).pixels
    refused = 0
    lengths = np.unique(np.linspace(1, len(data) - 1, 60).astype(int))
    for length in lengths:
        try:
            cut = read_image(data[:length])
        except HeadscopeError:
            refused += 1
        else:  # only what follows the pixels is missing
            np.testing.assert_array_equal(cut.pixels, whole, err_msg=f"cut at {length}")
    assert refused >= 0.9 * len(lengths)
    assert capfd.readouterr() == ("", "")


def test_cut_short_is_named(colours):
    data = encoded(Image.fromarray(colours), "JPEG")
    with pytest.raises(HeadscopeError, match=r"^half\.jpg is cut short or damaged.*again\.$"):
        read_image(data[: len(data) // 2], name="half.jpg")


@pytest.mark.parametrize("side", [10_000, 14_000, 60_000])
def test_a_bomb_is_refused_from_its_header(side, tmp_path):
    """100 megapixels; more than PIL's warning; more than PIL's error. No row is in the file."""
    bomb = raw_png(side, side, depth=8, colour=2, rows=b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(HeadscopeError, match="pixels, and at most 80,000,000 are read"):
            read_image(bomb)


def test_the_limit_itself_is_read(monkeypatch, colours):
    monkeypatch.setattr(pixels, "MAX_PIXELS", 24 * 32)
    read_image(colours)
    monkeypatch.setattr(pixels, "MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(HeadscopeError, match=r"768 \(32×24\) pixels, and at most 767"):
        read_image(colours)


def test_warning_filters_survive_many_threads(colours):
    before = list(warnings.filters)
    data = encoded(Image.fromarray(colours), "PNG")
    threads = [threading.Thread(target=read_image, args=(data,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
