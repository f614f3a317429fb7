"""Images and videos, whole and broken; checksums of files."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from evalsuite.data.decoding import decode_image, decode_middle_frame
from evalsuite.errors import DataError, JobError, MissingExtraError
from evalsuite.hashing import (
    CACHE_NAME,
    combined_sha256,
    file_sha256,
    files_sha256,
    read_every_byte,
    tree_sha256,
)
from evalsuite.progress import Progress
from evalsuite.seals import read_sealed


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_an_image_is_decoded_whole(encode, kind):
    image = decode_image(encode(kind=kind), "a")
    assert image.size == (12, 10)
    image.getpixel((11, 9))


def test_grey_stays_grey(encode):
    assert decode_image(encode(mode="L"), "a").mode == "L"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_a_truncated_image_names_the_sample_and_the_file(encode, kind):
    content = encode(kind=kind, size=(90, 80))
    with pytest.raises(DataError, match=r"'cat/7\.x' \(/data/cat/7\.x\).*max_unreadable"):
        decode_image(content[: len(content) // 2], "cat/7.x", "/data/cat/7.x")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "is empty"), (b" <html>404</html>", "web page"), (b"abc", "no image of a known")]
)
def test_what_is_no_image_is_told_apart(content, reason):
    with pytest.raises(DataError, match=reason):
        decode_image(content, "a")


def test_a_decompression_bomb_is_refused():
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content += struct.pack(">I", 8) + b"IDAT" + bytes(8)
    with pytest.raises(DataError, match="decompression bomb"):
        decode_image(content, "a")


@pytest.mark.parametrize("where", ["text", "international text", "profile", "after the pixels"])
def test_a_long_text_in_a_png_says_nothing_of_its_pixels(encode, where):
    image, long = Image.open(io.BytesIO(encode())), "x" * (3 << 20)
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    if where == "international text":
        info.add_itxt("history", long, zip=True)
    elif where == "text":
        info.add_text("history", long, zip=True)
    elif where == "after the pixels":
        info.add(b"zTXt", b"history\0\0" + zlib.compress(long.encode()), after_idat=True)
    image.save(buffer, "PNG", pnginfo=info, icc_profile=long.encode() if where == "profile" else None)
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    assert decode_image(buffer.getvalue(), "a.png").tobytes() == image.tobytes()
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


def test_a_text_that_unpacks_without_end_is_refused(encode, monkeypatch):
    monkeypatch.setattr("evalsuite.data.decoding.MAX_TEXT", 2 << 20)
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("history", "x" * (3 << 20), zip=True)
    Image.open(io.BytesIO(encode())).save(buffer, "PNG", pnginfo=info)
    with pytest.raises(DataError, match="too large"):
        decode_image(buffer.getvalue(), "a.png")


def test_postscript_is_never_handed_to_an_interpreter(encode):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(encode())).save(buffer, "EPS")
    with pytest.raises(DataError, match="known format"):
        decode_image(buffer.getvalue(), "a.jpg")


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (8, 4), (9, 4)])
def test_the_middle_frame_is_n_half_rounded_down(video, frames, middle):
    image = decode_middle_frame(video(frames), "a/b.avi")
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert abs(float(np.asarray(image).mean()) - 10 * middle) < 3


def test_videos_of_other_containers(video):
    assert decode_middle_frame(video(3, "mp4"), "b.MP4").size == (32, 32)


def place_of_packet(content, number):
    """Return the first byte of the content of a packet, and the number of its bytes."""
    import av

    with av.open(io.BytesIO(content)) as container:
        position, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][number]
    return position + (8 if content[position : position + 4] == b"00dc" else 0), size


def without_packet(content, number):
    """Return a video with one packet overwritten."""
    position, size = place_of_packet(content, number)
    return content[:position] + b"\xff" * size + content[position + size :]


def test_a_bad_packet_does_harm_only_up_to_the_middle_frame(video):
    content = video(20)
    for bad in (12, 15, 18):
        image = decode_middle_frame(without_packet(content, bad), "a/b.avi")
        assert abs(float(np.asarray(image).mean()) - 100) < 3
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_middle_frame(without_packet(content, 10), "a/b.avi")


@pytest.mark.parametrize("left", [8, 14, 20])
@pytest.mark.parametrize(("container", "suffix"), [("avi", "avi"), ("matroska", "mkv"), ("webm", "webm")])
def test_a_video_that_was_cut_off_is_refused(video, container, suffix, left):
    content = video(24, container)
    with pytest.raises(DataError, match=r"cut off: it has \d+ of the 24 frames"):
        decode_middle_frame(content[: place_of_packet(content, left)[0]], f"a/b.{suffix}")


def test_an_avi_whose_frames_are_shown_for_long_is_whole(video):
    content = video(24, shown=3)
    assert abs(float(np.asarray(decode_middle_frame(content, "a/b.avi")).mean()) - 120) < 3
    start, end = (place_of_packet(content, number)[0] for number in (8, 16))
    for damaged in (content[:start], content[:start] + b"\0" * (end - start) + content[end:]):
        with pytest.raises(DataError, match=r"cut off: it has \d+ of the 70 frames"):
            decode_middle_frame(damaged, "a/b.avi")


@pytest.mark.parametrize("frames", [1, 2, 9, 60])
def test_a_whole_video_with_sound_that_goes_on_is_read(video, frames):
    image = decode_middle_frame(video(frames, "matroska", sound=2 * frames), "a/b.mkv")
    assert abs(float(np.asarray(image).mean()) - min(10 * (frames // 2), 250)) < 3


def test_broken_videos_are_data_errors(video):
    with pytest.raises(DataError, match=r"a/b\.avi.*cannot be decoded"):
        decode_middle_frame(b"no video at all" * 20, "a/b.avi")
    with pytest.raises(DataError, match="unknown kind"):
        decode_middle_frame(video(2), "a/b.m3u8")


def test_a_playlist_in_disguise_is_not_followed(tmp_path, video):
    (tmp_path / "real.avi").write_bytes(video(2))
    playlist = f"ffconcat version 1.0\nfile '{tmp_path / 'real.avi'}'\n".encode()
    with pytest.raises(DataError):
        decode_middle_frame(playlist, "a.avi")


def test_videos_need_an_extra(monkeypatch):
    original = builtins.__import__

    def without_av(name, *arguments, **options):
        if name == "av":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(MissingExtraError, match=r"evalsuite\[video\]"):
        decode_middle_frame(b"", "a.avi")


def test_checksums_are_remembered_until_the_file_changes(tmp_path):
    file, cache = tmp_path / "a", tmp_path / "cache"
    file.write_bytes(b"one")
    first = file_sha256(file, cache)
    assert first == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    stored = read_sealed(cache / CACHE_NAME)
    ((name, (*key, digest)),) = stored.items()
    assert (key[0], digest) == (3, first)
    (cache / CACHE_NAME).write_text(json.dumps({name: [*key, "0" * 64]}))
    assert file_sha256(file, cache) == "0" * 64  # so it is the cache that answers
    status = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert file_sha256(file, cache) not in (first, "0" * 64)


@pytest.mark.parametrize("replace", [False, True], ids=["written over", "moved over"])
def test_another_file_of_the_same_size_and_time_has_another_checksum(tmp_path, replace):
    file, cache, new = tmp_path / "a", tmp_path / "cache", tmp_path / "new"
    file.write_bytes(b"one")
    first, status = file_sha256(file, cache), file.stat()
    (new if replace else file).write_bytes(b"two")
    os.utime(new if replace else file, ns=(status.st_atime_ns, status.st_mtime_ns))
    if replace:
        new.rename(file)
    assert file_sha256(file, cache) != first


def test_checksums_that_version_0_1_0_remembered_are_made_again_once(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    status = file.stat()
    old = {str(file.absolute()): [status.st_size, status.st_mtime_ns, "0" * 64]}
    (tmp_path / CACHE_NAME).write_text(json.dumps(old))
    assert file_sha256(file, tmp_path).startswith("7692c3ad")
    stored = json.loads((tmp_path / CACHE_NAME).read_text())
    assert stored[str(file.absolute())][-1].startswith("7692c3ad")


def test_a_damaged_cache_is_no_harm(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / CACHE_NAME).write_text('{"a": 3}')
    assert file_sha256(tmp_path / "a", tmp_path).startswith("7692c3ad")


def test_a_hub_blob_is_its_own_checksum(tmp_path):
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"anything")
    (tmp_path / "link.parquet").symlink_to(blob)
    assert file_sha256(tmp_path / "link.parquet") == "ab" * 32


def test_a_hub_blob_is_compared_with_its_name_where_every_byte_is_read(tmp_path):
    blob, link = tmp_path / "blobs" / hashlib.sha256(b"weights").hexdigest(), tmp_path / "model.safetensors"
    blob.parent.mkdir()
    link.symlink_to(blob)
    try:
        for wanted, content in ((False, b"w3ights"), (True, b"weights"), (False, b"w3ights"), (True, b"w3ights")):
            blob.write_bytes(content)
            read_every_byte(tmp_path, wanted)
            if wanted and content == b"w3ights":
                with pytest.raises(JobError, match=f"{blob.name} is damaged"):
                    file_sha256(link, tmp_path)
            else:
                assert file_sha256(link, tmp_path) == blob.name
    finally:
        read_every_byte(tmp_path, False)


def test_hashing_of_large_files_tells_how_far_it_is(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("evalsuite.hashing.SHOWN_FROM", 7)
    monkeypatch.setattr("evalsuite.hashing.PIECE", 3)

    class Told(Progress):
        def progress(self, what, done, total, unit):
            told.append((what, done, total, unit))

    for name, content in (("a", b"1234"), ("b", b"567")):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / "a", tmp_path / "b"]
    digests = files_sha256(paths, tmp_path, Told())
    assert digests == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert told == [("checksums of 2 files", done, 7, "bytes") for done in (3, 4, 7)]
    files_sha256(paths, tmp_path, Told())
    assert len(told) == 3


def test_trees_are_equal_wherever_they_are(tmp_path):
    digests = []
    for root in (tmp_path / "x", tmp_path / "y"):
        root.mkdir()
        (root / "a").write_bytes(b"1")
        digests.append(tree_sha256(root, [root / "a"]))
    assert digests[0] == digests[1]
    (tmp_path / "y" / "a").rename(tmp_path / "y" / "b")
    assert tree_sha256(tmp_path / "y", [tmp_path / "y" / "b"]) != digests[0]
    assert combined_sha256(["ab", "c"]) != combined_sha256(["a", "bc"])
