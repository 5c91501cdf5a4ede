import io

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from ganray.codecs.dicom import DicomConfig, probe
from ganray.errors import CodecError, UndecodableError, UnsupportedImageError
from tests.unit.codecs.dicom_objects import (
    CONFIG,
    compress,
    make,
    noise,
    parse,
    read,
    restored,
    write,
)


def smooth(bits: int, height: int = 40, width: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    wave = (np.sin(columns / 9) * np.cos(rows / 7) + 1) / 2 * ((1 << bits) - 1)
    return wave.astype(np.uint8 if bits <= 8 else np.uint16)


def colourful() -> np.ndarray:
    band = smooth(8)
    return np.stack([band, band[::-1], 255 - band], -1)


@pytest.mark.parametrize(
    ("syntax", "bits"), [(JPEGBaseline8Bit, 8), (JPEGExtended12Bit, 12), (JPEGExtended12Bit, 8)]
)
def test_jpeg_is_decoded_nearly_and_stays_lossy(syntax: str, bits: int) -> None:
    values = smooth(bits)
    data = make(values, bits, "DX", syntax=syntax)
    image = read(data)
    assert np.abs(image.pixels[0].astype(int) - values).max() <= 3 * (1 << bits - 8)
    assert not image.profile.lossless
    assert not probe(data, CONFIG)[0].lossless
    result = parse(write(image))
    assert result.LossyImageCompression == "01"
    assert result.LossyImageCompressionMethod == "ISO_10918_1"
    frame = compress(values, bits, syntax)
    assert float(result.LossyImageCompressionRatio) == pytest.approx(
        values.nbytes / len(frame), rel=0.02
    )
    assert not read(write(image)).profile.lossless


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_colours_of_jpeg_are_rgb_behind_it(photometric: str) -> None:
    values = colourful()
    rgb = photometric == "RGB"
    space = {"colorspace": "rgb", "outcolorspace": "rgb"} if rgb else {}
    frame = imagecodecs.jpeg8_encode(values, level=98, subsampling="444", **space)
    data = make(values, 8, "OT", syntax=JPEGBaseline8Bit, frame=frame,
                PhotometricInterpretation=photometric)  # fmt: skip
    image = read(data)
    assert np.abs(np.moveaxis(image.pixels, 0, -1).astype(int) - values).max() < 8
    assert parse(write(image)).PhotometricInterpretation == "RGB"


def test_markers_of_a_jpeg_say_what_its_colours_are() -> None:
    values = colourful()
    frame = imagecodecs.jpeg8_encode(values, level=98, subsampling="444")
    assert b"JFIF" in frame
    data = make(values, 8, "OT", syntax=JPEGBaseline8Bit, frame=frame)
    assert np.abs(np.moveaxis(read(data).pixels, 0, -1).astype(int) - values).max() < 8


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000])
def test_colours_of_jpeg_2000_keep_every_value(syntax: str) -> None:
    values = colourful()
    frame = imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", mct=True)
    data = make(values, 8, "OT", syntax=syntax, frame=frame, PhotometricInterpretation="YBR_RCT")
    image = read(data)
    assert np.array_equal(np.moveaxis(image.pixels, 0, -1), values)
    assert image.profile.lossless
    assert parse(write(image)).PhotometricInterpretation == "RGB"


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless])
def test_colours_of_other_codestreams_keep_every_value(syntax: str) -> None:
    values = colourful()
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        frame = imagecodecs.jpeg8_encode(values, lossless=True, colorspace="rgb",
                                         outcolorspace="rgb")  # fmt: skip
    else:
        frame = compress(values, 8, syntax)
    image = read(make(values, 8, "OT", syntax=syntax, frame=frame))
    assert np.array_equal(np.moveaxis(image.pixels, 0, -1), values)


def test_a_real_wavelet_is_lossy_and_an_integer_one_is_not() -> None:
    values = smooth(12)
    exact = imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", bitspersample=12)
    rough = imagecodecs.jpeg2k_encode(
        values, level=40, codecformat="j2k", bitspersample=12, reversible=False
    )
    kept = read(make(values, 12, syntax=JPEG2000, frame=exact))
    assert kept.profile.lossless
    assert "LossyImageCompression" not in parse(write(kept))
    changed = parse(write(read(make(values, 12, syntax=JPEG2000, frame=rough))))
    assert changed.LossyImageCompression == "01"
    assert changed.LossyImageCompressionMethod == "ISO_15444_1"


def test_near_lossless_is_lossy() -> None:
    values = smooth(12)
    image = read(make(values, 12, syntax=JPEGLSNearLossless))
    assert np.abs(image.pixels[0].astype(int) - values).max() == 1
    assert parse(write(image)).LossyImageCompressionMethod == "ISO_14495_1"


def test_an_earlier_loss_is_never_forgotten() -> None:
    data = make(
        LossyImageCompression="01",
        LossyImageCompressionRatio=["10", "3"],
        LossyImageCompressionMethod=["ISO_10918_1", "ISO_15444_1"],
    )
    assert not read(data).profile.lossless
    result = restored(data, scale=2)
    assert result.LossyImageCompression == "01"
    assert [str(ratio) for ratio in result.LossyImageCompressionRatio] == ["10", "3"]
    again = parse(write(read(make(smooth(8), 8, syntax=JPEGBaseline8Bit,
                                  LossyImageCompression="00"))))  # fmt: skip
    assert again.LossyImageCompression == "01"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, RLELossless])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_values_survive_every_codestream(syntax: str, bits: int) -> None:
    values = noise(bits, signed=True, shape=(20, 24))
    if syntax == JPEG2000Lossless and bits < 16:
        # The encoder of the tests has no signed values of less than all bits: as unsigned ones,
        # which is what many a scanner writes.
        unsigned = values.view(f"u{values.dtype.itemsize}") & ((1 << bits) - 1)
        frame = compress(unsigned.astype(f"u{values.dtype.itemsize}"), bits, syntax)
    else:
        frame = compress(values, bits, syntax)
    image = read(make(values, bits, syntax=syntax, frame=frame))
    assert np.array_equal(image.pixels[0], values)
    assert image.profile.lost == ()


def test_fewer_bits_in_the_codestream_than_stored_are_no_loss() -> None:
    values = smooth(12)
    for syntax in (JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1):
        image = read(make(values, 16, syntax=syntax, frame=compress(values, 12, syntax)))
        assert np.array_equal(image.pixels[0], values)
    tiny = smooth(8)
    frame = compress(tiny, 8, JPEG2000Lossless)
    image = read(make(tiny.astype(np.uint16), 16, syntax=JPEG2000Lossless, frame=frame))
    assert np.array_equal(image.pixels[0], tiny)
    assert image.pixels.dtype == np.uint16


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1])
def test_a_sign_stands_at_the_precision_of_the_codestream(syntax: str) -> None:
    values = noise(12, signed=True, shape=(40, 48))
    frame = compress((values & 0x0FFF).astype(np.uint16), 12, syntax)
    image = read(make(values, 16, "MR", syntax=syntax, frame=frame))
    assert np.array_equal(image.pixels[0], values)


FRAMES = [
    (JPEGBaseline8Bit, 8),
    (JPEGLosslessSV1, 12),
    (JPEGLSLossless, 12),
    (JPEG2000Lossless, 12),
    (RLELossless, 12),
]


@pytest.mark.parametrize(("syntax", "bits"), FRAMES)
def test_a_frame_that_was_cut_is_refused(syntax: str, bits: int) -> None:
    values = smooth(bits)
    frame = compress(values, bits, syntax)
    for length in range(2, len(frame) - 2, max(len(frame) // 40, 1)):
        with pytest.raises(UndecodableError):
            read(make(values, bits, syntax=syntax, frame=frame[:length]))


@pytest.mark.parametrize(("syntax", "bits"), FRAMES[1:4])
def test_a_frame_that_was_cut_and_closed_again_is_refused_or_whole(syntax: str, bits: int) -> None:
    values = smooth(bits)
    frame = compress(values, bits, syntax)
    # The decoder of lossless JPEG notices what is missing at the end of a row.
    for length in range(4, len(frame) - 16, max(len(frame) // 40, 1)):
        try:
            image = read(make(values, bits, syntax=syntax, frame=frame[:length] + b"\xff\xd9"))
        except CodecError:
            continue
        assert np.array_equal(image.pixels[0], values)


@pytest.mark.parametrize(("syntax", "bits"), FRAMES)
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(
    syntax: str, bits: int
) -> None:
    frame = compress(smooth(bits, 400, 300), bits, syntax)
    with pytest.raises(UndecodableError, match=r"the header says|RLE segment that is too long"):
        read(make(smooth(bits), bits, syntax=syntax, frame=frame))


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xd9", "begins with"),
        (b"\xff\xd8\xff\xd9", "no marker|no header"),
        (b"\xff\x4f\xff\x51\xff\xd9", "no header"),
        (b"\xff\xd8\xff\xe0\0\x04ab\0\0\xff\xd9", "no marker"),
    ],
)
def test_a_frame_that_is_no_codestream_is_described(frame: bytes, found: str) -> None:
    with pytest.raises(UndecodableError, match=found):
        read(make(smooth(8), 8, syntax=JPEGBaseline8Bit, frame=frame))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda frame: b"\x03" + frame[1:], "3 RLE segments"),
        (lambda frame: frame[:4] + b"\x01" + frame[5:], "RLE segment from byte"),
        (lambda frame: frame[:8] + b"\xff\xff\xff\x7f" + frame[12:], "RLE segment from byte"),
        (lambda frame: frame + b"\x81\0\x81\0", "too long"),
        (lambda frame: frame[:50], "no header"),
    ],
)
def test_rle_that_lies_is_refused(change, found: str) -> None:
    values = noise(12)
    frame = change(compress(values, 12, RLELossless))
    with pytest.raises(UndecodableError, match=found):
        read(make(values, 12, syntax=RLELossless, frame=frame))


def test_compressed_pixels_in_an_element_of_a_length_are_refused() -> None:
    data = make(noise(12), 12)
    lying = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    assert lying != data
    with pytest.raises(UndecodableError, match="undefined length"):
        read(lying)


def test_plain_pixels_in_fragments_are_refused() -> None:
    data = make(noise(12), 12, syntax=RLELossless)
    lying = data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    with pytest.raises(UndecodableError, match="undefined number"):
        read(lying)


def test_compressed_pixels_that_are_not_in_the_lowest_bits_are_refused() -> None:
    data = make(smooth(12), 12, syntax=JPEGLSLossless, HighBit=15)
    with pytest.raises(UnsupportedImageError, match="high bit"):
        read(data)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_a_frame_in_several_fragments_is_one(syntax: str) -> None:
    values = noise(12)
    frame = compress(values, 12, syntax)
    dataset = parse(make(values, 12, syntax=syntax))
    dataset["PixelData"].value = encapsulate([frame], fragments_per_frame=3)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert np.array_equal(read(buffer.getvalue()).pixels[0], values)


@pytest.mark.parametrize("bits", [8, 9, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_of_another_encoder_keeps_every_value(signed: bool, bits: int) -> None:
    values = noise(bits, signed=signed, shape=(40, 48))
    plain = parse(make(values, bits, "MR"))
    plain.compress(JPEG2000Lossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    plain.save_as(buffer)
    image = read(buffer.getvalue())
    assert np.array_equal(image.pixels[0], values)
    assert image.profile.lost == ()


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("signed", [False, True])
def test_other_decoders_find_the_same_values(syntax: str, signed: bool) -> None:
    values = noise(16, signed=signed, shape=(40, 48))
    data = make(values, 16, "MR", syntax=syntax)
    assert np.array_equal(parse(data).pixel_array, read(data).pixels[0])


def test_high_throughput_jpeg_2000_keeps_every_value() -> None:
    values = smooth(12)
    frame = imagecodecs.htj2k_encode(values)
    assert np.array_equal(
        read(make(values, 12, syntax=HTJ2KLossless, frame=frame)).pixels[0], values
    )


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (33, 64)])
@pytest.mark.parametrize("kind", ["gray", "colour", "signed"])
def test_rle_that_is_written_is_what_others_read(kind: str, shape: tuple) -> None:
    bits = 8 if kind == "colour" else 16
    shape = (*shape, 3) if kind == "colour" else shape
    values = noise(bits, signed=kind == "signed", shape=shape)
    modality = "OT" if kind == "colour" else "MR"
    result = parse(write(read(make(values, bits, modality)), DicomConfig(transfer_syntax="rle")))
    assert np.array_equal(result.pixel_array, values)
