"""The libraries load what we repaired, and use the scale that we promised.

python tests/with_torch/load.py DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def main() -> None:
    root = Path(sys.argv[1])
    for copy in sorted((root / "ours").glob("*.safetensors")):
        original = next(one for one in (root / copy.stem).glob("*.safetensors"))
        ours, theirs = load_file(copy), load_file(original)
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
        print(f"the same tensors: {copy.stem}")
    copy = root / "ours" / "diffusers.safetensors"
    if copy.exists():
        (original,) = (root / "diffusers").glob("*.safetensors")
        used = [scale_in_diffusers(root / "diffusers" / "base", path) for path in (original, copy)]
        assert used == [1.0, 0.5], used
        print("diffusers assumes the scale 1 where alpha is lost, and uses 0.5 where we wrote it")


def scale_in_diffusers(base: Path, copy: Path) -> float:
    from diffusers import FluxPipeline, FluxTransformer2DModel
    from diffusers.loaders import FluxLoraLoaderMixin

    model = FluxTransformer2DModel.from_pretrained(base, low_cpu_mem_usage=False)
    told = FluxPipeline.lora_state_dict(str(copy.parent), weight_name=copy.name, return_lora_metadata=True)
    state, metadata = told[0], told[-1]
    FluxLoraLoaderMixin.load_lora_into_transformer(
        state,
        network_alphas=None,
        transformer=model,
        adapter_name="ours",
        metadata=metadata,
        low_cpu_mem_usage=False,
    )
    scales = {layer.scaling["ours"] for layer in model.modules() if hasattr(layer, "scaling") and layer.scaling}
    (scale,) = scales
    return float(scale)


if __name__ == "__main__":
    main()
