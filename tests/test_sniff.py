import io
import json
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from qflux_hub.sniff import EXTENSIONS, Checksums, ImageFacts, crc_error, decode_error, look, sniff
from tests.builders import FORMATS, picture

ENDED = "truncated-image"


def facts(data):
    """All but the traits, which have tests of their own."""
    return replace(sniff(io.BytesIO(data), len(data)), traits=())


def traits(data):
    return set(sniff(io.BytesIO(data), len(data)).traits)


def encoded(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def gradient(size=(60, 41), mode="RGB"):
    """A picture whose JPEG has some bytes to cut."""
    return Image.radial_gradient("L").resize(size).convert(mode)


def noise(size=(300, 200)):
    return Image.effect_noise(size, 90).convert("RGB")


def decodes(data):
    return decode_error(io.BytesIO(data)) == ""


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


# --- formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_is_known_by_its_content(extension):
    found = facts(picture(f"a{extension}", size=(5, 3)))
    assert extension in EXTENSIONS[found.format]
    assert found == ImageFacts(found.format, 5, 3)


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"],
    "GIF": ["L", "P"],
}
OPTIONS = {
    "JPEG": [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 1}, {"comment": b"\xff\xd9"}],
    "WEBP": [{}, {"lossless": True}, {"exif": b"Exif\0\0"}],
    "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"big_tiff": True}],
    "PNG": [{}, {"interlace": 1}, {"compress_level": 0}],
}
MADE = [
    (format, mode, options)
    for format, modes in MODES.items()
    for mode in modes
    for options in OPTIONS.get(format, [{}])
    if not (mode == "F" and options.get("compression"))
]


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (17, 8), (300, 1)])
@pytest.mark.parametrize(("format", "mode", "options"), MADE)
def test_format_and_size_are_those_that_pillow_sees(format, mode, options, size):
    data = encoded(Image.new(mode, size), format, **options)
    with Image.open(io.BytesIO(data)) as image:
        assert facts(data) == ImageFacts(image.format.lower(), *image.size)


def test_animations_have_the_size_of_their_canvas():
    frames = [gradient(), noise((60, 41))]
    for format in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert facts(data) == ImageFacts(format.lower(), 60, 41)


def test_every_kind_of_tiff_is_known_by_its_first_bytes():
    small = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    assert facts(b"MM\0*" + struct.pack(">I", 8) + small).format == "tiff"
    assert encoded(gradient(), "TIFF")[:4] == b"II*\0"
    assert encoded(gradient(), "TIFF", big_tiff=True)[:4] == b"II+\0"


# --- what only has an image's name ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty-file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "lfs-pointer"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "html-file"),
        (b"\xef\xbb\xbf\r\n  <HTML lang='en'>", "html-file"),
        (b"<head><title>404</title></head>", "html-file"),
        (b"Add a cat", "not-an-image"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not-an-image"),
        (b"\0\0\0 ftypheic\0\0\0\0mif1heic", "unsupported-format"),
        (b"\0" * 1000, "not-an-image"),
        (b"\x89PNG", "not-an-image"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not-an-image"),
        (b"PK\x03\x04" + b"\0" * 60, "not-an-image"),
        (b"B", "not-an-image"),
        (b"\xff\xd8", "not-an-image"),
    ],
)
def test_what_is_no_image_is_told_apart(content, problem):
    found = facts(content)
    assert (found.problem, found.format, found.width) == (problem, None, 0)
    assert found.detail


# --- orientation ------------------------------------------------------------------------------------------------


def exif_of(orientation, order="<"):
    """A bare EXIF block that says nothing else."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def xmp_of(orientation):
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def as_shown(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return ImageOps.exif_transpose(image).size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_picture_as_it_is_shown(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient((7, 4)), format, exif=exif)
    found = facts(data)
    assert found == ImageFacts(format.lower(), *((4, 7) if orientation >= 5 else (7, 4)), orientation)
    assert (found.width, found.height) == as_shown(data)


JPEG, PNG, WEBP = (encoded(gradient((7, 4)), format) for format in ("JPEG", "PNG", "WEBP"))


def jpeg_with(*segments):
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def png_with(*chunks):
    return PNG[:33] + b"".join(chunks) + PNG[33:]


def webp_with(flags, *chunks):
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for kind, data in chunks)
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0, 6, 0, 0, 3, 0, 0])
    content = b"WEBP" + extended + WEBP[12:] + body
    return b"RIFF" + struct.pack("<I", len(content)) + content


RAW = b"\nexif\n%8d\n" % 32 + b"\n".join([(b"Exif\0\0" + exif_of(6)).hex().encode()]) + b"\n"
TURNED = {
    "JPEG, big endian": jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(6, ">"))),
    "JPEG, behind other metadata": jpeg_with(segment(0xE2, b"x" * 65000), segment(0xE1, b"Exif\0\0" + exif_of(6))),
    "JPEG, EXIF that goes on in a second segment": jpeg_with(
        segment(0xE1, b"Exif\0\0" + exif_of(6)), segment(0xE1, b"Exif\0\0" + b"more of it")
    ),
    "JPEG, by XMP": jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp_of(6))),
    "JPEG, by XMP where EXIF says nothing": jpeg_with(
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp_of(6)),
    ),
    "JPEG, EXIF before XMP": jpeg_with(
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp_of(1)), segment(0xE1, b"Exif\0\0" + exif_of(6))
    ),
    "JPEG, as LONG": jpeg_with(segment(0xE1, b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 4, 1, 6, 0))),
    "PNG": png_with(chunk(b"eXIf", exif_of(6, ">"))),
    "PNG, by XMP": png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp_of(6))),
    "PNG, as ImageMagick writes it": png_with(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW))),
    "PNG, as ImageMagick wrote it": png_with(chunk(b"tEXt", b"Raw profile type exif\0" + RAW)),
    "WebP": webp_with(0x08, (b"EXIF", exif_of(6))),
    "WebP, with the marker of JPEG": webp_with(0x08, (b"EXIF", b"Exif\0\0" + exif_of(6, ">"))),
    "WebP, by XMP": webp_with(0x04, (b"XMP ", xmp_of(6) + b" ")),
}


@pytest.mark.parametrize("data", TURNED.values(), ids=TURNED)
def test_an_orientation_is_found_wherever_writers_put_it(data):
    found = facts(data)
    assert (found.width, found.height, found.orientation) == (4, 7, 6)
    assert as_shown(data) == (4, 7)


UPRIGHT = {
    "no such value": jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(9))),
    "zero": jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(0))),
    "EXIF cut in its directory": jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(6)[:14])),
    "EXIF of no byte order": jpeg_with(segment(0xE1, b"Exif\0\0XX" + exif_of(6)[2:])),
    "EXIF alone": jpeg_with(segment(0xE1, b"Exif\0\0")),
    "a profile that is no hexadecimal": png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nxyz\n")),
    "a profile that does not unpack": png_with(chunk(b"zTXt", b"Raw profile type exif\0\0xyz")),
}


@pytest.mark.parametrize("data", UPRIGHT.values(), ids=UPRIGHT)
def test_metadata_that_says_nothing_turns_nothing(data):
    found = facts(data)
    assert (found.width, found.height, found.orientation, found.problem) == (7, 4, 1, None)


# --- JPEG as cameras and phones write it ------------------------------------------------------------------------


def test_segments_of_any_length_may_stand_before_the_size():
    data = jpeg_with(*(segment(0xE2, bytes([number]) * 65533) for number in range(20)), segment(0xFE, b""))
    assert facts(data) == ImageFacts("jpeg", 7, 4)


def test_fill_bytes_and_markers_without_length_may_stand_before_the_size():
    assert facts(JPEG[:2] + b"\xff\xff\xff\x01\xff" + JPEG[2:]) == ImageFacts("jpeg", 7, 4)


def test_stray_bytes_between_segments_are_passed_over_as_decoders_do():
    for stray in (b"\0\0\0", b"\0\xda\0", b"\xff\0", b"\xff\xfe\0\0"):
        data = JPEG[:20] + stray + JPEG[20:]
        assert decodes(data)
        assert facts(data) == ImageFacts("jpeg", 7, 4)


@pytest.mark.parametrize("behind", [b"\0", b"ftypmp42" * 40_000, JPEG, b"\0" * 200_000])
def test_whatever_follows_a_picture_does_not_matter(behind):
    for data in (JPEG, PNG, WEBP):
        assert facts(data + behind).problem is None


def test_a_jpeg_without_end_marker_is_well_when_it_decodes():
    data = encoded(noise(), "JPEG")[:-2] + b"\0" * 100
    assert decodes(data)
    assert facts(data) == ImageFacts("jpeg", 300, 200)


def test_the_end_marker_of_a_thumbnail_is_not_that_of_the_picture():
    data = jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(1) + JPEG))
    assert facts(data).problem is None
    assert facts(data[: len(data) - len(JPEG) // 4]).problem == ENDED


def test_a_multi_picture_file_has_the_size_of_its_first_picture():
    first, second = noise((40, 30)), noise((20, 10))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert facts(data) == ImageFacts("jpeg", 40, 30)


# --- cut files --------------------------------------------------------------------------------------------------

SMALL = {
    "JPEG": encoded(gradient(), "JPEG", quality=30),
    "progressive JPEG": encoded(gradient(), "JPEG", quality=30, progressive=True),
    "JPEG with thumbnail": jpeg_with(segment(0xE1, b"Exif\0\0" + exif_of(6) + JPEG)),
    "PNG": encoded(gradient(), "PNG"),
    "PNG with text": png_with(chunk(b"tEXt", b"Comment\0IEND"), chunk(b"eXIf", exif_of(6))),
    "lossy WebP": encoded(gradient(), "WEBP", quality=30),
    "lossless WebP": encoded(gradient(), "WEBP", lossless=True),
    "WebP with EXIF": webp_with(0x08, (b"EXIF", exif_of(6))),
    "BMP": encoded(gradient((9, 5)), "BMP"),
    "TIFF": encoded(gradient((9, 5)), "TIFF"),
    "packed TIFF": encoded(gradient((9, 5)), "TIFF", compression="tiff_lzw"),
    "GIF": encoded(gradient((9, 5)), "GIF"),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_file_cut_at_any_byte_is_never_called_well_when_it_does_not_decode(name):
    whole = SMALL[name]
    assert facts(whole).problem is None
    for end in range(len(whole)):
        found = facts(whole[:end])
        if found.problem is None:
            assert decodes(whole[:end]), end
        else:
            assert found.problem in ("empty-file", "not-an-image", "truncated-image", "damaged-image")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_cut_file_is_called_cut(format):
    whole = encoded(noise(), format)
    assert {facts(whole[:end]).problem for end in range(400, len(whole) - 1, 997)} == {ENDED}


@pytest.mark.parametrize("format", ["BMP", "TIFF", "GIF"])
def test_a_rarer_file_that_is_cut_has_a_problem(format):
    whole = encoded(noise((30, 20)), format)
    assert facts(whole[: len(whole) // 2]).problem in (ENDED, "damaged-image")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(SMALL)), st.data())
def test_damage_anywhere_is_never_an_exception(name, data):
    whole = bytearray(SMALL[name])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(facts(bytes(whole)), ImageFacts)


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP", b"II*\0", b"GIF89a", b"BM"]),
    st.binary(),
)
def test_no_content_is_an_exception(start, rest):
    assert facts(start + rest).problem


def test_a_size_that_is_not_the_file_s_is_no_exception():
    for size in (0, 10, len(PNG) + 1, 10**9):
        for data in (JPEG, PNG, WEBP):
            assert isinstance(sniff(io.BytesIO(data), size), ImageFacts)


@pytest.mark.parametrize(
    "data",
    [
        PNG[:12] + b"XXXX" + PNG[16:],
        PNG[:16] + b"\0\0\0\0" + PNG[20:],
        JPEG[:2] + b"\xff\xd9\0\0",
        JPEG[: JPEG.index(b"\xff\xc0")] + JPEG[JPEG.index(b"\xff\xda") :],
        WEBP[:12] + b"XXXX" + WEBP[16:],
        WEBP[:23] + b"\0\0\0" + WEBP[26:],
        b"BM" + b"\0" * 100,
        b"GIF89a" + b"\xff" * 100,
    ],
)
def test_a_header_that_cannot_be_is_damage(data):
    assert facts(data).problem == "damaged-image"
    assert not decodes(data)


# --- checksums and decoding -------------------------------------------------------------------------------------


def test_the_checksums_of_a_png_show_a_single_bit():
    whole = encoded(gradient(), "PNG")
    assert crc_error(whole) == crc_error(memoryview(whole)) == crc_error(whole + b"more") == ""
    for at in range(16, len(whole) - 12):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        assert crc_error(damaged)


def test_the_checksums_of_a_cut_png_say_where_it_ends():
    whole = encoded(gradient(), "PNG")
    assert crc_error(whole[:-12]) == "it ends without its closing chunk"
    assert crc_error(whole[:100]) == "its IDAT chunk at byte 33 ends after the file"
    assert "checksum of its IHDR chunk" in crc_error(whole[:20] + b"\1" + whole[21:])
    assert crc_error(b"") == "it ends without its closing chunk"


def test_decoding_finds_what_the_header_does_not_tell():
    whole = encoded(gradient(), "PNG")
    at = whole.index(b"IDAT") + 20
    damaged = whole[:at] + bytes(8) + whole[at + 8 :]
    assert facts(damaged).problem is None
    assert decode_error(io.BytesIO(whole)) == ""
    assert decode_error(io.BytesIO(damaged))
    assert "UnidentifiedImageError" in decode_error(io.BytesIO(b"no image"))


def test_decoding_leaves_the_file_open_and_starts_at_its_beginning():
    for extension in FORMATS:
        file = io.BytesIO(picture(f"a{extension}"))
        file.seek(2)
        assert decode_error(file) == decode_error(file) == ""
        assert not file.closed


def test_what_pillow_only_warns_of_is_neither_an_error_nor_printed_in_any_thread():
    planes = struct.pack("<HHI", 284, 3, 1)
    warned = encoded(gradient((9, 5)), "TIFF").replace(planes, planes[:-4] + struct.pack("<I", 2))
    with pytest.warns(UserWarning, match="too many entries"), Image.open(io.BytesIO(warned)) as image:
        image.load()
    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: facts(warned), range(200)))
    assert set(results) == {ImageFacts("tiff", 9, 5)}
    assert warnings.filters == filters


# --- what trainers take differently -----------------------------------------------------------------------------


def animation(format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("I;16", (4, 3), 999), "PNG"), {"16-bit-grey"}),
        (encoded(Image.new("I;16", (4, 3), 999), "TIFF"), {"16-bit-grey"}),
        (encoded(Image.new("F", (4, 3), 0.5), "TIFF"), {"16-bit-grey"}),
        (encoded(Image.new("CMYK", (4, 3)), "JPEG"), {"cmyk"}),
        (encoded(Image.new("CMYK", (4, 3)), "TIFF"), {"cmyk"}),
        (encoded(Image.new("RGBA", (4, 3)), "PNG"), {"alpha"}),
        (encoded(Image.new("LA", (4, 3)), "PNG"), {"alpha"}),
        (encoded(Image.new("RGBA", (4, 3)), "TIFF"), {"alpha"}),
        (encoded(Image.new("RGBA", (4, 3), (1, 2, 3, 4)), "WEBP"), {"alpha"}),
        (encoded(Image.new("RGBA", (4, 3), (1, 2, 3, 4)), "WEBP", lossless=True), {"alpha"}),
        (encoded(Image.new("P", (4, 3)), "PNG"), {"palette"}),
        (encoded(Image.new("P", (4, 3)), "PNG", transparency=0), {"palette", "alpha"}),
        (encoded(gradient().quantize(9), "BMP"), {"palette"}),
        (encoded(Image.new("L", (4, 3)), "PNG"), set()),
        (encoded(Image.new("1", (4, 3)), "PNG"), set()),
        (encoded(Image.new("RGB", (4, 3)), "JPEG", exif=Image.Exif().tobytes()), set()),
        (animation("PNG"), {"animated"}),
        (animation("WEBP"), {"animated"}),
        (animation("TIFF"), {"animated"}),
    ],
)
def test_headers_tell_what_trainers_take_differently(data, expected):
    assert traits(data) == expected


def test_sixteen_bits_of_colour_are_told_from_sixteen_bits_of_grey():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    data = PNG[:8] + header + chunk(b"IDAT", zlib.compress(bytes(7))) + chunk(b"IEND", b"")
    assert decodes(data)
    assert traits(data) == {"16-bit-colour"}


def test_exif_that_loaders_overlook_is_told_from_exif_that_stops_them():
    whole = Image.Exif()
    whole[0x0112] = 6
    block = whole.tobytes()
    for exif, format, trait in [
        (block, "PNG", set()),
        (b"Exif\0\0XX*\0\x08\0\0\0", "JPEG", {"odd-exif"}),
        (b"Exif\0\0XX*\0\x08\0\0\0", "PNG", {"broken-exif"}),
        (b"Exif\0\0XX*\0\x08\0\0\0", "WEBP", {"broken-exif"}),
        (block[:12], "PNG", {"broken-exif"}),
        (block[:16], "PNG", {"odd-exif"}),
    ]:
        data = encoded(Image.new("RGB", (8, 6)), format, exif=exif)
        assert traits(data) == trait
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if trait == {"broken-exif"}:
                with pytest.raises((SyntaxError, struct.error)):
                    Image.open(io.BytesIO(data)).getexif()
            else:
                ImageOps.exif_transpose(Image.open(io.BytesIO(data))).load()


def test_pictures_too_large_for_a_decoder_are_bombs():
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0))
    bomb = PNG[:8] + ihdr + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    header = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 20_000, 10_000, 1, 24, 0, 0, 0, 0, 0, 0)
    for data in (bomb, header + bytes(100)):
        assert facts(data).problem == "decompression-bomb"


def test_texts_that_unfold_without_end_are_damage():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))
    assert not decodes(PNG[:33] + text + PNG[33:])
    assert facts(PNG[:33] + text + PNG[33:]).problem == "damaged-image"


def test_an_animation_that_does_not_add_up_is_damaged():
    data = PNG[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + PNG[33:-12] + chunk(b"fdAT", bytes(4)) + PNG[-12:]
    assert not decodes(data)
    assert facts(data).problem == "damaged-image"


def test_tones_are_those_of_a_mask_as_trainers_take_it():
    mask = Image.new("L", (10, 10))
    mask.paste(255, (0, 0, 5, 10))
    mask.paste(128, (0, 0, 1, 1))
    assert look(io.BytesIO(encoded(mask, "PNG")), tones=True).tones == (0, 255, 10)
    hidden = Image.new("LA", (2, 2), (0, 255))
    assert look(io.BytesIO(encoded(hidden, "PNG")), tones=True).tones == (0, 0, 0)


def test_facts_survive_being_kept_as_json():
    for found in (ImageFacts("png", 3, 4, 6, traits=("alpha", "16-bit-grey"), tones=(0, 255, 3), likeness="80" * 8),
                  ImageFacts(problem="empty-file", detail="it has no bytes")):  # fmt: skip
        assert ImageFacts.from_row(json.loads(json.dumps(found.to_row()))) == found


@pytest.mark.parametrize("piece", [1, 7, 8, 4096])
def test_checksums_do_not_care_about_the_pieces_they_are_fed(piece):
    whole = encoded(noise(), "PNG")
    for data in (whole, whole[:5000] + b"!" + whole[5001:], whole[:-5], whole + b"more"):
        sums = Checksums()
        for at in range(0, len(data), piece):
            sums.feed(data[at : at + piece])
        assert sums.verdict() == crc_error(data)


def test_colours_that_convert_to_no_grey_are_no_mask():
    data = encoded(Image.new("LAB", (4, 3)), "TIFF")
    assert look(io.BytesIO(data), likeness=True).problem is None
    found = look(io.BytesIO(data), tones=True)
    assert (found.problem, found.detail) == ("unsupported-format", "a CIELAB TIFF")
