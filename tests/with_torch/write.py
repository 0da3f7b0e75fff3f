"""LoRA files by the libraries that write them, small, with what is true of each in ``expected.json``.

    python tests/with_torch/write.py DIR       # in an environment with torch, safetensors, peft and diffusers

A library that is not there, or of another version than this knows, is named and left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Expected = dict[str, Any]


def pairs(down: str, up: str, modules: list[str], rank: int, width: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    tensors = {}
    for module in modules:
        tensors[down.format(module)] = torch.randn(rank, width).to(dtype)
        tensors[up.format(module)] = torch.randn(width, rank).to(dtype)
    return tensors


BLOCKS = [f"transformer_blocks.{block}.attn.{name}" for block in range(60) for name in ("to_q", "add_q_proj")]
FLAT = [name.replace(".", "_") for name in BLOCKS]


def kohya(folder: Path) -> Expected:
    tensors = pairs("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight", FLAT, 4, 3072, torch.float16)
    tensors |= {f"lora_unet_{name}.alpha": torch.tensor(2.0, dtype=torch.float16) for name in FLAT}
    metadata = {"ss_network_alpha": "2.0", "ss_network_dim": "4", "ss_base_model_version": "qwen_image"}
    save_file(tensors, folder / "style.safetensors", metadata)
    return {"format": "kohya", "rank": 4, "alpha": 2.0, "scale": 0.5, "dtype": "F16", "family": "qwen-image"}


def comfyui(folder: Path) -> Expected:
    names = ("diffusion_model.{}.lora_A.weight", "diffusion_model.{}.lora_B.weight")
    save_file(pairs(*names, BLOCKS, 8, 3072, torch.bfloat16), folder / "job.safetensors", {"format": "pt"})
    return {"format": "comfyui-peft", "rank": 8, "alpha": None, "scale": None, "dtype": "BF16", "family": "qwen-image"}


def dtypes(folder: Path) -> Expected:
    tensors = pairs("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight", ["a", "c"], 4, 8, torch.float32)
    for number, dtype in enumerate((torch.float8_e4m3fn, torch.float8_e5m2, torch.float64, torch.int64, torch.bool)):
        tensors |= pairs("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight", [f"b{number}"], 4, 8, dtype)
    save_file(tensors, folder / "dtypes.safetensors")
    return {"format": "diffusers-peft", "rank": 4, "alpha": None, "scale": None, "dtype": "F32", "family": None}


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = torch.nn.Linear(16, 16)
        self.to_k = torch.nn.Linear(16, 16)


def _peft(folder: Path, **options: Any) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k"], init_lora_weights=False, **options)
    get_peft_model(Block(), config).save_pretrained(folder)


def peft(folder: Path) -> Expected:
    _peft(folder)
    return {"format": "peft", "rank": 4, "alpha": 8.0, "scale": 2.0, "dtype": "F32", "family": None}


def peft_rslora(folder: Path) -> Expected:
    _peft(folder, use_rslora=True)
    return {"format": "peft", "rank": 4, "alpha": 8.0, "scale": 4.0, "dtype": "F32", "family": None}


def peft_dora(folder: Path) -> Expected:
    _peft(folder, use_dora=True)
    codes = ["dora-dropped"]
    return {"format": "peft", "rank": 4, "alpha": 8.0, "scale": 2.0, "dtype": "F32", "family": None, "codes": codes}


def peft_in_training(folder: Path) -> Expected:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(Block(), LoraConfig(r=4, target_modules=["to_q"]), adapter_name="lora_edit")
    kept = {name: value for name, value in model.state_dict().items() if "lora_" in name}
    save_file(kept, folder / "dump.safetensors")
    return {"format": "peft-in-training", "rank": 4, "alpha": None, "scale": None, "dtype": "F32", "family": None}


def flux(metadata: bool) -> Callable[[Path], Expected]:
    def write(folder: Path) -> Expected:
        from diffusers import FluxPipeline, FluxTransformer2DModel
        from diffusers.training_utils import _collate_lora_metadata
        from peft import LoraConfig
        from peft.utils import get_peft_model_state_dict

        model = FluxTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
        )  # fmt: skip
        model.save_pretrained(folder / "base")
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        model.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=targets, init_lora_weights="gaussian"))
        told = _collate_lora_metadata({"transformer": model}) if metadata else {}
        FluxPipeline.save_lora_weights(folder, get_peft_model_state_dict(model), **told)
        alpha, scale = (2.0, 0.5) if metadata else (None, None)
        return {"format": "diffusers-peft", "rank": 4, "alpha": alpha, "scale": scale, "dtype": "F32", "family": None}

    return write


FILES: dict[str, Callable[[Path], Expected]] = {
    "kohya": kohya,
    "comfyui": comfyui,
    "dtypes": dtypes,
    "peft": peft,
    "peft-rslora": peft_rslora,
    "peft-dora": peft_dora,
    "peft-in-training": peft_in_training,
    "diffusers": flux(metadata=False),
    "diffusers-metadata": flux(metadata=True),
}


def facts(path: Path) -> dict[str, Any]:
    """What the reference reader says of a file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        shapes = {name: list(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 - no mapping
        kinds = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
        return {"shapes": shapes, "dtypes": kinds, "metadata": opened.metadata() or {}}


def main() -> None:
    root = Path(sys.argv[1])
    expected = {}
    for name, write in FILES.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        try:
            expected[name] = write(folder)
        except ImportError as error:
            print(f"left out {name}: {error}")
            continue
        (path,) = folder.glob("*.safetensors")
        expected[name] |= {"file": str(path.relative_to(root)), "reference": facts(path)}
    (root / "expected.json").write_text(json.dumps(expected, indent=1))
    print(f"{len(expected)} files written by torch {torch.__version__}")


if __name__ == "__main__":
    main()
