"""Rules about names: repo ids, paths, refs, and the patterns of ``.gitignore`` and ``.gitattributes``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from qflux_hub.localhub.problems import HttpError

_REPO_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REF_NAME = re.compile(
    r"(?!.*\.\.)(?!.*//)(?!.*@\{)(?!.*\.lock$)[^\x00-\x20\x7f~^:?*\[\\./-][^\x00-\x20\x7f~^:?*\[\\]*(?<![./])"
)

ARCHIVES = (
    "7z arrow avro bin bz2 ckpt ftz gguf gz h5 joblib lz4 mds mlmodel model msgpack npy npz onnx ot parquet "
    "pb pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst"
)
MEDIA = "pcm sam raw aac flac mp3 ogg wav bmp gif png tiff jpg jpeg webp mp4 webm"


def check_repo_name(name: str) -> None:
    """400 unless ``name`` (without namespace) may name a repo."""
    if not _REPO_NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", ".ipynb")):
        raise HttpError(
            400,
            f"Invalid repo name: {name!r}. Use letters, digits, '-', '_' and '.', at most 96; '--' and '..' are "
            "forbidden, '-' and '.' cannot start or end it, and it cannot end with '.git' or '.ipynb'",
        )


def check_ref_name(name: str) -> None:
    """400 unless ``name`` may name a branch or a tag."""
    if not _REF_NAME.fullmatch(name) or name.startswith("refs/"):
        raise HttpError(400, f"Invalid reference name: {name!r}")


def check_path(path: str) -> str:
    """``path`` as it stands in a tree; 422 when it could mean anything but a plain file below the root."""
    parts = path.split("/")
    wrong = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    # The real Hub takes a backslash as a character of a name, but not in a path that begins with "..\\".
    if (
        wrong
        or path.startswith("..\\")
        or any(ord(char) < 32 or ord(char) == 127 for char in path)
        or len(path.encode()) > 1024
    ):
        raise HttpError(422, f"Invalid path in repo: {path!r}")
    return path


def default_attributes(repo_type: str) -> str:
    """The ``.gitattributes`` that a new repo starts with: which files go to large file storage."""
    extensions = ARCHIVES + (" " + MEDIA if repo_type == "dataset" else "")
    lines = [f"*.{extension} filter=lfs diff=lfs merge=lfs -text" for extension in extensions.split()]
    lines += ["saved_model/**/* filter=lfs diff=lfs merge=lfs -text", "*.tar.* filter=lfs diff=lfs merge=lfs -text"]
    lines += ["*tfevents* filter=lfs diff=lfs merge=lfs -text"]
    return "\n".join(lines) + "\n"


def is_lfs(attributes: str, path: str) -> bool:
    """Whether ``.gitattributes`` sends a path to large file storage. The last matching line decides."""
    decided = False
    for line in attributes.splitlines():
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        for attribute in fields[1:]:
            if attribute.lstrip("-!").partition("=")[0] == "filter" and _matches(fields[0].strip('"'), path):
                decided = attribute == "filter=lfs"
    return decided


def is_ignored(ignore: str, path: str) -> bool:
    """Whether ``.gitignore`` leaves a path out. A pattern for a folder covers what is below it; ``!`` takes back."""
    rules = [line.rstrip() for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    parts = path.split("/")
    below = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(_decide(rules, candidate, is_folder=candidate != path) for candidate in below)


def _decide(rules: Iterable[str], path: str, *, is_folder: bool) -> bool:
    ignored = False
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("\\")
        if pattern.endswith("/") and not is_folder:
            continue
        if _matches(pattern.rstrip("/"), path):
            ignored = not rule.startswith("!")
    return ignored


def _matches(pattern: str, path: str) -> bool:
    # A pattern with a slash is anchored at the root, one without matches the last name at any depth.
    anchored = "/" in pattern
    subject = path if anchored else path.rpartition("/")[2]
    return _compiled(pattern.removeprefix("/")).fullmatch(subject) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    text = ""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if pattern.startswith("**/", position):
            text, position = text + "(?:.*/)?", position + 3
            continue
        if pattern.startswith("**", position):
            text, position = text + ".*", position + 2
            continue
        if char == "[" and (end := pattern.find("]", position + 2)) > 0:
            inner = pattern[position + 1 : end].replace("\\", "\\\\")
            text, position = text + "[" + ("^" + inner[1:] if inner[0] in "!^" else inner) + "]", end + 1
            continue
        text += {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char)
        position += 1
    try:
        return re.compile(text)
    except re.error:
        return re.compile(re.escape(pattern))
