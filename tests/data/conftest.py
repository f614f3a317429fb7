"""Small tasks and images for the tests of evalsuite.data."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evalsuite.tasks.spec import PromptSpec, TaskSpec

ImageMaker = Callable[..., bytes]


@pytest.fixture
def make_task() -> Callable[..., TaskSpec]:
    """Build a task without a file; `path` says where its file would be."""

    def build(
        *sources: dict[str, Any], classes: list[str] | None = None, path: Path | None = None, **more: Any
    ) -> TaskSpec:
        keys = classes or ["cat", "dog"]
        prompts = {"templates": ["a photo of a {}."]}
        value = {"name": "pets", "title": "Pets", "prompts": prompts, "classes": keys, "sources": list(sources), **more}
        task = TaskSpec.model_validate(value).with_prompt_spec(PromptSpec.model_validate(prompts))
        return task if path is None else task.with_path(path)

    return build


@pytest.fixture
def encode() -> ImageMaker:
    """Encode a small seeded image."""

    def build(seed: int = 0, size: tuple[int, int] = (12, 10), kind: str = "PNG", mode: str = "RGB") -> bytes:
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return buffer.getvalue()

    return build


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to reach another machine fail the test."""
    import socket

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def video() -> Callable[..., bytes]:
    """Encode a video of uniform grey frames: frame i is 10 * i (up to 250), with a sound as long as so many frames.

    shown: how many frames' time each of them is shown.
    """

    def build(frames: int, suffix: str = "avi", sound: int = 0, shown: int = 1) -> bytes:
        av = pytest.importorskip("av")
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=suffix) as container:
            stream = container.add_stream("libvpx" if suffix == "webm" else "mpeg4", rate=10)
            voice = container.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for index in range(frames):
                pixels = np.full((32, 32, 3), min(10 * index, 250), np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts = index * shown
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
            for index in range(sound):
                part = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
                part.sample_rate, part.pts = 8000, 800 * index
                container.mux(voice.encode(part))
        return buffer.getvalue()

    return build
