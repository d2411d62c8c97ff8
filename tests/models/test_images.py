"""Every source of a photograph, what is refused, and what a pattern finds."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headscope.models import images
from headscope.models.errors import HeadscopeError
from headscope.models.images import find_images, read_image


def encoded(image: Image.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture
def colours() -> np.ndarray:
    """Noise in colour, 24×32: every byte of its files matters."""
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


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
