"""What gives somebody away: found in texts, metadata and pictures, taken out by cleaning, and nothing else touched."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from qflux_hub.lora import leaks, pictures
from tests.builders import picture

MIXED = "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cD1fG3hJ5"
SECRETS = {
    "a Hugging Face token": f"hf_{MIXED}",
    "an OpenAI key": f"sk-proj-{MIXED}{MIXED}",
    "an Anthropic key": f"sk-ant-api03-{MIXED}",
    "a GitHub token": f"ghp_{MIXED}",
    "a GitLab token": f"glpat-{MIXED[:20]}",
    "an AWS key": "AKIAIOSFODNN7EXAMPL2",
    "a Google key": f"AIza{MIXED[:35]}",
    "a Slack token": f"xoxb-1234567890-{MIXED}",
    "a Slack webhook": f"https://hooks.slack.com/services/T000/B000/{MIXED}",
    "a Discord webhook": f"https://discord.com/api/webhooks/123456789/{MIXED}",
    "a Telegram bot token": f"123456789:{MIXED[:35]}",
    "a Replicate token": f"r8_{(MIXED + MIXED)[:37]}",
    "a Stripe key": f"sk_live_{MIXED}",
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "a JSON web token": f"eyJ{MIXED}.eyJ{MIXED}.{MIXED}",
    "a password in a URL": "postgres://anna:s3cr3tword@db.host/x",
    "a secret, by the name of its setting": f"wandb_api_key: {MIXED}",
}
HARMLESS = [
    "token: hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "export HF_TOKEN=hf_xxx",
    "token: ${HF_TOKEN}",
    "pad_token: <|endoftext|>",
    "hub_token: null",
    "tokenizer: black-forest-labs/FLUX.1-dev",
    "learning_rate: 0.0001",
    "sha256: 4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a",
    "max_token_length: 225",
    "https://huggingface.co/Qwen/Qwen-Image-Edit",
    "Qwen/Qwen-Image-Edit-2509",
    "target_modules: transformer_blocks.0.attn.to_q",
    "betas: 0.9/0.999",
    "noreply@users.noreply.github.com",
    "prompt: a man at home/work",
]


def codes(text: str) -> list[str]:
    return [finding.code for finding in leaks.scan_text("c.yaml", text)]


@pytest.mark.parametrize("what", SECRETS)
def test_secrets_of_known_services_are_found_named_and_cleaned(what):
    line = f"value = {SECRETS[what]} # rest\n" if ":" not in what and "setting" not in what else SECRETS[what] + "\n"
    (found,) = [one for one in leaks.scan_text("c.yaml", line) if one.code == "secret-found"]
    assert found.message == f"c.yaml:1 holds what looks like {what}."
    assert found.severity == "error"
    assert MIXED[:20] not in str(found)
    assert "secret-found" not in codes(leaks.clean_text(line))


@pytest.mark.parametrize("line", HARMLESS)
def test_what_only_looks_a_little_like_it_is_left_alone(line):
    assert codes(line) == []
    assert leaks.clean_text(line) == line


def test_the_whole_of_a_private_key_is_taken_out():
    key = f"a: |\n  -----BEGIN RSA PRIVATE KEY-----\n  {MIXED}\n  {MIXED}\n  -----END RSA PRIVATE KEY-----\nb: 1\n"
    assert leaks.clean_text(key) == "a: |\n  [removed]\nb: 1\n"


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("data: /home/anna/projects/faces/train.json", "data: train.json"),
        ("out: '/mnt/nas/clients/acme/out'", "out: 'out'"),
        ("a: /Users/anna/Desktop/x.png, b: 2", "a: x.png, b: 2"),
        (r"path: C:\Users\anna\lora\cfg.toml", "path: cfg.toml"),
        (r'{"p": "D:\\data\\set\\a.png"}', '{"p": "a.png"}'),
        (r"share: \\server\photos\a.png", "share: a.png"),
        ("model: /workspace/models/Qwen-Image-Edit/", "model: Qwen-Image-Edit"),
    ],
)
def test_paths_are_found_and_their_last_part_stays(line, cleaned):
    assert "path-found" in codes(line)
    assert leaks.clean_text(line) == cleaned
    assert codes(cleaned) == []


def test_names_come_from_homes_and_mail_addresses():
    assert "name-found" in codes("x: /home/anna/data/y.txt")
    assert "name-found" in codes("author: anna.b@mail.org")
    assert "name-found" not in codes("x: /home/ubuntu/data/y.txt")


def test_lines_are_counted():
    (found,) = leaks.scan_text("c.yaml", f"a: 1\nb: 2\ntoken: hf_{MIXED}\n")
    assert (found.line, found.place) == (3, "c.yaml:3")


def test_metadata_keeps_what_loaders_need():
    metadata = {
        "format": "pt",
        "ss_network_alpha": "8",
        "ss_tag_frequency": '{"10_anna": {"anna": 3}}',
        "ss_output_name": "/home/anna/out",
        "modelspec.title": "Style",
        "modelspec.thumbnail": "data:image/jpeg;base64,xxxx",
        "lora_adapter_metadata": "{}",
    }
    found = {one.code for one in leaks.scan_metadata("a.safetensors", metadata)}
    assert found == {"captions-found", "path-found", "name-found"}
    cleaned = leaks.clean_metadata(metadata)
    assert cleaned.keys() == {"format", "ss_network_alpha", "modelspec.title", "lora_adapter_metadata"}
    assert list(leaks.scan_metadata("a.safetensors", cleaned)) == []


def test_json_stays_json_when_it_is_cleaned():
    text = json.dumps({"a": "/home/anna/x/y.json", "b": ["c", 1, None, True], "d": {"mail": "a.b@mail.org"}})
    assert json.loads(leaks.clean_json(text)) == {"a": "y.json", "b": ["c", 1, None, True], "d": {"mail": "[removed]"}}


@given(st.text())
def test_any_text_can_be_scanned_and_cleaning_is_enough(text):
    cleaned = leaks.clean_text(text)
    assert not [one for one in leaks.scan_text("t", cleaned) if one.severity == "error"]


# --- pictures ---------------------------------------------------------------------------------------------------

WORKFLOW = json.dumps({"3": {"class_type": "KSampler", "inputs": {"path": "/home/anna/models/x.safetensors"}}})


def _png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    out = io.BytesIO()
    Image.open(io.BytesIO(picture("a.png", (20, 10)))).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _with_exif(format: str, *, gps: bool = False, comment: str = "", orientation: int = 1) -> bytes:
    image = Image.open(io.BytesIO(picture("a.png", (20, 10)))).convert("RGB")
    exif = Image.Exif()
    exif[0x0131] = "a camera"  # without any entry of its own, a PNG is written without EXIF
    if gps:
        exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)
        exif.get_ifd(0x8825)[1] = "N"
    if comment:
        exif[0x010E] = comment
    if orientation != 1:
        exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, format, exif=exif)
    return out.getvalue()


def found_in(data: bytes) -> set[str]:
    return {one.code for one in pictures.scan_image("a.png", data)}


def pixels(data: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size, image.tobytes()


LEAKY = {
    "a workflow in a PNG": (_png(workflow=WORKFLOW), {"workflow-found", "path-found", "name-found"}),
    "parameters in a PNG": (_png(parameters="a cat\nNegative prompt: dog"), {"workflow-found"}),
    "a position in a JPEG": (_with_exif("JPEG", gps=True), {"position-found"}),
    "a position in a WebP": (_with_exif("WEBP", gps=True), {"position-found"}),
    "a position in a PNG": (_with_exif("PNG", gps=True), {"position-found"}),
    "a path in a JPEG": (_with_exif("JPEG", comment="made in /home/anna/x/y"), {"path-found", "name-found"}),
    "a workflow in a WebP": (_with_exif("WEBP", comment=f"workflow:{WORKFLOW}"),
                             {"workflow-found", "path-found", "name-found"}),
}  # fmt: skip


@pytest.mark.parametrize("what", LEAKY)
def test_what_pictures_say_is_found_and_cleaned_without_touching_a_pixel(what):
    data, expected = LEAKY[what]
    assert found_in(data) == expected
    cleaned = pictures.clean_image(data)
    assert found_in(cleaned) == set()
    assert pixels(cleaned) == pixels(data)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG"])
def test_an_orientation_stays_when_the_rest_goes(format):
    cleaned = pictures.clean_image(_with_exif(format, gps=True, comment="x", orientation=6))
    with Image.open(io.BytesIO(cleaned)) as image:
        assert dict(image.getexif()) == {0x0112: 6}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.gif"])
def test_a_picture_that_says_nothing_says_nothing(name):
    assert found_in(picture(name)) == set()
    assert pixels(pictures.clean_image(picture(name))) == pixels(picture(name))


def test_what_is_no_picture_is_left_as_it_is():
    assert found_in(b"no picture") == set()
    assert pictures.clean_image(b"no picture") == b"no picture"
