"""What a LoRA file is, by its keys, shapes and metadata; and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qflux_hub import compare_loras, inspect_lora
from qflux_hub.cli import run
from qflux_hub.errors import NotFoundError, UsageError
from qflux_hub.localhub import LocalHub, RequestLog
from qflux_hub.lora.describe import Lora
from qflux_hub.report import Progress
from tests.jobtools import api, network
from tests.weights import NAMES, QWEN, lora, numbers, pack, put, raw, scalar, shapes, zeros


def look(tmp_path: Path, data: bytes, name: str = "a.safetensors", **options) -> Lora:
    return inspect_lora(put(tmp_path / name, data), **options)


def codes(described: Lora) -> list[str]:
    return [finding.code for finding in described.findings]


# --- formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", NAMES)
def test_every_format_is_told_by_its_keys(tmp_path, format):
    found = look(tmp_path, lora(format, ["double_blocks.0", "double_blocks.1"], rank=3))
    assert (found.format, found.rank, found.pairs, found.valid) == (format, 3, 2, True)


@pytest.mark.parametrize(
    "names",
    [
        ("lycoris_transformer_blocks_0_attn_to_q.lokr_w1", "lycoris_transformer_blocks_0_attn_to_q.lokr_w2_a"),
        ("lora_unet_x.hada_w1_a", "lora_unet_x.hada_w2_b"),
        ("lora_unet_x.a1.weight", "lora_unet_x.b2.weight"),
        ("diffusion_model.blocks.0.ffn.0.diff", "diffusion_model.blocks.0.ffn.0.diff_b"),
        ("lora_unet_x.oft_blocks", "lora_unet_y.oft_blocks"),
    ],
)
def test_other_algorithms_are_told_as_lycoris(tmp_path, names):
    found = look(tmp_path, pack({name: numbers((4, 4)) for name in names}))
    assert (found.format, found.rank, found.valid) == ("lycoris", None, True)


def test_every_tensor_votes_and_a_minority_is_reported(tmp_path):
    more = {"lora_unet_x.lora_down.weight": numbers((2, 8)), "lora_unet_x.lora_up.weight": numbers((8, 2))}
    found = look(tmp_path, lora("diffusers-peft", QWEN[:4], more=more))
    assert found.format == "diffusers-peft"
    assert "mixed-formats" in codes(found)


def test_dora_magnitudes_are_reported_because_loaders_drop_them(tmp_path):
    found = look(tmp_path, lora("kohya", ["a_q"], alpha=2.0, more={"lora_unet_a_q.dora_scale": numbers((8,))}))
    assert codes(found) == ["dora-dropped"]


def test_adapter_names_in_keys_are_reported(tmp_path):
    found = look(tmp_path, lora("peft-in-training", ["transformer_blocks.0.attn.to_q"]))
    assert "adapter-name-in-keys" in codes(found)
    assert "'lora_edit'" in found.findings[0].message


STRANGERS = {
    "an optimizer's state": ["state.0.exp_avg", "state.0.exp_avg_sq"],
    "a textual-inversion embedding": ["emb_params"],
    "a ControlNet": ["controlnet_blocks.0.weight"],
    "a VAE": ["encoder.conv_in.weight", "decoder.conv_in.weight"],
    "a full checkpoint": ["transformer_blocks.0.attn.to_q.weight"],
    "a text encoder or language model": ["model.layers.0.self_attn.q_proj.weight"],
    "something else (its first tensor is 'weight')": ["weight"],
}


@pytest.mark.parametrize("what", STRANGERS)
def test_what_is_no_lora_is_called_by_its_name(tmp_path, what):
    found = look(tmp_path, pack({name: numbers((2, 2)) for name in STRANGERS[what]}))
    assert found.failed
    assert not found.valid
    assert f" is {what}, not a LoRA" in found.findings[0].message


def test_a_file_without_tensors_is_no_lora(tmp_path):
    assert codes(look(tmp_path, pack({}))) == ["not-a-lora"]


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("truncated-weights", lora()[:-10]),
        ("trailing-bytes", lora() + b"more"),
        ("bad-header", raw("{", b"")),
        ("not-safetensors", b"PK\x03\x04 a pickle of torch"),
    ],
)
def test_broken_files_are_described_by_what_breaks_them(tmp_path, code, data):
    found = look(tmp_path, data)
    assert (found.valid, found.format, codes(found)) == (False, None, [code])
    assert found.findings[0].fix


def test_what_a_header_should_not_hold_is_reported_and_the_file_is_read(tmp_path):
    whole = lora()
    length = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + length].decode().replace('{"dtype"', '{"note":1,"dtype"', 1)
    found = look(tmp_path, raw(header, whole[8 + length :]))
    assert (found.valid, codes(found)) == (True, ["odd-header", "missing-alpha"])
    assert found.findings[0].message.endswith("a.safetensors: entries have fields of no meaning, such as 'note'.")
    assert found.findings[0].fix == "save it again with `safetensors.torch.save_file`"


def test_tensors_beside_the_pairs_are_counted_and_named(tmp_path):
    found = look(tmp_path, lora(more={"global_step": scalar(1.0), "logit_scale": scalar(2.0)}))
    (strangers,) = (finding for finding in found.findings if finding.code == "unknown-tensors")
    assert found.valid
    assert strangers.message.endswith(": 2 tensors belong to no module of a LoRA: global_step, logit_scale.")


class Meanwhile(Progress):
    """Does something when a file is being read."""

    def __init__(self, action):
        self.action = action

    def task(self, label, total, unit="B"):
        self.action()
        return super().task(label, total, unit)


def test_weights_that_change_while_they_are_read_are_an_error(tmp_path):
    path = put(tmp_path / "a.safetensors", lora())
    found = inspect_lora(path, progress=Meanwhile(lambda: put(path, lora(rank=4))))
    assert found.failed
    assert not found.valid
    assert codes(found)[-1] == "changed-weights"
    assert found.findings[-1].fix == "run again when nothing writes to it"


# --- pairs ------------------------------------------------------------------------------------------------------


def test_half_a_pair_is_an_error(tmp_path):
    found = look(tmp_path, pack({"transformer.a.lora_A.weight": numbers((2, 8))}))
    assert "unpaired-weights" in codes(found)


def test_halves_that_do_not_fit_are_an_error(tmp_path):
    tensors = {"transformer.a.lora_A.weight": numbers((2, 8)), "transformer.a.lora_B.weight": numbers((8, 3))}
    assert "rank-mismatch" in codes(look(tmp_path, pack(tensors)))


def test_mixed_ranks_are_counted_and_the_most_frequent_one_named(tmp_path):
    tensors = shapes("diffusers-peft", ["a", "b"], rank=8) | shapes("diffusers-peft", ["c"], rank=4)
    found = look(tmp_path, pack(tensors))
    assert (found.rank, dict(found.ranks)) == (8, {8: 2, 4: 1})
    assert found.to_dict()["ranks"] == {"8": 2, "4": 1}


def test_convolutions_have_a_rank_too(tmp_path):
    tensors = {
        "lora_unet_c.lora_down.weight": numbers((4, 3, 3, 3)),
        "lora_unet_c.lora_up.weight": numbers((6, 4, 1, 1)),
    }
    assert look(tmp_path, pack(tensors)).rank == 4


def test_modules_are_told_without_their_block(tmp_path):
    found = look(tmp_path, lora("diffusers-peft", [*QWEN, "transformer_blocks.3.img_mlp.net.0.proj"], rank=1, width=2))
    assert found.modules == (
        "transformer_blocks.*.attn.add_q_proj",
        "transformer_blocks.*.attn.to_q",
        "transformer_blocks.*.img_mlp.net.0.proj",
    )


def test_dtypes_are_reported(tmp_path):
    assert "float32-weights" in codes(look(tmp_path, lora(dtype="F32")))
    mixed = look(
        tmp_path, pack(shapes("diffusers-peft", ["a", "b"]) | {"transformer.a.lora_A.weight": numbers((1, 8))})
    )
    assert (mixed.dtype, "mixed-dtypes" in codes(mixed)) == ("F16", True)


# --- alpha ------------------------------------------------------------------------------------------------------

META = {"lora_adapter_metadata": json.dumps({"transformer.r": 4, "transformer.lora_alpha": 2})}


def test_alpha_that_is_nowhere_is_said_with_the_scale_that_loaders_assume(tmp_path):
    found = look(tmp_path, lora(rank=4))
    assert (found.alpha, found.alpha_source, found.scale) == (None, None, None)
    assert found.loaders == {"diffusers": 1.0, "comfyui": 1.0}
    assert codes(found) == ["missing-alpha"]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_alpha_tensors_are_read_in_every_dtype(tmp_path, dtype):
    found = look(tmp_path, lora("kohya", QWEN[:6], rank=4, alpha=2.0, dtype=dtype))
    assert (found.alpha, found.alpha_source, found.scale) == (2.0, "alpha tensors", 0.5)
    assert found.loaders == {"diffusers": 0.5, "comfyui": 0.5}


def test_alpha_in_metadata_is_seen_by_diffusers_and_not_by_comfyui(tmp_path):
    found = look(tmp_path, lora(rank=4, metadata=META))
    assert (found.alpha, found.alpha_source, found.scale) == (2.0, "lora_adapter_metadata", 0.5)
    assert found.loaders == {"diffusers": 0.5, "comfyui": 1.0}
    assert codes(found) == ["scales-differ"]


def test_rank_stabilised_scales_divide_by_the_root(tmp_path):
    told = {"transformer.r": 4, "transformer.lora_alpha": 2, "transformer.use_rslora": True}
    found = look(tmp_path, lora(rank=4, metadata={"lora_adapter_metadata": json.dumps(told)}))
    assert found.scale == 1.0


def test_the_configurations_beside_a_file_are_read(tmp_path):
    put(tmp_path / "adapter_config.json", json.dumps({"r": 4, "lora_alpha": 8}).encode())
    found = look(tmp_path, lora("peft", rank=4), "adapter_model.safetensors")
    assert (found.alpha, found.alpha_source, found.scale, found.loaders["peft"]) == (
        8.0,
        "adapter_config.json",
        2.0,
        2.0,
    )


def test_a_trainers_configuration_is_found_one_folder_up(tmp_path):
    config = "model:\n  pretrained_model_name_or_path: Qwen/Qwen-Image-Edit\n  lora:\n    r: 4\n    lora_alpha: 2\n"
    put(tmp_path / "train_config.yaml", config.encode())
    found = look(tmp_path, lora(rank=4, modules=QWEN), "checkpoint-0-100/pytorch_lora_weights.safetensors")
    assert (found.alpha, found.alpha_source, found.scale) == (2.0, "train_config.yaml", 0.5)
    assert codes(found) == ["scales-differ"]
    assert found.family.candidates == ("Qwen/Qwen-Image-Edit",)


def test_a_configuration_that_cannot_be_read_is_reported(tmp_path):
    put(tmp_path / "train_config.yaml", b"a: !!python/object:os.system {}\n")
    assert "bad-config" in codes(look(tmp_path, lora()))


def test_two_alphas_are_reported_and_not_settled(tmp_path):
    found = look(tmp_path, lora("kohya", rank=4, alpha=2.0, metadata={"ss_network_alpha": "4"}))
    assert codes(found) == ["alpha-conflict"]
    assert "alpha tensors says 2; metadata ss_network_alpha says 4" in found.findings[0].message


def test_peft_without_its_configuration_is_reported(tmp_path):
    assert "no-adapter-config" in codes(look(tmp_path, lora("peft")))


# --- families ---------------------------------------------------------------------------------------------------


def _blocks(pattern: str, count: int, *names: str) -> list[str]:
    return [pattern.format(block) + name for block in range(count) for name in names]


FAMILIES = {
    "qwen-image": ("diffusers-peft", QWEN, 3072, "high"),
    "flux1": (
        "diffusers-peft",
        [*_blocks("transformer_blocks.{}.", 19, "ff.x"), *_blocks("single_transformer_blocks.{}.", 38, "attn.to_q")],
        3072,
        "high",
    ),
    "chroma": ("comfyui-peft", ["distilled_guidance_layer.in_proj", "double_blocks.0.img_attn.qkv"], 3072, "high"),
    "flux2": ("diffusers-peft", _blocks("single_transformer_blocks.{}.", 48, "attn.to_qkv_mlp_proj"), 6144, "high"),
    "flux2-klein-9b": ("diffusers-peft", _blocks("single_transformer_blocks.{}.", 24, "ff.linear_in"), 4096, "high"),
    "flux2-klein-4b": (
        "comfyui-peft",
        [*_blocks("double_blocks.{}.", 5, "img_attn.qkv"), *_blocks("single_blocks.{}.", 20, "linear1")],
        3072,
        "low",
    ),
    "hunyuan-video": (
        "kohya",
        [*_blocks("double_blocks.{}.", 20, "img_attn_qkv"), *_blocks("single_blocks.{}.", 40, "linear1")],
        3072,
        "high",
    ),
    "sd3": ("diffusers-peft", _blocks("transformer_blocks.{}.", 24, "attn.to_q", "attn.add_q_proj"), 1536, "high"),
    "sd3.5-large": ("diffusers-peft", _blocks("transformer_blocks.{}.", 38, "attn.to_q"), 2432, "high"),
    "wan-14b": ("comfyui-peft", _blocks("blocks.{}.", 40, "self_attn.q", "cross_attn.k", "ffn.0"), 5120, "high"),
    "wan-1.3b": ("diffsynth", _blocks("blocks.{}.", 30, "self_attn.q"), 1536, "high"),
    "wan-14b-i2v": ("comfyui-peft", _blocks("blocks.{}.", 40, "self_attn.q", "cross_attn.k_img"), 5120, "high"),
    "wan2.2-5b": ("diffusers-peft", _blocks("blocks.{}.", 30, "attn1.to_q", "attn2.to_q"), 3072, "high"),
    "ltx": ("diffusers-peft", _blocks("transformer_blocks.{}.", 28, "attn1.to_q", "attn2.to_k"), 2048, "medium"),
    "ltx-13b": ("diffusers-peft", _blocks("transformer_blocks.{}.", 48, "attn1.to_q"), 4096, "medium"),
    "ltx2": ("diffusers-peft", _blocks("transformer_blocks.{}.", 48, "attn1.to_q", "audio_attn1.to_q"), 4096, "high"),
    "z-image": ("diffusers-peft", _blocks("layers.{}.", 30, "attention.to_q"), 3840, "high"),
    "sd15": ("kohya", ["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"], 768, "high"),
    "sd2": ("diffusers-old", ["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"], 1024, "high"),
    "sdxl": ("kohya", ["input_blocks.4.1.transformer_blocks.0.attn2.to_k"], 2048, "high"),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_told_by_names_and_widths(tmp_path, family):
    format, modules, width, confidence = FAMILIES[family]
    found = look(tmp_path, pack(shapes(format, modules, width=width)))
    assert (found.family.name, found.family.confidence) == (family, confidence)
    assert found.family.candidates
    assert found.family.evidence


def test_what_keys_cannot_tell_apart_is_listed(tmp_path):
    found = look(tmp_path, pack(shapes("diffusers-peft", QWEN, width=3072)))
    assert found.family.candidates == (
        "Qwen/Qwen-Image",
        "Qwen/Qwen-Image-Edit",
        "Qwen/Qwen-Image-Edit-2509",
        "Qwen/Qwen-Image-Edit-2511",
        "Qwen/Qwen-Image-Layered",
    )


def test_metadata_settles_the_variant(tmp_path):
    format, modules, width, _ = FAMILIES["flux1"]
    found = look(tmp_path, pack(shapes(format, modules, width=width), {"ss_base_model_version": "flux.1_kontext"}))
    assert found.family.candidates == ("black-forest-labs/FLUX.1-Kontext-dev",)
    assert found.family.confidence == "high"


def test_metadata_that_the_shapes_contradict_is_not_believed(tmp_path):
    found = look(
        tmp_path, pack(shapes("diffusers-peft", QWEN, width=3072), {"ss_base_model_version": "sdxl_base_v1-0"})
    )
    assert (found.family.name, found.family.confidence) == ("qwen-image", "low")


def test_a_family_that_is_not_known_is_not_guessed(tmp_path):
    found = look(tmp_path, lora("peft-bare", ["some.module"]))
    assert (found.family.name, found.family.confidence, found.family.candidates) == (None, "none", ())


def test_trigger_words_and_training_facts_come_from_metadata(tmp_path):
    metadata = {
        "ss_tag_frequency": json.dumps({"10_cat": {"zwx cat": 20, "on a wall": 3}}),
        "ss_steps": "1200",
        "ss_num_train_images": "20",
        "software": json.dumps({"name": "ai-toolkit"}),
    }
    found = look(tmp_path, lora("kohya", alpha=2.0, metadata=metadata))
    assert found.trigger == ("zwx cat",)
    assert found.training == {"steps": "1200", "images": "20", "software": "ai-toolkit"}


# --- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "nan", "infinity"),
    [
        ("BF16", "c07f", "807f"),
        ("F16", "007e", "007c"),
        ("F32", "0000c07f", "0000807f"),
        ("F64", "000000000000f87f", "000000000000f07f"),
    ],
)
def test_numbers_that_are_none_are_found(tmp_path, dtype, nan, infinity):
    for bits, code in ((nan, "nan-weights"), (infinity, "infinite-weights")):
        kind, shape, data = numbers((4, 8), dtype)
        bits = bytes.fromhex(bits)
        tensors = {"transformer.a.lora_A.weight": (kind, shape, bits + data[len(bits) :])}
        tensors["transformer.a.lora_B.weight"] = numbers((8, 4), dtype)
        path = put(tmp_path / f"{code}.safetensors", pack(tensors))
        assert code not in codes(inspect_lora(path))
        found = inspect_lora(path, full=True)
        assert code in codes(found)
        assert not found.valid


def test_a_lora_of_sound_numbers_is_said_to_be_sound(tmp_path):
    found = look(tmp_path, lora(alpha=2.0), full=True)
    assert (found.values_checked, codes(found)) == (True, ["missing-alpha"])


def test_a_lora_that_changes_nothing_is_reported(tmp_path):
    tensors = {"transformer.a.lora_A.weight": numbers((2, 8)), "transformer.a.lora_B.weight": zeros((8, 2))}
    found = look(tmp_path, pack(tensors), full=True)
    assert "no-effect" in codes(found)
    assert found.valid


def test_a_tail_of_zeros_is_a_file_that_is_still_being_written(tmp_path):
    whole = lora(modules=QWEN, rank=2, width=64)
    found = look(tmp_path, whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2), full=True)
    assert "zero-tail" in codes(found)
    assert not found.valid


def test_hashes_are_of_the_file_and_of_the_tensors_alone(tmp_path):
    import hashlib

    plain, told = lora(alpha=1.0), lora(alpha=1.0, metadata={"a": "b"})
    one, two = look(tmp_path, plain, "1.safetensors"), look(tmp_path, told, "2.safetensors")
    assert one.sha256 == hashlib.sha256(plain).hexdigest()
    assert one.sha256 != two.sha256
    assert one.tensor_sha256 == two.tensor_sha256


# --- comparing --------------------------------------------------------------------------------------------------


def test_a_file_is_the_same_as_its_copy_under_other_metadata(tmp_path):
    a = put(tmp_path / "a.safetensors", lora(metadata={"v": "1"}))
    b = put(tmp_path / "b.safetensors", lora(metadata={"v": "2"}))
    found = compare_loras(a, b).to_dict()
    assert found["same_tensors"] is True
    assert found["keys"] == {"added": [], "removed": []}
    assert found["changed"] == {"metadata.v": {"a": "1", "b": "2"}}
    assert "modules" not in found


def test_differences_are_named_with_both_sides(tmp_path):
    a = put(tmp_path / "a.safetensors", lora("kohya", ["a", "b"], rank=2, alpha=2.0))
    b = put(tmp_path / "b.safetensors", lora("kohya", ["b", "c"], rank=4, alpha=2.0))
    found = compare_loras(a, b).to_dict()
    assert found["changed"]["rank"] == {"a": 2, "b": 4}
    assert found["changed"]["scale"] == {"a": 1.0, "b": 0.5}
    assert found["changed"]["lora_unet_b.lora_down.weight"] == {"a": "BF16 [2, 8]", "b": "BF16 [4, 8]"}
    assert found["keys"]["added"] == ["lora_unet_c.alpha", "lora_unet_c.lora_down.weight", "lora_unet_c.lora_up.weight"]


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_norms_and_cosines_are_those_of_the_whole_products(tmp_path, dtype):
    import numpy as np

    def product(seed: str) -> np.ndarray:
        halves = []
        for shape, side in (((3, 10), "A"), ((10, 3), "B")):
            kind, _, data = numbers(shape, dtype, f"{seed}mod{side}")
            if kind == "BF16":
                values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
            else:
                values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[kind])
            halves.append(values.reshape(shape).astype("f8"))
        return halves[1] @ halves[0]

    a = put(tmp_path / "a.safetensors", lora("kohya", ["mod"], rank=3, width=10, alpha=3.0, dtype=dtype, seed="1"))
    b = put(tmp_path / "b.safetensors", lora("kohya", ["mod"], rank=3, width=10, alpha=1.5, dtype=dtype, seed="2"))
    (module,) = compare_loras(a, b, full=True).modules
    left, right = product("1"), product("2") / 2
    assert module.a == pytest.approx(np.linalg.norm(left), rel=1e-3)
    assert module.b == pytest.approx(np.linalg.norm(right), rel=1e-3)
    assert module.cosine == pytest.approx((left * right).sum() / np.linalg.norm(left) / np.linalg.norm(right), abs=1e-3)


def test_the_same_module_under_two_namings_is_compared(tmp_path):
    a = put(tmp_path / "a.safetensors", lora("diffusers-peft", ["x.to_q"]))
    b = put(tmp_path / "b.safetensors", lora("kohya", ["x.to_q"], alpha=2.0))
    (module,) = compare_loras(a, b, full=True).modules
    assert module.cosine == pytest.approx(1.0)


# --- on a Hub ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def remote(hub: LocalHub) -> str:
    """A repo with one wide LoRA and its configuration."""
    client = api(hub)
    client.create_repo("me/wide-lora")
    data = pack(
        shapes("kohya", QWEN, rank=1, width=3072) | {"lora_unet_transformer_blocks_0_attn_to_q.alpha": scalar(0.5)}
    )
    for name, content in (("weights.safetensors", data), ("notes.txt", b"hello")):
        client.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="me/wide-lora")
    return "me/wide-lora"


def test_a_file_on_a_hub_is_described_by_one_range(hub: LocalHub, remote: str, hub_log: list[RequestLog]):
    hub_log.clear()
    found = inspect_lora(f"{remote}/weights.safetensors", hub=hub)
    assert (found.format, found.rank, found.family.name, found.alpha) == ("kohya", 1, "qwen-image", 0.5)
    assert found.commit == api(hub).model_info(remote).sha
    assert (found.size, len(found.sha256 or "")) == (found.size, 64)
    storage = [request for request in hub_log if "/storage/" in request.path]
    assert len(storage) <= 2
    assert sum(request.bytes_sent for request in hub_log) < 1_000_000


def test_a_repo_is_enough_where_it_has_one_candidate(hub: LocalHub, remote: str):
    assert inspect_lora(remote, hub=hub).path == f"{remote}/weights.safetensors"
    assert inspect_lora(f"{remote}@main", hub=hub, full=True).values_checked


def test_a_revision_is_named_once(hub: LocalHub, remote: str):
    with pytest.raises(UsageError, match="names another revision"):
        inspect_lora(f"{remote}@main", hub=hub, revision="dev")
    with pytest.raises(NotFoundError, match="revision 'nope'"):
        inspect_lora(f"{remote}@nope/weights.safetensors", hub=hub)


def test_a_revision_is_of_a_repo(hub: LocalHub, remote: str, tmp_path: Path):
    here = put(tmp_path / "a.safetensors", lora())
    with pytest.raises(UsageError, match=r"--revision is for a repo, and .*a\.safetensors' is looked for on this disk"):
        inspect_lora(here, revision="v1")
    with pytest.raises(UsageError, match=r"--revision .* are looked for on this disk"):
        compare_loras(here, str(here), revision="v1")
    assert compare_loras(here, remote, hub=hub, revision="main").b.path == f"{remote}@main/weights.safetensors"


@pytest.mark.parametrize("full", [False, True])
def test_a_file_that_a_repo_does_not_have_is_told_with_those_it_has(hub: LocalHub, remote: str, full: bool):
    with pytest.raises(NotFoundError, match=r"me/wide-lora has no file 'weight\.safetensors'") as missing:
        inspect_lora(f"{remote}/weight.safetensors", hub=hub, full=full)
    assert "Did you mean 'weights.safetensors'? There is: weights.safetensors (" in missing.value.hint


def test_a_server_that_ignores_ranges_is_cut_off(hub: LocalHub):
    client = api(hub)
    client.create_repo("me/long-lora")
    data = pack(shapes("diffusers-peft", QWEN, rank=64, width=3072)) + b""
    client.upload_file(path_or_fileobj=data, path_in_repo="a.safetensors", repo_id="me/long-lora")
    with network(hub) as way:
        taken = []

        def whole(method, path, answer):
            if "/resolve/" in path and answer.status in (302, 307):
                answer.status, answer.headers = 200, [h for h in answer.headers if h[0].lower() != "location"]
                answer.body = data
                taken.append(path)
            return answer

        way.after = whole
        found = inspect_lora("me/long-lora/a.safetensors", hub=way.url, token=hub.token)
    assert (found.rank, found.size) == (64, len(data))
    assert taken


@pytest.mark.parametrize("full", [False, True])
def test_the_configuration_in_a_repo_tells_its_base(hub: LocalHub, repo: str, full: bool):
    config = b"model:\n  pretrained_model_name_or_path: Qwen/Qwen-Image-Edit-2509\n  lora: {r: 2, lora_alpha: 1}\n"
    client = api(hub)
    client.create_repo(repo)
    for name, content in (("a.safetensors", lora(modules=QWEN[:4], width=3072)), ("train_config.yaml", config)):
        client.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo)
    found = inspect_lora(f"{repo}/a.safetensors", hub=hub, full=full)
    assert (found.family.candidates, found.alpha, found.scale) == (("Qwen/Qwen-Image-Edit-2509",), 1.0, 0.5)


def test_two_revisions_are_compared(hub: LocalHub, tmp_path: Path):
    client = api(hub)
    client.create_repo("me/two-revisions")
    for number in (1, 2):
        data = lora("kohya", alpha=number, rank=2)
        client.upload_file(path_or_fileobj=data, path_in_repo="a.safetensors", repo_id="me/two-revisions")
        client.create_tag("me/two-revisions", tag=f"v{number}")
    found = compare_loras("me/two-revisions@v1", "me/two-revisions@v2", hub=hub, full=True)
    assert found.changed["alpha"] == {"a": 1.0, "b": 2.0}
    assert found.same_tensors is False
    assert [round(module.cosine or 0, 3) for module in found.modules or ()] == [1.0, 1.0]
    assert found.changed["scale in diffusers"] == {"a": 0.5, "b": 1.0}


def test_a_comparison_names_the_modules_that_changed_and_counts_the_rest(tmp_path: Path, capsys):
    pairs = {f"transformer.m.{n}.lora_{s}.weight": numbers((2, 2), seed=f"{n}{s}") for n in range(3) for s in "AB"}
    turned = pairs | {"transformer.m.1.lora_A.weight": numbers((2, 2), seed="other")}
    files = [put(tmp_path / f"{name}.safetensors", pack(given)) for name, given in (("a", pairs), ("b", turned))]
    arguments = ["compare-lora", *map(str, files), "--full"]
    assert run(arguments) == 0
    told = capsys.readouterr().out
    assert "3 modules, 1 different, cosine " in told
    assert [line.split()[0] for line in told.splitlines() if line.startswith("m.")] == ["m.1"]
    assert run([*arguments, "--verbose"]) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines() if line.startswith("m.")] == ["m.1", "m.0", "m.2"]
    assert run([arguments[0], str(files[0]), str(files[0]), "--full"]) == 0
    assert "3 modules, all the same." in capsys.readouterr().out


def test_what_is_neither_here_nor_a_repo_is_not_found(tmp_path: Path):
    with pytest.raises(NotFoundError, match="There is no"):
        inspect_lora(str(tmp_path / "nope.safetensors"))
    with pytest.raises(NotFoundError, match="There is no out/nope"):
        inspect_lora("out/nope.safetensors")
