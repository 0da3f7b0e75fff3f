"""Load an editing dataset back from a Hub, as `datasets` types.

``load_dataset`` can only be aimed at the endpoint of the environment, so the files of each split are found through the
card here, downloaded with the endpoint's own cache, and opened with `datasets`' Parquet reader. Works for datasets
that ``push_to_hub`` wrote as well.
"""

from __future__ import annotations

import atexit
import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qflux_hub import cards, index, indexfile, remote
from qflux_hub.errors import NotFoundError, VerificationError
from qflux_hub.features import features
from qflux_hub.fetch import fetch_to_cache
from qflux_hub.hub import Hub, check_repo_id, open_hub
from qflux_hub.report import Progress
from qflux_hub.repos import RemoteHead, RepoState

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    from qflux_hub.localhub import LocalHub

_AT_ONCE = 4
"""Files that are downloaded at the same time."""


def load_editing_dataset(
    repo_id: str,
    split: str | None = None,
    *,
    streaming: bool = False,
    revision: str | None = None,
    token: str | None = None,
    hub: str | LocalHub | None = None,
) -> DatasetDict | Dataset | IterableDatasetDict | IterableDataset:
    """The dataset ``repo_id``: all splits by name, or the one called ``split``.

    Columns: ``id``, ``control_images`` (list of images, main first), ``control_mask`` and ``target_image`` (image or
    None), ``prompt``, and what else the source brought. Videos and sounds have columns of their own, ``target_video``
    and so on, and come as {"bytes", "path"}; of a dataset that is not streamed, ``cast_column(name, datasets.Video())``
    decodes them. ``streaming`` reads rows over the network as they are taken and needs no disk; otherwise files are
    downloaded once and kept in the cache of that hub. ``revision``: branch, tag or commit. Raises AuthError (no token,
    wrong token, gated), NotFoundError (repo, revision, or split: the message lists those there are), HubError.
    """
    check_repo_id(repo_id)
    with ExitStack() as stack:
        connected = stack.enter_context(open_hub(hub, token))
        state = connected.state(repo_id, revision)
        files = _files(connected, repo_id, state)
        wanted = [split] if split else list(files)
        if split is not None and split not in files:
            raise NotFoundError(f"{repo_id} has no split {split!r}.", hint=f"It has: {', '.join(files) or 'none'}.")
        if not files:
            raise NotFoundError(f"{repo_id} holds no Parquet files.", hint="Was it uploaded as a dataset?")
        if streaming:
            loaded: dict[str, Any] = {name: _stream(connected, repo_id, state, name, files[name]) for name in wanted}
            atexit.register(stack.pop_all().close)  # rows are read later: an embedded hub must go on serving
        else:
            loaded = _download(connected, repo_id, state, {name: files[name] for name in wanted})
    if split:
        return loaded[split]
    from datasets import DatasetDict, IterableDatasetDict

    return IterableDatasetDict(loaded) if streaming else DatasetDict(loaded)


def _files(hub: Hub, repo_id: str, state: RepoState) -> dict[str, list[str]]:
    """Split -> its Parquet files in name order: as the card says, else by the names that `datasets` goes by."""
    paths = sorted(path for path in state.files if path.endswith(".parquet") and not path.startswith("."))
    described: Mapping[str, Sequence[str]] = {}
    if remote.CARD in state.files:
        described = cards.read_card(remote.card_text(hub.read(repo_id, remote.CARD, state.commit))).files or {}
    if described:
        found = {
            split: [path for path in paths if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)]
            for split, patterns in described.items()
        }
    else:
        found = {}
        for path in paths:
            folder, _, name = path.rpartition("/")
            split = name.split("-")[0] if folder in ("", "data") else folder.rpartition("/")[2]
            found.setdefault(split.removesuffix(".parquet"), []).append(path)
    return {split: paths for split, paths in found.items() if paths}


def _download(hub: Hub, repo_id: str, state: RepoState, files: Mapping[str, Sequence[str]]) -> dict[str, Dataset]:
    from datasets import Dataset, NamedSplit

    with _silence():
        folder = _fetch(hub, repo_id, state, [path for paths in files.values() for path in paths])
        cache = str(hub.cache_dir / "datasets") if hub.cache_dir else None
        return {
            split: Dataset.from_parquet(
                [str(folder / path) for path in paths],
                split=NamedSplit(split),
                features=_features(folder / paths[0]),
                cache_dir=cache,
            )
            for split, paths in files.items()
        }


def _fetch(hub: Hub, repo_id: str, state: RepoState, paths: Sequence[str]) -> Path:
    """Have files in the cache, compared with the hashes that the Hub lists; the folder they lie in.

    Raises VerificationError, HubError.
    """

    def fetch(file: RemoteHead) -> None:
        fetch_to_cache(hub, repo_id, file, state.commit, Progress(), "dataset")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(fetch, hub.heads(repo_id, paths, state.commit)))
    return hub.cache_of(repo_id, "dataset") / "snapshots" / state.commit


def _stream(hub: Hub, repo_id: str, state: RepoState, split: str, paths: Sequence[str]) -> IterableDataset:
    from datasets import IterableDataset, NamedSplit

    with hub.open(repo_id, paths[0], state.commit, state.files[paths[0]].size) as file:
        features = _features(file, _as_streamed)
    return IterableDataset.from_generator(
        _rows,
        features=features,
        gen_kwargs={"paths": list(paths), "hub": hub, "repo_id": repo_id, "state": state, "name": split},
        split=NamedSplit(split),
    )


def _rows(paths: Sequence[str], hub: Hub, repo_id: str, state: RepoState, name: str) -> Iterator[dict[str, Any]]:
    """The rows of some files, one row group in memory at a time. `datasets` gives each worker its share of files.

    Images that the index knows are compared with their recorded hashes. Raises VerificationError.
    """
    import pyarrow.parquet as pq

    known = _recorded(hub, repo_id, state, name)
    for path in paths:
        with hub.open(repo_id, path, state.commit, state.files[path].size) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(batch_size=16, row_groups=[group]):
                    for row in batch.to_pylist():
                        recorded = known.get((path, row.get("id", "")))
                        if recorded is not None and _hashes(row) != recorded:
                            raise VerificationError(
                                f"The images of {row['id']!r} in {path} came with other bytes than were uploaded.",
                                hint="Try again; if it stays so, the Hub's storage or something on the way is damaged.",
                            )
                        yield {name: _without_local_path(value) for name, value in row.items()}


def _without_local_path(value: Any) -> Any:
    """A file's cell; its path is dropped where a file here has it, because `datasets` would read that one instead."""
    if isinstance(value, list):
        return [_without_local_path(one) for one in value]
    is_here = isinstance(value, dict) and value.get("bytes") is not None and value.get("path")
    return {**value, "path": None} if is_here and Path(value["path"]).is_file() else value


def _recorded(hub: Hub, repo_id: str, state: RepoState, split: str) -> dict[tuple[str, str], tuple[bytes, ...]]:
    """(shard, id) -> the hashes of its images, for shards that lie on the Hub as the index says."""
    path = index.path(split)
    if path not in state.files:
        return {}
    try:
        written = indexfile.read(hub.read(repo_id, path, state.commit), path)
    except VerificationError:  # an index that cannot be read proves nothing about the rows
        return {}
    there = {name: file.sha256 for name, file in state.files.items()}
    return {
        (row.shard, row.id): tuple(sorted(media.sha256 for media in row.media))
        for row in written.entries
        if row.shard in written.shards and there.get(row.shard) == written.shards[row.shard].sha256
    }


def _hashes(row: Mapping[str, Any]) -> tuple[bytes, ...]:
    cells = (one for value in row.values() for one in (value if isinstance(value, list) else [value]))
    return tuple(sorted(hashlib.sha256(one["bytes"]).digest() for one in cells if isinstance(one, dict)))


def _features(file: Any, kept: Callable[[Any], Any] | None = None) -> Any:
    """The features that a Parquet file declares, in the documented order of columns; None when it declares none.

    ``kept``: what is made of each feature, by default ``_as_stored``.
    """
    import pyarrow.parquet as pq
    from datasets import Features

    schema = pq.read_schema(file)
    if b"huggingface" not in (schema.metadata or {}):
        return None
    declared = Features.from_arrow_schema(schema)
    told = [*json.loads(schema.metadata[b"huggingface"])["info"]["features"]]
    first = [name for name in (told if told[:1] == ["id"] else features(())) if name in declared]
    made = kept or _as_stored
    return Features({name: made(declared[name]) for name in [*first, *(n for n in declared if n not in first)]})


def _as_stored(feature: Any) -> Any:
    """Videos and sounds as {bytes, path}: decoding them takes torch and torchcodec, which not everybody has."""
    from datasets import Audio, List, Video

    if isinstance(feature, List):
        return List(_as_stored(feature.feature), length=feature.length)
    return replace(feature, decode=False) if isinstance(feature, (Audio, Video)) else feature


def _as_streamed(feature: Any) -> Any:
    """The same for streams, where `datasets` wants torchcodec for a sound that is not decoded, too."""
    from datasets import Audio, List, Value

    if isinstance(feature, List):
        return List(_as_streamed(feature.feature), length=feature.length)
    stored = {"bytes": Value("binary"), "path": Value("string")}
    return stored if isinstance(feature, Audio) else _as_stored(feature)


@contextmanager
def _silence() -> Iterator[None]:
    """No progress bars from the libraries: who wants progress passes a Progress."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
