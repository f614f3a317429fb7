"""UCF101 and Kinetics-700, tiny, as real videos whose middle frame alone shows their class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.paper.picture import Written, picture

WIDTH, HEIGHT = 64, 48
UCF101_CLASSES = {
    # folder: (its number in classInd.txt, how its files spell it, prompt name)
    "ApplyEyeMakeup": (1, "ApplyEyeMakeup", "Apply Eye Makeup"),
    "HandstandPushups": (37, "HandStandPushups", "Hand Stand Pushups"),
    "HandstandWalking": (38, "HandstandWalking", "Handstand Walking"),
    "TaiChi": (91, "TaiChi", "Tai Chi"),
    "YoYo": (101, "YoYo", "Yo Yo"),
}
UCF101_CLIPS = (1, 2, 1, 2, 2, 3)
"""Clips of the groups g01, g02 ... of each class; two groups test in each of the three splits, four train."""

KINETICS_FOLDERS = {
    # folder as torchvision and the official tars name it: prompt name
    "abseiling": "abseiling",
    "bouncing_ball_not_juggling": "bouncing ball (not juggling)",
    "massaging_persons_head": "massaging person's head",
    "passing_American_football_in_game": "passing American football (in game)",
    "passing_American_football_not_in_game": "passing American football (not in game)",
    "zumba": "zumba",
}
KINETICS_SETS = {"train": 5, "val": 3}
"""Videos of each class; the set `test` has decoys only."""

KINETICS_EMPTY = "zumba/EmptyVideo0_000010_000020.mp4"
"""A file of 0 bytes in the training set, as failed downloads leave them."""


def write_video(path: Path, frames: Sequence[Image.Image], codec: str = "mpeg4") -> None:
    """Encode frames one by one, none from its neighbours, with little loss; the suffix decides the container."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"qmin": "1", "qmax": "2"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))


def clip(name: str, others: Sequence[str], variant: int) -> list[Image.Image]:
    """Return 7 to 9 frames: number n // 2 of n shows `name`, the others show other classes."""
    count = 7 + variant % 3
    wrong = [other for other in others if other != name]
    shown = [wrong[(variant + frame) % len(wrong)] for frame in range(count)]
    shown[count // 2] = name
    return [picture(shown[frame], 10 * variant + frame, WIDTH, HEIGHT) for frame in range(count)]


def write_ucf101(root: Path) -> Written:
    """Write UCF-101 and ucfTrainTestlist: five classes of six groups, and three splits that test other groups."""
    names = [name for _, _, name in UCF101_CLASSES.values()]
    clips: list[tuple[int, str, int]] = []  # group, path, class number
    for folder, (number, spelling, name) in UCF101_CLASSES.items():
        for group, count in enumerate(UCF101_CLIPS, 1):
            for take in range(1, count + 1):
                path = f"{folder}/v_{spelling}_g{group:02d}_c{take:02d}.avi"
                codec = "mjpeg" if take == 2 else "mpeg4"
                write_video(root / "UCF-101" / path, clip(name, names, len(clips)), codec)
                clips.append((group, path, number))
    write_video(root / "UCF-101/YoYo/v_YoYo_g07_c01.avi", clip("Tai Chi", names, len(clips)))  # in no list
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("".join(f"{row[0]} {folder}\n" for folder, row in UCF101_CLASSES.items()))
    sizes: dict[str, list[int]] = {"train": [], "test": []}
    for split in (1, 2, 3):
        test = [path for group, path, _ in clips if (group + 1) // 2 == split]
        train = [f"{path} {number}" for group, path, number in clips if (group + 1) // 2 != split]
        (lists / f"trainlist{split:02d}.txt").write_text("".join(f"{line}\n" for line in train))
        (lists / f"testlist{split:02d}.txt").write_text("".join(f"{line}\n" for line in test))
        sizes["train"].append(len(train))
        sizes["test"].append(len(test))
    return Written(sizes)


def write_kinetics700(root: Path) -> Written:
    """Write kinetics700/{train,val,test}/<folder>/<video>_<start>_<end>.mp4; the sizes count the empty file."""
    base = root / "kinetics700"
    names = list(KINETICS_FOLDERS.values())
    variant = 0
    for pool, count in KINETICS_SETS.items():
        for folder, name in KINETICS_FOLDERS.items():
            for _ in range(count):
                path = base / pool / folder / f"{pool}Video{variant:03d}_000010_000020.mp4"
                write_video(path, clip(name, names, variant))
                variant += 1
    write_video(base / "test/zumba/testVideo000_000010_000020.mp4", clip("abseiling", names, variant))
    (base / "train" / KINETICS_EMPTY).touch()
    return Written({"train": 5 * len(names) + 1, "test": 3 * len(names)})
