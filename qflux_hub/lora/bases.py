"""The base models that LoRAs are trained on: Hub id, family, licence, and what they do.

Licences are those that the models' own cards name; where there was doubt, none is given here and the card of an upload
says so. A family is what a file's keys and shapes can tell; which of its models it was, they cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Pipeline = Literal["image-to-image", "text-to-image", "text-to-video", "image-to-video"]

_FLUX = ("other", "flux-1-dev-non-commercial-license")
_KLEIN = ("other", "flux-non-commercial-license")
_SD3 = ("other", "stabilityai-ai-community")


@dataclass(frozen=True, slots=True)
class Base:
    """One base model. ``license_name`` and ``license_link`` are for licences that the Hub calls ``other``."""

    id: str
    family: str
    pipeline: Pipeline
    license: str = ""
    license_name: str = ""

    @property
    def license_link(self) -> str:
        """Where the text of a licence of its own stands."""
        return f"https://huggingface.co/{self.id}/blob/main/LICENSE.md" if self.license == "other" else ""


_ALL = (
    Base("Qwen/Qwen-Image", "qwen-image", "text-to-image", "apache-2.0"),
    Base("Qwen/Qwen-Image-Edit", "qwen-image", "image-to-image", "apache-2.0"),
    Base("Qwen/Qwen-Image-Edit-2509", "qwen-image", "image-to-image", "apache-2.0"),
    Base("Qwen/Qwen-Image-Edit-2511", "qwen-image", "image-to-image", "apache-2.0"),
    Base("Qwen/Qwen-Image-Layered", "qwen-image", "image-to-image", "apache-2.0"),
    Base("black-forest-labs/FLUX.1-dev", "flux1", "text-to-image", *_FLUX),
    Base("black-forest-labs/FLUX.1-schnell", "flux1", "text-to-image", "apache-2.0"),
    Base("black-forest-labs/FLUX.1-Kontext-dev", "flux1", "image-to-image", *_FLUX),
    Base("black-forest-labs/FLUX.1-Fill-dev", "flux1", "image-to-image", *_FLUX),
    Base("lodestones/Chroma1-HD", "chroma", "text-to-image", "apache-2.0"),
    Base("black-forest-labs/FLUX.2-dev", "flux2", "image-to-image", "other", "flux-dev-non-commercial-license"),
    Base("black-forest-labs/FLUX.2-klein-4B", "flux2-klein-4b", "image-to-image", "apache-2.0"),
    Base("black-forest-labs/FLUX.2-klein-9B", "flux2-klein-9b", "image-to-image", *_KLEIN),
    Base("stable-diffusion-v1-5/stable-diffusion-v1-5", "sd15", "text-to-image", "creativeml-openrail-m"),
    Base("stabilityai/stable-diffusion-2-1", "sd2", "text-to-image", "openrail++"),
    Base("stabilityai/stable-diffusion-xl-base-1.0", "sdxl", "text-to-image", "openrail++"),
    Base("stabilityai/stable-diffusion-3-medium-diffusers", "sd3", "text-to-image"),
    Base("stabilityai/stable-diffusion-3.5-medium", "sd3", "text-to-image", *_SD3),
    Base("stabilityai/stable-diffusion-3.5-large", "sd3.5-large", "text-to-image", *_SD3),
    Base("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "wan-1.3b", "text-to-video", "apache-2.0"),
    Base("Wan-AI/Wan2.1-T2V-14B-Diffusers", "wan-14b", "text-to-video", "apache-2.0"),
    Base("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "wan-14b-i2v", "image-to-video", "apache-2.0"),
    Base("Wan-AI/Wan2.1-I2V-14B-720P-Diffusers", "wan-14b-i2v", "image-to-video", "apache-2.0"),
    Base("Wan-AI/Wan2.2-T2V-A14B-Diffusers", "wan-14b", "text-to-video", "apache-2.0"),
    Base("Wan-AI/Wan2.2-I2V-A14B-Diffusers", "wan-14b", "image-to-video", "apache-2.0"),
    Base("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "wan2.2-5b", "text-to-video", "apache-2.0"),
    Base("Lightricks/LTX-Video", "ltx", "text-to-video"),
    Base("Lightricks/LTX-Video-0.9.7-dev", "ltx-13b", "text-to-video"),
    Base("Lightricks/LTX-2", "ltx2", "text-to-video"),
    Base("hunyuanvideo-community/HunyuanVideo", "hunyuan-video", "text-to-video"),
    Base("Tongyi-MAI/Z-Image-Turbo", "z-image", "text-to-image", "apache-2.0"),
    Base("Tongyi-MAI/Z-Image", "z-image", "text-to-image", "apache-2.0"),
)  # fmt: skip
BASES: Mapping[str, Base] = {base.id: base for base in _ALL}

WORDS: Mapping[str, tuple[str, ...]] = {
    "flux.1_kontext": ("black-forest-labs/FLUX.1-Kontext-dev",),
    "flux.1": ("black-forest-labs/FLUX.1-dev",),
    "flux1-dev": ("black-forest-labs/FLUX.1-dev",),
    "flux-1-dev": ("black-forest-labs/FLUX.1-dev",),
    "flux-1-schnell": ("black-forest-labs/FLUX.1-schnell",),
    "flux-1-kontext": ("black-forest-labs/FLUX.1-Kontext-dev",),
    "chroma": ("lodestones/Chroma1-HD",),
    "flux2": ("black-forest-labs/FLUX.2-dev",),
    "flux2_klein_4b": ("black-forest-labs/FLUX.2-klein-4B",),
    "flux2_klein_9b": ("black-forest-labs/FLUX.2-klein-9B",),
    "sdxl_base_v1-0": ("stabilityai/stable-diffusion-xl-base-1.0",),
    "stable-diffusion-xl-v1-base": ("stabilityai/stable-diffusion-xl-base-1.0",),
    "sd_v1": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    "stable-diffusion-v1": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    "qwen_image": (
        "Qwen/Qwen-Image", "Qwen/Qwen-Image-Edit", "Qwen/Qwen-Image-Edit-2509", "Qwen/Qwen-Image-Edit-2511",
    ),
    "qwen_image_edit": ("Qwen/Qwen-Image-Edit",),
    "qwen_image_edit_plus": ("Qwen/Qwen-Image-Edit-2509", "Qwen/Qwen-Image-Edit-2511"),
    "wan_2.2_14b": ("Wan-AI/Wan2.2-T2V-A14B-Diffusers", "Wan-AI/Wan2.2-I2V-A14B-Diffusers"),
    "wan_2.2_5b": ("Wan-AI/Wan2.2-TI2V-5B-Diffusers",),
    "ltx2": ("Lightricks/LTX-2",),
    "zimage": ("Tongyi-MAI/Z-Image-Turbo", "Tongyi-MAI/Z-Image"),
}  # fmt: skip
"""What trainers write into metadata -> the models that it may mean. (Trainers of edits also say ``qwen_image``.)"""


def of_family(family: str) -> tuple[str, ...]:
    """The ids of a family's models."""
    return tuple(base.id for base in _ALL if base.family == family)
