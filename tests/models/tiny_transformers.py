"""Tiny models of transformers with random weights, as `save_pretrained` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

WORDS = ["a", "photo", "of", "dog", "cat", "the", "number", "seven", "two", "red", "airplanes", "above", "city", "at"]

BLOCKS = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "patch_size": 8, "num_labels": 3,
}  # fmt: skip

PYRAMID = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_labels": 3}

IMAGE: dict[str, tuple[str, dict[str, Any], str]] = {
    "vit": ("ViT", BLOCKS, "ViT"),
    "deit": ("DeiT", BLOCKS, "DeiT"),
    "vit_msn": ("ViTMSN", BLOCKS, "ViT"),
    "dinov2": ("Dinov2", {**BLOCKS, "mlp_ratio": 2}, "Bit"),
    "dinov2_with_registers": ("Dinov2WithRegisters", {**BLOCKS, "mlp_ratio": 2}, "Bit"),
    "dinov3_vit": ("DINOv3ViT", {**BLOCKS, "num_register_tokens": 2}, "DINOv3ViT"),
    "beit": ("Beit", {**BLOCKS, "use_mean_pooling": True}, "Beit"),
    "data2vec-vision": ("Data2VecVision", {**BLOCKS, "use_mean_pooling": True}, "Beit"),
    "convnext": ("ConvNext", PYRAMID, "ConvNext"),
    "convnextv2": ("ConvNextV2", PYRAMID, "ConvNext"),
    "dinov3_convnext": ("DINOv3ConvNext", PYRAMID, "DINOv3ViT"),
    "swin": (
        "Swin",
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "patch_size": 4},
        "ViT",
    ),
    "swinv2": (
        "Swinv2",
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32, "patch_size": 4},
        "ViT",
    ),
    "focalnet": (
        "FocalNet",
        {"embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3], "image_size": 32},
        "Bit",
    ),
    "resnet": (
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "ConvNext",
    ),
    "regnet": ("RegNet", {"embedding_size": 8, "groups_width": 8, **PYRAMID}, "ConvNext"),
    "bit": ("Bit", {"embedding_size": 8, "num_groups": 1, **PYRAMID, "hidden_sizes": [32, 32, 64, 64]}, "Bit"),
    "mobilenet_v2": ("MobileNetV2", {"depth_multiplier": 0.25, "image_size": 32}, "Bit"),
}
"""`model_type` -> beginning of the names of its classes, a small configuration, beginning of its processor's class."""

SIDES = {"Bit": {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
         "DeiT": {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}},
         "ConvNext": {"size": {"shortest_edge": 32}, "crop_pct": 0.875}}  # fmt: skip
"""Sizes of processors that do not squeeze an image into 32 x 32."""

TOWERS: dict[str, Any] = {
    "text_config": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 12,
    },
    "vision_config": {key: value for key, value in BLOCKS.items() if key != "num_labels"},
    "projection_dim": 8,
}  # fmt: skip


def save_image_model(kind: str, folder: Path) -> Any:
    """Save a classifier where there is one for this kind, else the encoder, with its processor; return it."""
    name, options, processor = IMAGE[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**options)
    made = getattr(transformers, f"{name}ForImageClassification", None) or getattr(transformers, f"{name}Model")
    model = made(config).eval()
    with torch.no_grad():  # LayerScale and the like begin as nothing
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    save_processor(processor, folder)
    return model


def save_processor(name: str, folder: Path, **options: Any) -> None:
    """Write the configuration of an image processor, as repositories of the hub have it."""
    made = getattr(transformers, f"{name}ImageProcessor")
    given = {**SIDES.get(name, {"size": {"height": 32, "width": 32}}), **options}
    made(**given).save_pretrained(folder)


def save_text_model(kind: str, folder: Path, *, context: int = 12, positions: int = 12) -> Any:
    """Save a model with both encoders, its processor and a tokenizer of a few words; return it."""
    names = {"clip": "CLIP", "siglip": "Siglip", "altclip": "AltCLIP", "chinese_clip": "ChineseCLIP"}
    name = names[kind]
    torch.manual_seed(0)
    towers = json.loads(json.dumps(TOWERS))
    numbers = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1 if kind in ("clip", "siglip") else 2}
    vocabulary = 60 if positions == 64 else len(WORDS) + 4
    towers["text_config"] |= {"vocab_size": vocabulary, "max_position_embeddings": positions, **numbers}
    if kind == "altclip":
        towers["text_config"] |= {"project_dim": 8, "max_position_embeddings": 15}
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**towers)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # what transformers draws is so small that all texts are nearly one
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.logit_scale.fill_(3.0)
        if kind == "siglip":
            model.logit_bias.fill_(-2.5)
    model.save_pretrained(folder)
    processors = {"clip": "CLIP", "siglip": "Siglip", "altclip": "CLIP", "chinese_clip": "ChineseCLIP"}
    size = {} if kind == "siglip" else {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    save_processor(processors[kind], folder, **size)
    save_tokenizer(folder, pad="</s>" if kind in ("clip", "siglip") else "<pad>", context=context)
    return model


def save_tokenizer(folder: Path, *, pad: str, context: int) -> None:
    """Write a tokenizer of whole words that folds capitals; a text is between <s> and </s>."""
    special = ["<s>", "</s>", "<pad>", "<unk>"]
    marks = {
        "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
        "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]},
    }
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in marks)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "added_tokens": [{"id": row, "content": word, **flags} for row, word in enumerate(special)],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": marks,
        },
        "model": {
            "type": "WordLevel",
            "vocab": {word: row for row, word in enumerate([*special, *WORDS])},
            "unk_token": "<unk>",
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, "pad_token": pad,
        "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def save_siglip_tokenizer(folder: Path) -> None:
    """Write SigLIP's own tokenizer, with a small vocabulary of its kind."""
    import sentencepiece

    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink(missing_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 20), model_prefix=str(folder / "spiece"), vocab_size=60,
        pad_id=-1, bos_id=-1, eos_id=1, unk_id=2, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    config = {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
