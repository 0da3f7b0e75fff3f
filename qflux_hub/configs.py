"""What the front matter of a dataset's card tells `datasets` and the Hub's viewer: ``configs`` and ``dataset_info``.

Of both, the entry of the config named ``default`` is ours. ``dataset_info`` is exact or absent: `datasets` refuses to
load a split whose number of examples differs, or that is missing from the list.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qflux_hub.errors import DataError
from qflux_hub.frontmatter import FrontMatter, KeyPath, take_apart
from qflux_hub.naming import split_rank

DEFAULT = "default"
"""The config that is ours, and the one that `load_dataset` takes when none is named."""

_LISTS = {"sequence": "Sequence", "list": "List", "large_list": "LargeList"}
_MEDIA = ("image", "audio", "video", "pdf", "nifti", "mesh")
"""Features that need nothing but their name; every other word under ``dtype`` is a type of Arrow."""


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What the card says of one split. ``bytes`` is the size of its shards, ``files`` the glob that finds them.

    ``controls`` is the (least, most) number of control images per sample; ``masks`` and ``targets`` count the samples
    that have one; ``formats`` counts all images by the name of their format.
    """

    name: str
    samples: int
    bytes: int
    files: str
    controls: tuple[int, int] = (1, 1)
    masks: int = 0
    targets: int = 0
    formats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says of one config.

    ``files`` are the globs of each split, from the top of the repo; None when the card leaves them to the file names.
    ``features`` are in `datasets`' JSON form; None when it does not say, or not in a readable way.
    """

    files: Mapping[str, tuple[str, ...]] | None = None
    features: Mapping[str, Any] | None = None
    samples: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)


def read_card(text: str, config: str = DEFAULT) -> CardFacts:
    """What the card of a dataset repo says of ``config``. Raises DataError, naming the line, if it is not readable."""
    matter = take_apart(text).matter
    at = _position(_configs(matter), config)
    files = None if at is None else _files(matter, _configs(matter)[at])
    infos, _ = _infos(matter)
    at = _position(infos, config)
    sizes = _sized(infos, config)
    return CardFacts(
        files,
        None if at is None else _features(infos[at].get("features")),
        {name: item["num_examples"] for name, item in sizes.items()},
        {name: item["num_bytes"] for name, item in sizes.items()},
    )


def with_files(matter: FrontMatter, splits: Sequence[SplitFacts], drop: Collection[str]) -> FrontMatter:
    """With the files of ``splits`` in the default config."""
    configs = _configs(matter)
    for number, item in enumerate(configs):
        if item.get("default") and item["config_name"] != DEFAULT:
            reason = f"is marked as the default one, beside which a config named {DEFAULT!r} cannot be loaded"
            raise matter.refusal(f"the config {item['config_name']!r} {reason}", ("configs", number, "default"))
    wanted: list[dict[str, Any]] = [{"split": split.name, "path": split.files} for split in splits]
    at = _position(configs, DEFAULT)
    if at is None:
        entry = {"config_name": DEFAULT, "data_files": wanted}
        return matter.insert(("configs",), len(configs), entry) if configs else matter.put(("configs",), [entry])
    if configs[at].get("data_dir"):
        reason = f"the config {DEFAULT!r} has a `data_dir`, in which qflux's files do not lie"
        raise matter.refusal(reason, ("configs", at, "data_dir"))
    path: KeyPath = ("configs", at, "data_files")
    files = configs[at].get("data_files")
    if not (isinstance(files, list) and files and all(isinstance(item, dict) for item in files)):
        kept = _files(matter, configs[at]) or {}
        ours = {split.name for split in splits}
        for name, globs in kept.items():
            if name not in ours and name not in drop:
                wanted.append({"split": name, "path": globs[0] if len(globs) == 1 else list(globs)})
        return matter.put(path, sorted(wanted, key=lambda item: split_rank(item["split"])))
    _files(matter, configs[at])
    return _with_items(matter, path, "split", wanted, drop)


def with_info(matter: FrontMatter, splits: Sequence[SplitFacts], features: Mapping[str, Any]) -> FrontMatter:
    """With features and sizes of the default config; sizes only if they are known of every split that it has."""
    infos, single = _infos(matter)
    known = _sized(infos, DEFAULT)
    wanted: dict[str, dict[str, Any]] = {
        split.name: {"name": split.name, "num_bytes": split.bytes, "num_examples": split.samples} for split in splits
    }
    configs = _configs(matter)
    listed = _files(matter, configs[_position(configs, DEFAULT) or 0]) or {}
    kept = [name for name in listed if name not in wanted]
    entry: dict[str, Any] = {"features": _yaml_features(features)}
    if all(name in known for name in kept):
        everything = {**{name: known[name] for name in kept}, **wanted}
        size = sum(item["num_bytes"] for item in everything.values())
        entry["splits"] = sorted(everything.values(), key=lambda item: split_rank(item["name"]))
        entry |= {} if kept else {"download_size": size}  # bytes to download are not known of others' files
        entry["dataset_size"] = size
    at = _position(infos, DEFAULT)
    if not infos:
        return matter.put(("dataset_info",), entry)
    if at is None:
        matter = matter.enlist(("dataset_info",)) if single else matter
        return matter.insert(("dataset_info",), len(infos), {"config_name": DEFAULT, **entry})
    path: KeyPath = ("dataset_info",) if single else ("dataset_info", at)
    for key, value in entry.items():
        old = infos[at].get(key)
        if key == "splits" and isinstance(old, list) and old and all(isinstance(item, dict) for item in old):
            stale = [str(item.get("name")) for item in old if str(item.get("name")) not in listed]
            matter = _with_items(matter, (*path, key), "name", value, stale)
        else:
            matter = matter.put((*path, key), value)
    for key in ("splits", "download_size", "dataset_size"):
        if key in infos[at] and key not in entry:
            matter = matter.drop((*path, key))
    return matter


def _with_items(
    matter: FrontMatter, path: KeyPath, key: str, wanted: Iterable[dict[str, Any]], drop: Collection[str]
) -> FrontMatter:
    """With ``wanted`` in a list of mappings named by ``key``, and none named as in ``drop`` nor twice.

    What is there stays where it is; what is new goes before the first that ranks behind it.
    """
    for item in wanted:
        names = _names(matter, path, key)
        if item[key] in names:
            for name, value in item.items():
                matter = matter.put((*path, names.index(item[key]), name), value)
        else:
            behind = [at for at, name in enumerate(names) if split_rank(name) > split_rank(item[key])]
            matter = matter.insert(path, behind[0] if behind else len(names), item)
    names = _names(matter, path, key)
    for at in reversed(range(len(names))):
        if names[at] in drop or names[at] in names[:at]:
            matter = matter.drop((*path, at))
    return matter


def _names(matter: FrontMatter, path: KeyPath, key: str) -> list[str]:
    value: Any = matter.data
    for step in path:
        value = value[step]
    return [str(item.get(key)) for item in value]


def _configs(matter: FrontMatter) -> list[dict[str, Any]]:
    configs = matter.data.get("configs") or []
    if not isinstance(configs, list) or not all(isinstance(item, dict) and "config_name" in item for item in configs):
        raise matter.refusal("`configs` must be a list of entries that have a `config_name`", ("configs",))
    return configs


def _infos(matter: FrontMatter) -> tuple[list[dict[str, Any]], bool]:
    """The entries of ``dataset_info``, and whether it is a single one rather than a list."""
    infos = matter.data.get("dataset_info") or []
    entries = [infos] if isinstance(infos, dict) else infos
    if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
        reason = "`dataset_info` must be a mapping, or a list of mappings that have a `config_name`"
        raise matter.refusal(reason, ("dataset_info",))
    return entries, isinstance(infos, dict)


def _position(entries: Sequence[Mapping[str, Any]], config: str) -> int | None:
    return next((at for at, item in enumerate(entries) if item.get("config_name", DEFAULT) == config), None)


def _sized(infos: Sequence[Mapping[str, Any]], config: str) -> dict[str, dict[str, Any]]:
    """The entries of splits that have both of their sizes."""
    at = _position(infos, config)
    items = [] if at is None else _as_list(infos[at].get("splits"))
    keys = ("name", "num_bytes", "num_examples")
    sized = [{key: item[key] for key in keys} for item in items if isinstance(item, dict) and {*keys} <= {*item}]
    return {str(item["name"]): item for item in sized if all(isinstance(item[key], int) for key in keys[1:])}


def _files(matter: FrontMatter, config: Mapping[str, Any]) -> dict[str, tuple[str, ...]] | None:
    """The globs of each split, from any of the forms that `datasets` accepts."""
    files, folder = config.get("data_files"), config.get("data_dir")
    if files is None:
        return None
    found: dict[str, Any]
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(item, str) for item in files)):
        found = {"train": files} if files else {}
    elif isinstance(files, dict):
        found = {str(split): globs for split, globs in files.items()}
    elif isinstance(files, list) and all(isinstance(item, dict) and {"split", "path"} <= {*item} for item in files):
        found = {str(item["split"]): item["path"] for item in files}
    else:
        raise _bad_files(matter, config)
    split = {name: [globs] if isinstance(globs, str) else globs for name, globs in found.items()}
    if not all(isinstance(globs, list) and all(isinstance(glob, str) for glob in globs) for globs in split.values()):
        raise _bad_files(matter, config)
    return {name: tuple(f"{folder}/{glob}" if folder else glob for glob in globs) for name, globs in split.items()}


def _bad_files(matter: FrontMatter, config: Mapping[str, Any]) -> DataError:
    name = config.get("config_name")
    reason = f"`data_files` of the config {name!r} must be globs, or a list of `split` and `path`"
    return matter.refusal(reason, ("configs", _position(_configs(matter), str(name)) or 0, "data_files"))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# Features, between the JSON form of Parquet metadata and the YAML form of cards


def _yaml_features(features: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, **_yaml_feature(feature)} for name, feature in features.items()]


def _yaml_feature(feature: Mapping[str, Any]) -> dict[str, Any]:
    kind = feature.get("_type")
    if kind is None:
        return {"struct": _yaml_features(feature)}
    rest = {key: value for key, value in feature.items() if key not in ("_type", "feature")}
    for word, name in _LISTS.items():
        if kind == name:
            inner = _yaml_feature(feature["feature"])
            return {word: next(iter(inner.values())) if [*inner] in (["dtype"], ["struct"]) else inner, **rest}
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
    return rest if kind == "Value" else {"dtype": {snake: rest} if rest else snake}


def _features(value: Any) -> dict[str, Any] | None:
    """The JSON form of a list of features; None when it is not one."""
    try:
        return {item["name"]: _json_feature({k: v for k, v in item.items() if k != "name"}) for item in value}
    except (TypeError, KeyError, AttributeError, StopIteration):
        return None


def _json_feature(feature: Any) -> Any:
    if isinstance(feature, list):
        return _features(feature)
    for word, kind in _LISTS.items():
        if word in feature:
            inner = {"dtype": feature[word]} if isinstance(feature[word], str) else feature[word]
            rest = {key: value for key, value in feature.items() if key != word}
            return {"feature": _json_feature(inner), **rest, "_type": kind}
    if "struct" in feature:
        return _features(feature["struct"])
    kind = feature["dtype"]
    if isinstance(kind, str):
        return {"_type": kind.capitalize()} if kind in _MEDIA else {**feature, "_type": "Value"}
    word, rest = next(iter(kind.items()))
    if isinstance(rest.get("names"), dict):  # class labels have numbered names in YAML
        rest = {**rest, "names": [*rest["names"].values()]}
    return {**rest, "_type": "".join(part.capitalize() for part in word.split("_"))}
