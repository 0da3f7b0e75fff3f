"""What must not leave the machine: tokens, paths and names, in texts and in the metadata of safetensors files.

Tokens are known by the forms that their services give them, and by the name of the setting that holds them. Findings
never repeat a secret. The ``clean_`` twins take out what the scans find.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from qflux_hub import codes
from qflux_hub.report import Finding

REMOVED = "[removed]"

_TOKENS: tuple[tuple[str, str], ...] = (
    ("a Hugging Face token", r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}\b"),
    ("a Hugging Face OAuth token", r"\bhf_(?:oauth|jwt)_[A-Za-z0-9._-]{20,}"),
    ("an OpenAI key", r"\bsk-(?!ant-)(?:proj-|svcacct-|admin-)?[A-Za-z0-9_-]{32,}"),
    ("an Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("an AWS key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a Google key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("a Slack token", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    ("a Slack webhook", r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}"),
    ("a Discord webhook", r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d+/[\w-]{30,}"),
    ("a Telegram bot token", r"\b\d{8,10}:[A-Za-z0-9_-]{35}\b"),
    ("a Replicate token", r"\br8_[A-Za-z0-9]{37}\b"),
    ("a Stripe key", r"\b[sr]k_live_[A-Za-z0-9]{20,}"),
    ("a Runpod key", r"\brpa_[A-Z0-9]{30,}"),
    ("a PyPI token", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("a password in a URL", r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]+:(?P<value>[^\s/@'\"]{3,})@"),
)
_SETTING = re.compile(
    r"""(?ix) \b [\w.-]* (?:api[_-]?key|access[_-]?key|secret(?:[_-]?key)?|password|passwd|credentials?
    |(?:access|auth|hub|hf|api|bot|bearer)[_-]?token|(?<![a-z])token)
    ["']? \s* [:=] \s* (?:["']?bearer\s+)? ["']? (?P<value>[^\s"',;}\]]{8,})"""
)
"""``wandb_api_key: 0123…``: secrets that only the name of their setting gives away."""
_KEY_BLOCK = re.compile(r"-----BEGIN ((?:[A-Z]+ )*)PRIVATE KEY-----[\s\S]*?(?:-----END \1PRIVATE KEY-----|\Z)")
_PLACEHOLDER = re.compile(
    r"(?i)^[<$%{\[]|x{4,}|\*{3,}|\.{3}|^(?:none|null|true|false|your|changeme|example|env|os\.)|_here\b"
)

_ROOTS = (
    "home|Users|root|mnt|data|datasets?|media|workspace|var|tmp|srv|opt|scratch|gpfs|lustre|nfs\\w*|fsx?|shared|Volumes"
    "|kaggle|content|export|private|raid|ssd\\w*|nvme\\w*|storage|projects?|work|runs?|outputs?|models?|app|efs|dfs"
)
_STOP = r"\s\"'`<>|,;:*?(){}\[\]\\"
_PATH = re.compile(rf"(?<![\w./:~@-])/(?:{_ROOTS})(?:/[^{_STOP}/]+)+/?")
_WINDOWS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]:(?:\\\\?|/)(?:[^\s\"'`<>|*?:\\/]+(?:\\\\?|/))+[^\s\"'`<>|*?:\\/,;]*")
_SHARE = re.compile(r"(?<![\w\\])\\\\(?:\\\\)?[\w.-]+\\[^\s\"'`<>|*?]+")
_HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:(?:\\\\?|/)Users(?:\\\\?|/))(?P<name>[^\s/\\\"'`,;:]+)")
_NOBODY = frozenset({"user", "users", "ubuntu", "root", "admin", "runner", "jovyan", "shared", "public", "name", "you"})
_MAIL = re.compile(r"(?<![\w.+/-])[\w.+-]+@(?!(?:users\.noreply|example)\.)[\w-]+\.[a-z]{2,}(?:\.[a-z]{2,})?\b")

KEPT_METADATA = (
    "format", "ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha",
    "ss_network_args", "lora_adapter_metadata", "lora_alpha", "network_alpha", "alpha", "trigger_words", "trigger_word",
    "instance_prompt", "base_model",
)  # fmt: skip
"""What ``--scrub`` leaves of a LoRA's metadata, beside ``modelspec.*``: the minimum of kohya's tools, and alpha."""
_TELLING = (
    "ss_tag_frequency", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets", "ss_bucket_info",
    "ss_training_comment", "modelspec.thumbnail", "workflow", "prompt",
)  # fmt: skip


def scan_text(where: str, text: str, *, lines: bool = True) -> Iterator[Finding]:
    """What a text gives away, with its lines. One finding per line and kind."""
    for number, line in enumerate(text.splitlines(), 1):
        place = number if lines else None
        for what, _ in _secrets(line):
            yield codes.SECRET_FOUND(
                where, f"{_at(where, place)} holds what looks like {what}.", line=place, fix=_REVOKE
            )
        paths = [found for _, found in _paths(line)]
        if paths:
            yield codes.PATH_FOUND(
                where, f"{_at(where, place)} names a folder of this machine: {_short(paths[0])}", line=place
            )
        names = sorted({found["name"] for found in _HOME.finditer(line)} - _NOBODY)
        names += [found.group() for found in _MAIL.finditer(line) if not _in_secret(line, found.start())]
        if names:
            yield codes.NAME_FOUND(where, f"{_at(where, place)} names {', '.join(map(repr, names[:3]))}.", line=place)


_REVOKE = "Revoke it at its service, take it out of the file, or upload a cleaned copy: --scrub"


def clean_text(text: str) -> str:
    """The text without what ``scan_text`` finds: secrets and names go, of a path the last part stays."""
    text = _KEY_BLOCK.sub(REMOVED, text)
    return "".join(_clean_line(line) for line in text.splitlines(keepends=True))


def _clean_line(line: str) -> str:
    for _, (begin, end) in sorted(_secrets(line), key=lambda found: found[1], reverse=True):
        line = line[:begin] + REMOVED + line[end:]
    for (begin, end), path in sorted(_paths(line), reverse=True):
        line = line[:begin] + re.split(r"[/\\]+", path.rstrip("/\\"))[-1] + line[end:]
    return _MAIL.sub(REMOVED, line)


def _secrets(line: str) -> list[tuple[str, tuple[int, int]]]:
    """(what, where) of the secrets in a line, none inside another."""
    found: list[tuple[str, tuple[int, int]]] = []
    for what, pattern in _TOKENS:
        for match in re.finditer(pattern, line):
            group = "value" if "value" in match.groupdict() else 0
            if not _PLACEHOLDER.search(match.group(group)):
                found.append((what, match.span(group)))
    for match in _SETTING.finditer(line):
        value = match["value"]
        if _is_random(value) and not _PLACEHOLDER.search(value):
            found.append(("a secret, by the name of its setting", match.span("value")))
    kept: list[tuple[str, tuple[int, int]]] = []
    for what, (begin, end) in found:
        if not any(begin < other_end and other_begin < end for _, (other_begin, other_end) in kept):
            kept.append((what, (begin, end)))
    return kept


def _in_secret(line: str, at: int) -> bool:
    return any(begin <= at < end or "URL" in what for what, (begin, end) in _secrets(line))


def _is_random(value: str) -> bool:
    """Whether a value looks drawn by lot: long, of letters and digits, no path, and not a few letters over and over."""
    if len(value) < 16 or "/" in value or not re.search(r"[A-Za-z]", value) or not re.search(r"\d", value):
        return False
    counts = Counter(value)
    entropy = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return entropy > 3.0


def _paths(line: str) -> list[tuple[tuple[int, int], str]]:
    found = [(match.span(), match.group()) for pattern in (_PATH, _WINDOWS, _SHARE) for match in pattern.finditer(line)]
    return [one for one in found if not any(other[0][0] < one[0][0] < other[0][1] for other in found)]


def _at(where: str, line: int | None) -> str:
    return where if line is None else f"{where}:{line}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


# --- metadata of safetensors files ------------------------------------------------------------------------------


def scan_metadata(where: str, metadata: Mapping[str, str]) -> Iterator[Finding]:
    """What the header of a LoRA gives away, by its keys."""
    for key, value in metadata.items():
        yield from scan_text(f"{where} ({key})", value, lines=False)
    telling = [key for key in _TELLING if metadata.get(key, "").strip() not in ("", "None", "{}", "null")]
    if telling:
        fix = "Upload a copy with the keys that loaders need: --scrub"
        message = f"{where} holds facts of the training data in its metadata: {', '.join(telling)}."
        yield codes.CAPTIONS_FOUND(where, message, fix=fix)


def clean_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """What loaders and readers need of it, without secrets, paths and names."""
    kept = {
        key: value
        for key, value in metadata.items()
        if key in KEPT_METADATA or (key.startswith("modelspec.") and key != "modelspec.thumbnail")
    }
    return {key: clean_text(value) for key, value in kept.items()}


def clean_json(text: str) -> str:
    """A text of JSON, cleaned value by value, so that it stays JSON."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return clean_text(value) if isinstance(value, str) else value

    return json.dumps(walk(json.loads(text)), indent=2, ensure_ascii=False) + "\n"
