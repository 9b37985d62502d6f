"""Photos from outside: what is decoded, how it is turned, and what is refused before it costs anything."""

import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from endpoints.detection.model import PIXELS_MAX, SCANS_MAX, UPRIGHT, InvalidInputError, read_square
from tests.unit.endpoints.pictures import PNG_MAGIC, chunk, corners, encode, jpeg_header, png

SIDE = 64


def refusal(content: bytes) -> InvalidInputError:
    """The refusal that these bytes meet."""
    with pytest.raises(InvalidInputError) as caught:
        read_square(content, side_px=SIDE)
    return caught.value


def test_a_picture_lies_in_grey() -> None:
    """A 60 by 40 picture fills the width of the square, and grey lies above and below it."""
    square, place = read_square(encode(corners(), "PNG"), side_px=SIDE)
    assert square.shape == (SIDE, SIDE, 3)
    assert (place.width, place.height) == (60, 40)
    assert (square[:10] == 128).all()
    assert (square[-10:] == 128).all()
    np.testing.assert_array_equal(square[20, 10], [255, 0, 0])
    np.testing.assert_array_equal(square[44, 54], [255, 255, 255])


@pytest.mark.parametrize("orientation", [1, *UPRIGHT])
def test_every_orientation_is_set_upright(orientation: int) -> None:
    """A file that stores the picture turned, and says so in EXIF, reads like the upright one, size included."""
    undo = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    how = undo.get(orientation, UPRIGHT.get(orientation))
    stored = corners() if how is None else corners().transpose(how)
    exif = Image.Exif()
    exif[0x0112] = orientation
    square, place = read_square(encode(stored, "PNG", exif=exif), side_px=SIDE)
    expected, _ = read_square(encode(corners(), "PNG"), side_px=SIDE)
    assert (place.width, place.height) == (60, 40)
    np.testing.assert_array_equal(square, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_png_mode_is_read(mode: str) -> None:
    """White is white in every mode a PNG can have, 16 bits included."""
    white = (
        Image.fromarray(np.full((8, 8), 65535, np.uint16))
        if mode == "I;16"
        else Image.new("L", (8, 8), 255).convert(mode)
    )
    square, _ = read_square(encode(white, "PNG"), side_px=SIDE)
    assert (square == 255).all()


def test_sixteen_bit_grey_keeps_its_middle() -> None:
    """Half of 65,535 is half of 255, and not white."""
    half = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    square, _ = read_square(encode(half, "PNG"), side_px=SIDE)
    assert (square == 128).all()


def test_transparency_is_over_white() -> None:
    """A pixel that is wholly transparent is white, whatever colour it hides."""
    square, _ = read_square(encode(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"), side_px=SIDE)
    assert (square == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_jpeg_mode_is_read(mode: str) -> None:
    """Black is black in every mode a JPEG can have."""
    black = Image.new("RGB", (32, 32), (0, 0, 0)).convert(mode)
    square, _ = read_square(encode(black, "JPEG"), side_px=SIDE)
    assert square.max() < 8


def test_a_large_jpeg_keeps_its_own_size() -> None:
    """A JPEG decoded at a fraction of its size still reports the size it has."""
    _, place = read_square(encode(corners(2000, 1000), "JPEG"), side_px=SIDE)
    assert (place.width, place.height) == (2000, 1000)


def test_a_thin_picture_is_read() -> None:
    """A picture 5,000 wide and 1 high keeps a line of one pixel."""
    square, place = read_square(encode(Image.new("RGB", (5000, 1)), "PNG"), side_px=SIDE)
    assert place.scaled == (SIDE, 1)
    assert (square == 0).any()


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image at all", b"\x00" * 64, b"BM" + b"\x00" * 64])
def test_other_formats_are_refused(content: bytes) -> None:
    """Only what begins as a JPEG or a PNG is looked at."""
    assert refusal(content).code == "unsupported_image"


def test_other_formats_that_pillow_knows_are_refused() -> None:
    """A real GIF, BMP and TIFF are refused although the decoder could read them."""
    for kind in ("GIF", "BMP", "TIFF"):
        assert refusal(encode(corners(), kind)).code == "unsupported_image"


@pytest.mark.parametrize("content", [png(10_000, 10_000), jpeg_header(10_000, 10_000), png(2**31 - 1, 2**31 - 1)])
def test_a_hundred_megapixels_are_refused_by_the_header(content: bytes) -> None:
    """The size is read before anything is decoded: there is nothing to decode in these files."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(content).code == "image_too_large"


def test_the_limit_itself_is_allowed() -> None:
    """One row over the limit is too large; at the limit the refusal is for the missing pixels, not for the size."""
    width = 8_000
    assert refusal(png(width, PIXELS_MAX // width + 1)).code == "image_too_large"
    assert refusal(png(width, PIXELS_MAX // width)).code == "image_corrupt"


def test_the_declared_bound_holds_where_it_is_lower() -> None:
    """The bound that the declaration sends along is the one that counts; it cannot raise the decoder's own."""
    content = encode(corners(), "PNG")
    with pytest.raises(InvalidInputError) as refused:
        read_square(content, side_px=64, pixels_max=10)
    assert refused.value.code == "image_too_large"


def test_damaged_pixels_are_noticed_although_exif_lies_behind_them() -> None:
    """Broken compressed data under a right checksum is refused, and not shown as an empty picture."""
    whole = png(50, 50, rows=b"\x00" * 50 * 151)
    start = whole.index(b"IDAT")
    broken = whole[: start - 4] + chunk(b"IDAT", b"garbage") + chunk(b"IEND", b"")
    assert refusal(broken).code == "image_corrupt"


def test_a_second_header_does_not_slip_through() -> None:
    """A PNG whose second IHDR names another size is refused, whichever the decoder believes."""
    second = chunk(b"IHDR", b"\x00\x00\x75\x30\x00\x00\x75\x30\x08\x02\x00\x00\x00")
    assert refusal(png(8, 8, second)).code in {"image_too_large", "image_corrupt"}


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_bombs_in_metadata_are_refused(name: bytes) -> None:
    """Text and colour profiles that unpack to 20 MB are not unpacked."""
    heads = {b"zTXt": b"a\x00\x00", b"iTXt": b"a\x00\x01\x00\x00\x00", b"iCCP": b"a\x00\x00"}
    bomb = chunk(name, heads[name] + zlib.compress(b"\x00" * 20_000_000))
    assert refusal(png(8, 8, bomb, rows=b"\x00" * 8 * 25)).code == "image_corrupt"


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    """A progressive JPEG whose scans repeat would be decoded over and over: it is refused by their number."""
    content = encode(corners(), "JPEG", progressive=True)
    assert content.count(b"\xff\xda") <= SCANS_MAX
    last = content.rindex(b"\xff\xda")
    assert refusal(content[:-2] + content[last:-2] * 1000 + content[-2:]).code == "image_too_large"


@given(cut=st.integers(8, 400), kind=st.sampled_from(["PNG", "JPEG"]))
def test_a_cut_file_is_refused(cut: int, kind: str) -> None:
    """A file that ends early is refused as damaged, wherever it ends."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    assert refusal(encode(noise, kind)[:cut]).code == "image_corrupt"


@given(
    flips=st.lists(st.tuples(st.integers(8, 10_000), st.integers(1, 255)), min_size=1, max_size=6),
    kind=st.sampled_from(["PNG", "JPEG"]),
)
def test_a_damaged_file_is_read_or_refused(flips: list[tuple[int, int]], kind: str) -> None:
    """Whatever bytes are altered, the answer is a square or a refusal with a known code, never another error."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    content = bytearray(encode(noise, kind))
    for at, change in flips:
        content[at % (len(content) - 8) + 8] ^= change
    try:
        square, _ = read_square(bytes(content), side_px=SIDE)
    except InvalidInputError as error:
        assert error.code in {"image_corrupt", "image_too_large"}  # noqa: PT017 - a read is fine too
    else:
        assert square.shape == (SIDE, SIDE, 3)


def test_refusals_hold_nothing_of_the_input() -> None:
    """A message never repeats what was sent."""
    secret = b"top-secret-name"
    for content in (secret, PNG_MAGIC + secret, b"\xff\xd8\xff" + secret):
        assert "secret" not in str(refusal(content))
