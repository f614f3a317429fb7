"""Bytes to images, for every source whose images are files or bytes."""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from evalsuite.errors import DataError, MissingExtraError
from evalsuite.tasks.spec import MAX_ASPECT, MAX_PIXELS

T = TypeVar("T")

PILLOW_WARNS_FROM = 89_478_485
"""Pixels from which Pillow takes an image for a decompression bomb (`PIL.Image.MAX_IMAGE_PIXELS`)."""

MAX_TEXT = 1 << 26
"""Bytes of texts and profiles in a PNG, unpacked; more is taken for a decompression bomb."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "MPO", "JPEG2000", "AVIF", "TGA", "ICO")
"""What is decoded. Left out on purpose: EPS (runs Ghostscript) and stubs that call other programs."""

VIDEO_FORMATS = {
    ".avi": "avi",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".webm": "matroska",
    ".mkv": "matroska",
}
"""Extension to demuxer. It is named, never guessed: a playlist in disguise could open other files or URLs."""

MISSING_FRAMES = 0.02
"""Share of the frames in a video's header that may be missing; more is a file that was cut off."""

ONE_FRAME_CODECS = frozenset({"h264", "mjpeg", "mpeg4"})
"""Codecs whose packets hold one frame each. Those of VP8, VP9 and AV1 may hold frames that are not shown."""

SMALLEST_FRAME = 20
"""Bytes of a packet; less may be MPEG-4's mark that nothing is shown, which XviD writes in 7 bytes."""

MOST_SCANS = 100
"""Scans of a JPEG. Encoders write ten or so; each goes over all pixels, and a thousand fit into 300 kB."""

SCANS_COUNTED_FROM = 10**12
"""Bytes of a file times its pixels. Below, no number of scans takes ten seconds, and none are counted."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]", re.DOTALL)
"""The start of a part of a JPEG, which has its length behind it: not a byte of pixels, nor a place to restart."""

_PILLOWS_BOUND = threading.Lock()
"""Held while Pillow's own bound, which is that of the whole process, is another one."""

_DECODE_ERRORS = (OSError, SyntaxError, ValueError, IndexError, TypeError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True)
class Bounds:
    """How large images may be: `max_pixels`, and `max_aspect`, the longer side by the shorter, of a task file."""

    pixels: int = MAX_PIXELS
    aspect: int = MAX_ASPECT

    def problem(self, size: tuple[int, int]) -> str:
        """Say which bound an image of this size breaks; "" where none."""
        width, height = size
        if width * height > self.pixels:
            return f"has {width:,} x {height:,} pixels, more than `max_pixels`: {self.pixels:,}"
        if max(size) > self.aspect * min(size):
            return f"is {width:,} x {height:,} pixels, longer than `max_aspect` times its other side: {self.aspect:,}"
        return ""


BOUNDS = Bounds()
"""Those of a task file that says nothing of them."""


class _OutOfBoundsError(Exception):
    """An image that is not decoded; the text says which bound it breaks."""


def decode_image(content: bytes, sample: str, file: str = "", bounds: Bounds = BOUNDS) -> Image.Image:
    """Decode an image completely, in its own mode.

    sample, file: the sample id and the file that holds it, for the message.
    Raises DataError for a truncated, corrupt, unknown or far too large image, and one of values nobody can read.
    """
    where = _where(sample, file)
    try:
        image = with_long_texts(lambda: _decoded(content, bounds))
    except (_OutOfBoundsError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"The image {where} {error}. It looks like a decompression bomb; if it is meant to be so large, allow for "
            "it with that key in the task file."
        ) from error
    except _DECODE_ERRORS as error:
        raise DataError(
            f"The image {where} cannot be decoded ({_reason(content, error)}). Fetch or copy this file again; "
            "if the dataset is published so, allow for it with `max_unreadable` in the task file."
        ) from error
    if problem := _without_white(image):
        raise DataError(
            f"The image {where} has {problem}: nothing says which of them is white, and it would turn black. Store it "
            "with 8 or 16 bits per channel."
        )
    return image


def check_bounds(content: bytes, sample: str, file: str, bounds: Bounds) -> None:
    """Raise DataError where the head of an image file tells of more than the bounds allow; no pixel is decoded."""
    try:
        image = _opened(content, bounds)
        problem = bounds.problem(image.size) or _too_many_scans(content, image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        problem = str(error)
    except _DECODE_ERRORS:
        return  # whoever decodes it says what is wrong
    if problem:
        raise DataError(
            f"The image {_where(sample, file)} {problem}. If it is meant to be so large, allow for it in the task file."
        )


def with_long_texts(decode: Callable[[], T]) -> T:
    """Call `decode`, once more where it ends at Pillow's limit for texts in a PNG, with a limit of 64 MiB.

    A history of edits or a colour profile of more than 1 MiB says nothing about the pixels.
    """
    try:
        return decode()
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    try:
        PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT
        return decode()
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = limits


def _decoded(content: bytes, bounds: Bounds) -> Image.Image:
    image = _opened(content, bounds)
    if problem := bounds.problem(image.size):
        raise _OutOfBoundsError(problem)
    if problem := _too_many_scans(content, image):
        raise ValueError(f"it {problem}")
    image.load()
    return image


def _too_many_scans(content: bytes, image: Image.Image) -> str:
    """Say what is wrong with a JPEG that goes over its pixels again and again; "" for any other image."""
    if image.format not in ("JPEG", "MPO") or len(content) * image.width * image.height < SCANS_COUNTED_FROM:
        return ""
    place, scans = 0, 0
    while scans <= MOST_SCANS and (found := _MARKER.search(content, place)) and found[0] != b"\xff\xd9":
        scans += found[0] == b"\xff\xda"
        place = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return f"has more than {MOST_SCANS} scans, as files do that are made to take hours" if scans > MOST_SCANS else ""


def _opened(content: bytes, bounds: Bounds) -> Image.Image:
    """Read the head of an image; Pillow's own bound gives way where the task file allows more."""
    if bounds.pixels <= PILLOW_WARNS_FROM:
        return Image.open(io.BytesIO(content), formats=_known_formats())
    with _PILLOWS_BOUND:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=_known_formats())
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _without_white(image: Image.Image) -> str:
    """Say what values a 32-bit image has where these tell neither 8 nor 16 bits; "" for any other image.

    A PNG or PGM of 16 bits is opened with 32; no other 32-bit file says how many of them count.
    """
    if image.mode not in ("I", "F") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return ""
    if not np.isfinite(np.asarray(image)).all():
        return "32-bit values that are no numbers or infinite"
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    known = low >= 0 and (1 < high <= 255 if image.mode == "F" else 255 < high <= 65_535)
    return "" if known else f"32-bit values from {low:g} to {high:g}"


def decode_middle_frame(content: bytes, sample: str, file: str = "", bounds: Bounds = BOUNDS) -> Image.Image:
    """Return frame n // 2 (counted from 0) of a video of n frames, as RGB.

    The frames are counted, because the count in a video's header is often a little wrong: by their packets where each
    holds one frame, else by decoding them; a packet that cannot be decoded counts as one, and does no harm after the
    frame that is wanted. DataError where some of the frames that the header tells of, by number or by duration, are
    not there: the middle of what is left is another frame.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "video", "Reading frames of videos") from error
    where = _where(sample, file)
    suffix = PurePath(sample).suffix.lower()
    if suffix not in VIDEO_FORMATS:
        known = ", ".join(sorted(VIDEO_FORMATS))
        raise DataError(f"The video {where} is of an unknown kind {suffix!r}; known: {known}.")
    try:
        form = VIDEO_FORMATS[suffix]
        track = _survey(av, content, form)
        if problem := bounds.problem(track.size):
            raise DataError(f"The video {where} {problem}. If it is meant to be so, allow for it in the task file.")
        if track.packets < track.stated - max(1, MISSING_FRAMES * track.stated):
            raise DataError(
                f"The video {where} is cut off: it has {track.packets} of the {track.stated} frames that its header "
                "tells of. Fetch or copy this file again."
            )
        middle = _middle_by_time(av, content, form, track) or _middle_by_count(av, content, form)
        if middle is not None:
            image: Image.Image = middle.to_image()
            return image
    except (av.error.FFmpegError, *_DECODE_ERRORS) as error:
        raise DataError(f"The video {where} cannot be decoded ({error}). Fetch or copy this file again.") from error
    raise DataError(f"The video {where} has no frame. Fetch or copy this file again.")


@dataclass(frozen=True)
class _Track:
    """What a video's packets tell without being decoded, empty ones included. size: (width, height) in pixels.

    times: when each packet is shown, in units of the track; empty where packets may hold another number of frames
    than one. keys: of these, the packets from which decoding can start. stated: frames in the header; 0: it tells none.
    """

    packets: int
    stated: int
    times: list[int]
    keys: list[int]
    size: tuple[int, int] = (1, 1)


def _survey(av: Any, content: bytes, container_format: str) -> _Track:
    """Read the packets of a video.

    Matroska tells the time when the last of its streams ends instead of a number of frames: there are as many at the
    rate of those found. AVI counts frames in which nothing has changed; their packets are empty, and passed over.
    """
    shown: list[tuple[int | None, bool, int]] = []
    end, passed = 0.0, 0
    with av.open(io.BytesIO(content), format=container_format) as container:
        stream = container.streams.video[0]
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.size and packet.stream.index == stream.index:
                whole = not (packet.is_discard or packet.is_corrupt)
                shown.append((packet.pts if whole else None, packet.is_keyframe, packet.size))
                if container_format == "avi" and packet.dts is not None:
                    passed = packet.dts + 1
        stated = stream.frames
        if not stated and container.duration and end:
            stated = round(len(shown) * container.duration / av.time_base / end)
        times = {time for time, _, size in shown if time is not None and size >= SMALLEST_FRAME}
        plain = stream.codec_context.name in ONE_FRAME_CODECS and len(times) == len(shown)
        keys = [time for time, is_key, _ in shown if is_key and time is not None]
        size = (max(stream.width, 1), max(stream.height, 1))
        return _Track(max(len(shown), passed), stated, sorted(times) if plain else [], keys, size)


def _middle_by_time(av: Any, content: bytes, container_format: str, track: _Track) -> Any:
    """Return the middle frame, decoded from the last key frame before it; None where frames do not fit the packets."""
    if not track.times:
        return None
    wanted = track.times[len(track.times) // 2]
    start = max((time for time in track.keys if time <= wanted), default=track.times[0])
    expected = (time for time in track.times if time >= start)
    for frame in _frames(av, content, container_format, start):
        if frame.pts is None:
            return None
        if frame.pts < start:
            continue
        if frame.pts != next(expected):
            return None
        if frame.pts == wanted:
            return frame
    return None


def _middle_by_count(av: Any, content: bytes, container_format: str) -> Any:
    """Return the middle one of the frames that decoding finds; None where it finds none."""
    count = 0
    with av.open(io.BytesIO(content), format=container_format) as container:
        for packet in container.demux(video=0):
            try:
                count += len(packet.decode())
            except av.error.InvalidDataError:
                count += 1
    return next(islice(_frames(av, content, container_format), count // 2, None), None)


def _frames(av: Any, content: bytes, container_format: str, start: int | None = None) -> Any:
    """Yield the frames in order, from the key frame at `start` or one before it on."""
    with av.open(io.BytesIO(content), format=container_format) as container:
        if start is not None:
            container.seek(start, stream=container.streams.video[0])
        yield from container.decode(video=0)


def image_extensions() -> frozenset[str]:
    """Return the endings of the names of images, such as .jfif, also of some kinds that are not decoded."""
    own = {extension for extension, name in Image.registered_extensions().items() if name in FORMATS}
    return frozenset(own | {".heic", ".heif", ".jxl", ".svg", ".psd", ".exr", ".dcm", ".dng", ".cr2", ".nef", ".arw"})


def _known_formats() -> list[str]:
    """Return the safe formats this Pillow can read; it raises KeyError for a name it does not know."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _where(sample: str, file: str) -> str:
    return f"{sample!r} ({file})" if file and file != sample else repr(sample)


def _reason(content: bytes, error: BaseException) -> str:
    if not content:
        return "the file is empty"
    if content.lstrip()[:1] == b"<":
        return "it is a web page or XML, not an image"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    return str(error) or type(error).__name__
