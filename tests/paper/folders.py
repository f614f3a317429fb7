"""Tiny datasets that are folders of images, with lists of samples next to them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.paper.picture import Written
from tests.paper.saving import TEST, TRAIN, VAL, per_class, read_names, save, write_lines

FOOD = {
    "apple_pie": "apple pie",
    "baby_back_ribs": "baby back ribs",
    "cheese_plate": "cheese plate",
    "cheesecake": "cheesecake",
    "creme_brulee": "creme brulee",
    "waffles": "waffles",
}
"""Folder -> name in the prompts; so are the other tables here."""

SUN = {
    "a/abbey": "abbey",
    "a/airplane_cabin": "airplane cabin",
    "a/apartment_building/outdoor": "apartment building outdoor",
    "c/church/indoor": "church indoor",
    "c/church/outdoor": "church outdoor",
    "j/jail/indoor": "jail indoor",
    "j/jail_cell": "jail cell",
}

DTD = ("banded", "blotchy", "dotted", "grid", "polka-dotted", "zigzagged")

CALTECH = {
    "BACKGROUND_Google": "background",
    "Faces": "off-center face",
    "Faces_easy": "centered face",
    "Leopards": "leopard",
    "Motorbikes": "motorbike",
    "accordion": "accordion",
    "car_side": "side of a car",
    "cougar_body": "body of a cougar cat",
    "crocodile_head": "head of a  crocodile",
}

EUROSAT = {
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road",
    "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments",
    "River": "river",
    "SeaLake": "lake or sea",
}

RESISC45 = {
    "airplane": "airplane",
    "baseball_diamond": "baseball diamond",
    "dense_residential": "dense residential",
    "railway": "railway",
    "railway_station": "railway station",
    "wetland": "wetland",
}

COUNTRIES = {
    "AD": "Andorra",
    "AE": "United Arab Emirates",
    "GB": "United Kingdom",
    "NA": "Namibia",
    "NO": "Norway",
    "XK": "Kosovo",
    "ZW": "Zimbabwe",
}

SST2 = ("negative", "positive")

IMAGENET = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n02012849": "crane bird",
    "n03126707": "construction crane",
    "n03773504": "missile",
    "n04355933": "sunglasses",
    "n15075141": "toilet paper",
}
"""Two pairs of classes share a name: 657 and 744 (missile), 836 and 837 (sunglasses).

Of equal scores the lowest index wins, so only the first of each pair (n03773504, n04355933) has images here: their
accuracy is 1, and it is 0 where a name is looked up and the last class of that name taken.
"""


def write_food101(root: Path) -> Written:
    """Write images/<class>/<id>.jpg and the two lists; one image per class is in none, and shows another dish."""
    folder = root / "food-101"
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for number, (key, name) in enumerate(FOOD.items()):
        for variant, split in enumerate(["train"] * TRAIN + ["test"] * TEST):
            image = f"{key}/{1_000_000 + 137 * variant + number}"
            save(folder / "images" / f"{image}.jpg", name, variant, width=48, height=40)
            lists[split].setdefault(key, []).append(image)
        save(folder / "images" / key / "99.jpg", "waffles" if number == 0 else "apple pie", 99)
    for split, images in lists.items():
        write_lines(folder / "meta" / f"{split}.txt", [image for listed in images.values() for image in listed])
        write_lines(folder / "meta" / f"{split}.json", [json.dumps(images)])
    write_lines(folder / "meta" / "classes.txt", list(FOOD))
    return Written(per_class(len(FOOD)))


def write_sun397(root: Path) -> Written:
    """Write the tree with its nested folders, and partitions 01 and 02; images of 02 show another scene.

    Two files are no JPEG, whatever their names say.
    """
    folder, names = root / "SUN397", list(SUN.values())
    kinds = {("a/abbey", 0): ("PNG", "RGB"), ("c/church/indoor", TRAIN): ("GIF", "P")}
    lists: dict[str, list[str]] = {"Training_01": [], "Testing_01": [], "Training_02": [], "Testing_02": []}
    splits = [split for split in lists for _ in range(TRAIN if split.startswith("Training") else TEST)]
    for number, (key, name) in enumerate(SUN.items()):
        for variant, split in enumerate(splits):
            path = f"/{key}/sun_{chr(ord('a') + variant) * 8}{number:08x}.jpg"
            kind, mode = kinds.get((key, variant), ("JPEG", "RGB"))
            shown = name if split.endswith("01") else names[number - 1]
            save(folder / path[1:], shown, variant, width=44, height=36, kind=kind, mode=mode)
            lists[split].append(path)
    write_lines(folder / "ClassName.txt", [f"/{key}" for key in SUN])
    for split, paths in lists.items():
        write_lines(folder / "Partitions" / f"{split}.txt", paths)
    return Written(per_class(len(SUN)))


def write_dtd(root: Path) -> Written:
    """Write ten partitions; images that are only in partitions 2 to 10 show another texture."""
    folder = root / "dtd" / "dtd"
    splits = ["train"] * TRAIN + ["val"] * VAL + ["test"] * TEST
    lists: dict[str, list[str]] = {f"{split}{part}": [] for part in range(1, 11) for split in splits}
    for number, name in enumerate(DTD):
        for variant, split in enumerate(splits * 2):
            path = f"{name}/{name}_{variant + 1:04d}.jpg"
            first = variant < len(splits)
            save(folder / "images" / path, name if first else DTD[number - 1], variant)
            for part in (1,) if first else range(2, 11):
                lists[f"{split}{part}"].append(path)
    for split, paths in lists.items():
        write_lines(folder / "labels" / f"{split}.txt", paths)
    return Written(per_class(len(DTD), val=VAL))


def write_oxford_pets(root: Path) -> Written:
    """Write images/ and annotations/; the cats' names are capitalised, and one of the files is a PNG.

    oxford_pets.txt holds the breeds by CLASS-ID, alphabetical without regard to case; all of them have images,
    because torchvision numbers the breeds it finds.
    """
    folder, breeds = root / "oxford-iiit-pet", read_names("oxford_pets.txt")
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for number, breed in enumerate(breeds, start=1):
        cat = breed[0].isupper()
        rank = sum(other[0].isupper() == cat for other in breeds[:number])
        for variant, split in enumerate(["trainval"] * TRAIN + ["test"] * TEST):
            image = f"{breed}_{100 + variant}"
            kind, mode = ("PNG", "RGBA") if image == "Abyssinian_100" else ("JPEG", "RGB")
            save(folder / "images" / f"{image}.jpg", breed.replace("_", " "), variant, kind=kind, mode=mode)
            lists[split].append(f"{image} {number} {1 if cat else 2} {rank}")
    for split, lines in lists.items():
        write_lines(folder / "annotations" / f"{split}.txt", lines)
    comments = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    write_lines(folder / "annotations" / "list.txt", comments + lists["trainval"] + lists["test"])
    return Written(per_class(len(breeds)))


def write_caltech101(root: Path) -> Written:
    """Write a folder per class, some images grey; the background has a file without an extension: no sample."""
    folder = root / "caltech101" / "101_ObjectCategories"
    count = 10
    for key, name in CALTECH.items():
        for variant in range(count):
            mode = "L" if variant % 4 == 0 else "RGB"
            save(folder / key / f"image_{variant + 1:04d}.jpg", name, variant, width=45, height=30, mode=mode)
    save(folder / "BACKGROUND_Google" / "tmp", "leopard", 99, kind="JPEG")
    splits = {"rule": "sample", "pool": "all", "train": 6, "test": "rest"}
    return Written(per_class(len(CALTECH), train=6, test=count - 6), splits)


def write_eurosat(root: Path) -> Written:
    """Write 2750/<Class>/<Class>_<n>.jpg, two more a class than the splits take."""
    for key, name in EUROSAT.items():
        for number in range(1, 15):
            save(root / "eurosat" / "2750" / key / f"{key}_{number}.jpg", name, number)
    splits = {"rule": "sample", "pool": "all", "seed": 42, "train": 4, "val": 4, "test": 4}
    return Written(per_class(len(EUROSAT), train=4, val=4, test=4), splits)


def write_resisc45(root: Path) -> Written:
    """Write NWPU-RESISC45/<class>/<class>_001.jpg: 20 images per class, of which 10, 10 and 80 % make the splits."""
    for key, name in RESISC45.items():
        for number in range(1, 21):
            save(root / "NWPU-RESISC45" / key / f"{key}_{number:03d}.jpg", name, number)
    return Written(per_class(len(RESISC45), train=2, val=2, test=16))


def write_country211(root: Path) -> Written:
    """Write {train,valid,test}/<ISO code>; NA is Namibia, not an empty cell."""
    for variant, split in enumerate(["train"] * TRAIN + ["valid"] * VAL + ["test"] * TEST):
        for key, name in COUNTRIES.items():
            save(root / "country211" / split / key / f"{variant:06d}.jpg", name, variant)
    return Written(per_class(len(COUNTRIES), val=VAL))


def write_rendered_sst2(root: Path) -> Written:
    """Write {train,valid,test}/{negative,positive}/<n>.png."""
    counts = {"train": 6, "valid": 4, "test": 5}
    for number, (split, count) in enumerate(counts.items()):
        for name in SST2:
            for variant in range(count):
                save(root / "rendered-sst2" / split / name / f"{variant}.png", name, 10 * number + variant)
    return Written(per_class(len(SST2), train=counts["train"], val=counts["valid"], test=counts["test"]))


def write_imagenet(root: Path) -> Written:
    """Write {train,val}/<wnid>/*.JPEG; one image is in CMYK."""
    number = 0
    for key, name in IMAGENET.items():
        for variant in range(TRAIN):
            mode = "CMYK" if (key, variant) == ("n01443537", 1) else "RGB"
            file = root / "imagenet" / "train" / key / f"{key}_{1000 + variant}.JPEG"
            save(file, name, variant, width=50, height=40, mode=mode)
        for variant in range(TRAIN, TRAIN + TEST):
            number += 1
            save(root / "imagenet" / "val" / key / f"ILSVRC2012_val_{number:08d}.JPEG", name, variant)
    return Written(per_class(len(IMAGENET)))
