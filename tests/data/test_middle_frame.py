"""The middle frame of a video, found by its packets, is the one that decoding all of it gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalsuite.data.decoding import decode_middle_frame
from tests.data.test_decoding import without_packet

av = pytest.importorskip("av")

SIZE = (128, 96)

VIDEOS = {
    "mpeg4": ("mpeg4", "avi", 0, {"g": "7"}),
    "mpeg4 with frames out of order": ("mpeg4", "avi", 2, {"g": "12"}),
    "mpeg4 with one key frame": ("mpeg4", "mp4", 2, {"g": "600"}),
    "mjpeg": ("mjpeg", "avi", 0, {}),
    "h264": ("libx264", "mp4", None, {"g": "9"}),
    "h264 with frames that refer over a key frame": ("libx264", "mp4", 3, {"g": "9", "x264-params": "open-gop=1"}),
    "h264 without whole key frames": ("libx264", "mp4", 0, {"x264-params": "intra-refresh=1:keyint=9"}),
    "h264 without times": ("libx264", "avi", 2, {"g": "9"}),
    "vp8 with frames that are not shown": (
        "libvpx",
        "webm",
        None,
        {"g": "9", "auto-alt-ref": "1", "lag-in-frames": "9"},
    ),
}


def encoded(kind: str, frames: int) -> tuple[bytes, str]:
    """Return a video of moving pictures, and its suffix."""
    codec, suffix, out_of_order, options = VIDEOS[kind]
    generator = np.random.default_rng(0)
    scene = Image.fromarray(generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)).resize((400, 300))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=suffix) as container:
        try:
            stream = container.add_stream(codec, rate=25, options=options)
        except (ValueError, av.error.FFmpegError):
            pytest.skip(f"this PyAV has no {codec}")
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if out_of_order is not None:
            stream.codec_context.max_b_frames = out_of_order
        for index in range(frames):
            shown = scene.crop((3 * index, index, 3 * index + SIZE[0], index + SIZE[1]))
            container.mux(stream.encode(av.VideoFrame.from_image(shown)))
        container.mux(stream.encode(None))
    return buffer.getvalue(), suffix


def all_frames(content: bytes) -> list[Any]:
    with av.open(io.BytesIO(content)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.mark.parametrize("frames", [1, 44, 45])
@pytest.mark.parametrize("kind", VIDEOS)
def test_it_is_the_frame_that_decoding_all_of_the_video_gives(kind: str, frames: int) -> None:
    content, suffix = encoded(kind, frames)
    found = all_frames(content)
    assert len(found) == frames
    assert decode_middle_frame(content, f"a.{suffix}") == found[frames // 2]


def test_what_comes_before_the_last_key_frame_is_not_even_decoded() -> None:
    content, suffix = encoded("mpeg4", 44)
    damaged = without_packet(content, 16)  # key frames are 0, 7, 14, 21, of which the middle frame needs the last
    assert decode_middle_frame(damaged, f"a.{suffix}") == all_frames(content)[22]
