"""Right input becomes upright RGB, bad input one sentence."""

import hashlib
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from headscope.models import images, pixels
from headscope.models.errors import HeadscopeError
from headscope.models.images import find_images, read_image
from PIL import Image


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


def sources(array: np.ndarray, folder: Path):
    data = encoded(Image.fromarray(array), "PNG")
    path = folder / "cat.png"
    path.write_bytes(data)
    return {
        "path": path,
        "str": str(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "stream": io.BytesIO(data),
        "image": Image.fromarray(array),
        "array": array,
    }


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "bytearray", "stream", "image", "array"])
def test_every_source_gives_the_same_pixels(kind, colours, tmp_path):
    photograph = read_image(sources(colours, tmp_path)[kind])
    np.testing.assert_array_equal(photograph.pixels, colours)
    assert photograph.pixels.dtype == np.uint8
    assert not photograph.pixels.flags.writeable
    assert photograph.notes == ()


def test_name_path_and_digest_of_a_file(colours, tmp_path):
    path = sources(colours, tmp_path)["path"]
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("rb") as file:
        opened = read_image(file)
    named = read_image(path, name="my cat")
    assert (opened.name, opened.path, opened.digest) == ("cat.png", None, expected)
    assert (named.name, named.path, named.digest) == ("my cat", path, expected)
    assert read_image(Image.open(path)).name == "cat.png"


def test_digest_of_an_array_tells_shape_and_pixels(colours):
    flat = np.zeros((4, 6, 3), np.uint8)
    digests = {read_image(a).digest for a in (flat, flat.reshape(6, 4, 3), flat + 1)}
    assert len(digests) == 3
    assert read_image(np.asfortranarray(colours)).digest == read_image(colours).digest


def test_the_callers_array_stays_its_own(colours):
    photograph = read_image(colours)
    colours[:] = 0
    assert photograph.pixels.any()


# -- what PIL would get wrong ------------------------------------------------------------------


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


def test_one_pixel_is_accepted_with_a_note():
    photograph = read_image(encoded(Image.new("RGB", (1, 1), "red"), "PNG"))
    assert photograph.pixels.tolist() == [[[255, 0, 0]]]
    assert photograph.notes == ("a single pixel: the model sees one flat colour",)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[True, False]]), [255, 0]),
        (np.array([[0, 300, 65_535]], np.uint16), [0, 1, 255]),
        (np.array([[0, 7, 255]]), [0, 7, 255]),
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[[3], [4]]], np.uint8), [3, 4]),
    ],
)
def test_arrays_of_other_types(array, expected):
    assert read_image(array).pixels[0, :, 0].tolist() == expected


# -- what is refused ---------------------------------------------------------------------------


BAD_ARRAYS = {
    "channels first": (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\).*transpose"),
    "one axis": (np.zeros(8, np.uint8), r"shape \(8,\)"),
    "two channels": (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
    "no pixels": (np.zeros((0, 8, 3), np.uint8), "0×8 px"),
    "float above 1": (np.full((8, 8), 255.0), "float64 values from 255 to 255.*scale it"),
    "not a number": (np.full((8, 8), np.nan), "from nan to nan"),
    "negative": (np.full((8, 8), -1), "int64 values from -1"),
    "text": (np.array([["a", "b"]]), "expected numbers"),
    "complex": (np.zeros((8, 8), complex), "complex128 values, expected numbers"),
}


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_array(array, message):
    with pytest.raises(HeadscopeError, match=message):
        read_image(array, name="mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"bad\.png is empty \(0 bytes\)"),
        (b"hello, I am text\n" * 20, r"bad\.png is not an image that can be read: give a JPEG"),
        (b"%PDF-1.7\n" + b"x" * 100, "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is not an image"),
        (bytes(2000), "is not an image"),
        (b"\x89PNG\r\n\x1a\n", "bad.png is"),
    ],
    ids=["empty", "text", "pdf", "postscript", "zeros", "only the signature"],
)
def test_not_an_image(content, message, tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(HeadscopeError, match=message):
        read_image(path)


def test_no_noise_is_an_image():
    random = np.random.default_rng(0)
    for length in random.integers(1, 4000, 200):
        with pytest.raises(HeadscopeError):
            read_image(random.bytes(int(length)))


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


def test_too_long_and_too_many_bytes(monkeypatch, tmp_path):
    with pytest.raises(HeadscopeError, match="101×1 px, one side more than 100 times"):
        read_image(np.zeros((1, 101), np.uint8))
    assert read_image(np.zeros((1, 100), np.uint8)).pixels.shape == (1, 100, 3)
    path = tmp_path / "big.png"
    path.write_bytes(encoded(Image.new("L", (8, 8)), "PNG"))
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    with pytest.raises(HeadscopeError, match=r"big\.png has .* bytes, and at most 10 are read"):
        read_image(path)


def test_paths_that_hold_no_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, message in [
        (tmp_path / "none.png", "There is no file .*none.png"),
        (tmp_path, "is a folder: give an image file"),
        (pipe, "is a device or a pipe"),
        ("a\0b.png", "Cannot read"),
        ("x" * 300, "Cannot read .*name too long"),
    ]:
        with pytest.raises(HeadscopeError, match=message):
            read_image(path)


def test_what_is_no_source_at_all():
    with pytest.raises(HeadscopeError, match=r"Cannot read an image from int: give a path"):
        read_image(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(HeadscopeError, match=r'open as text.*"rb"'):
        read_image(io.StringIO("x"))  # pyright: ignore[reportArgumentType]


def test_warning_filters_survive_many_threads(colours):
    before = list(warnings.filters)
    data = encoded(Image.fromarray(colours), "PNG")
    threads = [threading.Thread(target=read_image, args=(data,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# -- finding -----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in (
        "cat10.png",
        "cat2.PNG",
        "notes.txt",
        ".hidden.png",
        "sub/deep/dog.jpg",
        ".cache/thumb.png",
        "odd[1].webp",
        "unnamed",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([""], ["cat2.PNG", "cat10.png", "odd[1].webp", "sub/deep/dog.jpg"]),
        (["sub"], ["sub/deep/dog.jpg"]),
        (["*"], ["cat2.PNG", "cat10.png", "odd[1].webp"]),
        (["cat*.png"], ["cat10.png"]),
        (["**/*.jpg"], ["sub/deep/dog.jpg"]),
        (["odd[1].webp"], ["odd[1].webp"]),
        (["notes.txt"], ["notes.txt"]),
        (
            ["cat10.png", "", "cat10.png"],
            ["cat10.png", "cat2.PNG", "odd[1].webp", "sub/deep/dog.jpg"],
        ),
    ],
)
def test_find_images(tree, patterns, expected):
    found = find_images(tree / pattern for pattern in patterns)
    assert [str(path.relative_to(tree)) for path in found] == expected
    assert find_images(str(tree / pattern) for pattern in patterns) == found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("missing.png", "There is no file or folder .*missing.png"),
        ("empty", "No image in the folder .*empty: expected files such as .jpg"),
        ("*.gif", r"No image in the files matching .*\*\.gif"),
        ("*.txt", r"No image in the files matching .*\*\.txt"),
        ("x" * 300, "Cannot look for images in .*name too long"),
    ],
)
def test_find_nothing(tree, pattern, message):
    with pytest.raises(HeadscopeError, match=message):
        find_images([tree / pattern])


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(HeadscopeError, match='"" names no file'):
        find_images([""])
