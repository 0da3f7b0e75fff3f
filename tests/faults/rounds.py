"""One round: a dataset, a hub, a bad network, some runs of the real command that are hit by faults, one that is not;
and what must hold after each of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import resource
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.utils import get_session

from qflux_hub import cards, index, indexfile, load_editing_dataset
from qflux_hub.localhub import fsck
from tests.faults.breaking import Breaker, Fault, after_a_while, draw, now
from tests.faults.data import Row, Source, Splits
from tests.faults.hub import KillableHub
from tests.jobtools import environment, network, start

REPO = "me/ds"
PATIENCE = 1.5
"""Seconds that a client waits for a silent hub; four times that with transfers."""
LONGEST = 150
"""Seconds that no run may take: five repetitions with all their pauses, and a machine with other work."""
EXTRA = 300_000
"""Bytes of indexes and lists of chunks that a run may send beside its shards."""


class BrokenError(AssertionError):
    """Something that must hold does not."""


@dataclass(slots=True)
class Run:
    """One run of the command under a fault: how often that struck, the exit code, seconds."""

    fault: Fault
    struck: int
    code: int
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What a round came to. ``again`` is how many bytes arrived beyond those of the dataset, where that is known."""

    number: int
    kind: str
    runs: list[Run] = field(default_factory=list)
    again: int | None = None
    source: int = 0
    broken: str = ""

    def __str__(self) -> str:
        faults = "; ".join(f"{run.fault} -> {run.code}{'' if run.struck else ' (not reached)'}" for run in self.runs)
        return f"round {self.number}, {self.kind}: {faults}"


@dataclass(slots=True)
class Round:
    """A round that is being played. ``allowed`` are the states that may show: those before, and the one wanted."""

    number: int
    folder: Path
    rng: Random
    outcome: Outcome
    hub: KillableHub
    breaker: Breaker
    source: Source
    url: str = ""
    options: list[str] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)
    allowed: list[Splits] = field(default_factory=lambda: [{}])
    blobs: dict[str, bytes] = field(default_factory=dict)


def play(number: int, seed: int, scratch: Path) -> Outcome:
    """Play one round; everything about it follows from ``seed`` and ``number``, but for the moments of threads."""
    rng = Random(f"{seed}-{number}")  # noqa: S311 - repeatable on purpose
    folder = scratch / f"round-{number}"
    xet = rng.random() < 0.75
    kind = rng.choice(("first", "first", "edit", "shared", "race"))
    outcome = Outcome(number, f"{kind}, {'Xet' if xet else 'LFS'}")
    hub = KillableHub(folder / "served")
    breaker = Breaker(hub)
    try:
        with network(hub, before=breaker.before, sent=breaker.sent, after=breaker.after) as way:
            source = Source.make(folder / "ds", rng)
            game = Round(number, folder, rng, outcome, hub, breaker, source, way.url)
            game.options = ["--shard-size", str(source.shard_size), "--workers", str(rng.choice((1, 1, 2, 3)))]
            game.machine = _machine(game, "mine", xet=xet)
            try:
                _play(game, kind, xet=xet)
            finally:
                breaker.arm(None)
    except BrokenError as error:
        outcome.broken = str(error)
    finally:
        hub.close()
        if not outcome.broken:
            shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _machine(game: Round, name: str, *, xet: bool) -> dict[str, str]:
    return environment(
        game.folder / name,
        HF_ENDPOINT=game.url,
        HF_TOKEN=game.hub.token,
        HF_HUB_DISABLE_XET="0" if xet else "1",
        HF_XET_CLIENT_RETRY_BASE_DELAY="1s",
        QFLUX_PATIENCE=str(PATIENCE),
        TMPDIR=str(_made(game.folder / name / "tmp")),
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _play(game: Round, kind: str, *, xet: bool) -> None:
    rng, source = game.rng, game.source
    theirs: dict[str, Row] = {}
    if kind != "first":
        _run_well(game)
        if kind == "shared":
            theirs = _others_add(game, xet=xet)
        elif kind == "race":
            theirs = _both_add(game, xet=xet)
        before = source.rows()
        game.allowed = [{**before, "train": before["train"] | theirs}]
        source.edit()
    wanted = _want(game, theirs)
    for _ in range(rng.randrange(1, 5)):
        fault = draw(rng, xet=xet, new=len(game.allowed) == 2 and kind == "first", tagged="--tag" in game.options)
        _run_badly(game, fault)
        shown = _nothing_is_half(game)
        if game.outcome.runs[-1].code == 0 and shown != wanted:
            raise BrokenError(f"{game.outcome.runs[-1].fault}: it ended with 0, and the Hub shows something else")
        if shown == wanted:  # also when the run did not live to tell
            if kind == "first" and game.outcome.again is None:
                _little_is_sent_again(game)
            source.edit()
            wanted = _want(game, theirs)
    _run_well(game)
    if _nothing_is_half(game) != wanted:
        raise BrokenError("the dataset on the Hub is not the source")
    _loads(game, wanted)
    report = fsck(game.hub.dir)
    if not report.is_sound:
        raise BrokenError(f"the hub is damaged: {report.damages[:3]}")
    if "Traceback" in game.hub.errors() and not any(run.fault.kind == "hub full" for run in game.outcome.runs):
        raise BrokenError(f"the hub had a bug: {game.hub.errors()[-2000:]}")
    if kind == "first" and game.outcome.again is None:
        _little_is_sent_again(game)


def _want(game: Round, theirs: Mapping[str, Row]) -> Splits:
    """What the Hub is to show from now on: the source, and what others added. Sometimes under a tag."""
    wanted = game.source.rows()
    wanted["train"] |= theirs
    game.allowed.append(wanted)
    game.options = game.options[:4] + (["--tag", f"v{len(game.allowed)}"] if game.rng.random() < 0.3 else [])
    return wanted


# --- runs -------------------------------------------------------------------------------------------------------


def _upload(game: Round) -> list[str]:
    return ["upload-dataset", str(game.source.root), REPO, "--json", *game.options]


def _run_well(game: Round) -> dict[str, Any]:
    """The command without a fault: it ends with 0."""
    game.breaker.arm(None)
    code, out, said, _ = _wait(game, lambda _process: None)
    if code != 0:
        raise BrokenError(f"the run without a fault ended with {code}: {said[-1500:]} {out[-500:]}")
    return dict(json.loads(out))


def _run_badly(game: Round, fault: Fault) -> None:
    """The command under a fault: it ends in time, as documented, without a traceback."""

    def begin(process: Any) -> None:
        game.breaker.arm(fault, process.kill)
        if fault.kind == "kill later":
            after_a_while(0.2 + 4 * fault.value, process.kill)
        elif fault.kind == "client full":
            size = int(fault.value * 500_000)
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))

    code, out, said, seconds = _wait(game, begin)
    struck = game.breaker.struck or fault.kind in ("kill later", "client full")
    game.outcome.runs.append(Run(fault, int(struck), code, seconds))
    game.breaker.arm(None)
    game.hub.start()
    game.hub.limit_files(None)
    told = f"{fault}: ended with {code}: {said[-1500:]} {out[-500:]}"
    if code not in fault.codes or (code == -9 and not struck):
        raise BrokenError(f"an exit code that should not be; {told}")
    if code == 1 and "No room" not in out and "cannot be used" not in out:
        raise BrokenError(f"an error of the data that is none; {told}")
    if "Traceback" in said or "panicked" in said:
        raise BrokenError(f"a traceback; {told}")
    if code >= 0:
        try:
            answer = json.loads(out)
        except ValueError:
            raise BrokenError(f"stdout is not one JSON object; {told}") from None
        if (answer.get("error") or {"code": 0})["code"] != code:
            raise BrokenError(f"the JSON tells another code; {told}")


def _wait(game: Round, begin: Callable[[Any], None]) -> tuple[int, str, str, float]:
    started = now()
    with start(*_upload(game), env=game.machine) as process:
        begin(process)
        try:
            out, said = process.communicate(timeout=LONGEST)
        except TimeoutExpired:
            process.kill()
            out, said = process.communicate()
            raise BrokenError(f"it did not end within {LONGEST} s: {game.breaker.fault}: {said[-1500:]}") from None
    return process.returncode, out, said, now() - started


def _others_add(game: Round, *, xet: bool) -> dict[str, Row]:
    """Someone else adds a sample from another machine; returns it."""
    there = _elsewhere(game, xet=xet)
    added = there.source.add()
    _run_well(there)
    return added


def _both_add(game: Round, *, xet: bool) -> dict[str, Row]:
    """Someone else adds a sample from another machine while it is done here, too; returns theirs."""
    there = _elsewhere(game, xet=xet)
    _run_well(there)  # a machine that never saw the Hub would take away what is added here
    theirs, _ = there.source.add(), game.source.add()
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(_run_well, one) for one in (game, there)]:
            run.result()
    return theirs


def _elsewhere(game: Round, *, xet: bool) -> Round:
    """The dataset as it is now, on someone else's machine."""
    source = game.source.copy(game.folder / "theirs")
    return replace(game, source=source, machine=_machine(game, "theirs-home", xet=xet))


# --- what must hold ---------------------------------------------------------------------------------------------


def _nothing_is_half(game: Round) -> Splits:
    """Every commit is whole and shows a state that may show; returns what the newest one shows."""
    api = HfApi(game.hub.url, token=game.hub.token)
    if not api.repo_exists(REPO, repo_type="dataset"):
        return {}
    shown = [_whole(game, api, commit.commit_id) for commit in api.list_repo_commits(REPO, repo_type="dataset")]
    for state in shown:
        if state and state not in game.allowed and not _is_older(game, state):
            raise BrokenError("a commit shows a state that is neither the one before nor the one wanted")
    return shown[0]


def _is_older(game: Round, state: Splits) -> bool:
    """Whether it is a state before others added theirs, or both did: a part of the one before, sample by sample."""
    first = game.allowed[0]
    return state.keys() <= first.keys() and all(
        rows.items() <= first[split].items() and len(first[split]) - len(rows) <= 2 for split, rows in state.items()
    )


def _whole(game: Round, api: HfApi, commit: str) -> Splits:
    """The dataset at a commit, after looking whether index, shards and card agree."""
    info = api.dataset_info(REPO, revision=commit, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or ()}
    shards = {path: index.shard_split(path) for path in files if index.shard_split(path)}
    indexed = {split: path for path in files if (split := index.split_of(path))}
    if set(indexed) != set(shards.values()):
        raise BrokenError(f"{commit}: splits {sorted(set(shards.values()))}, indexes of {sorted(indexed)}")
    if not shards:
        return {}
    card = cards.read_card(_fetch(game, commit, files["README.md"]).decode())
    harmed = any(run.fault.kind == "altered going" for run in game.outcome.runs)  # which it can say afterwards only
    if set(card.files or {}) != set(indexed) and not harmed:
        raise BrokenError(f"{commit}: the card tells of {sorted(card.files or {})}, there are {sorted(indexed)}")
    return {split: _split(game, commit, files, split, path) for split, path in indexed.items()}


def _split(game: Round, commit: str, files: Mapping[str, Any], split: str, path: str) -> dict[str, Row]:
    known = indexfile.read(_fetch(game, commit, files[path]), path)
    lying = {name for name in files if index.shard_split(name) == split}
    if lying != set(known.shards):
        raise BrokenError(f"{commit}: {split} has {sorted(lying)}, its index tells of {sorted(known.shards)}")
    rows: dict[str, Row] = {}
    for name, record in known.shards.items():
        data = _fetch(game, commit, files[name])
        if (hashlib.sha256(data).hexdigest(), len(data)) != (record.sha256, record.size):
            raise BrokenError(f"{commit}: {name} is not the file that the index tells of")
        for row in pq.read_table(io.BytesIO(data)).to_pylist():
            if row["id"] in rows:
                raise BrokenError(f"{commit}: {row['id']} stands twice")
            rows[row["id"]] = _row(row)
        for entry in known.entries:
            for media in entry.media if entry.shard == name else ():
                there = hashlib.sha256(data[media.offset : media.offset + media.size]).digest()
                if there != media.sha256:
                    raise BrokenError(f"{commit}: {media.name} of {entry.id} does not lie where the index says")
    if {entry.id for entry in known.entries} != set(rows):
        raise BrokenError(f"{commit}: the index of {split} tells of other samples than the shards hold")
    return rows


def _row(row: Mapping[str, Any]) -> Row:
    def digest(image: Mapping[str, Any] | None) -> bytes | None:
        return hashlib.sha256(image["bytes"]).digest() if image else None

    controls = tuple(hashlib.sha256(image["bytes"]).digest() for image in row["control_images"])
    return row["prompt"], controls, digest(row["control_mask"]), digest(row["target_image"])


def _fetch(game: Round, commit: str, file: Any) -> bytes:
    """A file as the hub has it, past the bad network."""
    if file.blob_id not in game.blobs:
        url = f"{game.hub.url}/datasets/{REPO}/resolve/{commit}/{file.rfilename}"
        headers = {"authorization": f"Bearer {game.hub.token}"}
        response = get_session().get(url, headers=headers, follow_redirects=True)
        response.raise_for_status()
        data = response.content
        if file.lfs and hashlib.sha256(data).hexdigest() != file.lfs.sha256:
            raise BrokenError(f"{commit}: {file.rfilename} has another hash than the Hub lists")
        game.blobs[file.blob_id] = data
    return game.blobs[file.blob_id]


def _loads(game: Round, wanted: Splits) -> None:
    """`datasets` gives the same."""
    loaded: Any = load_editing_dataset(REPO, hub=game.hub.url, token=game.hub.token)
    rows = {
        split: {row["id"]: _row(row) for row in loaded[split].with_format("arrow")[:].to_pylist()} for split in loaded
    }
    if rows != wanted:
        raise BrokenError("what is loaded is not the source")


def _little_is_sent_again(game: Round) -> None:
    """Per run that failed, at most the shards in flight; and what the client repeats by itself."""
    workers = int(game.options[game.options.index("--workers") + 1])
    in_flight = (workers + 1) * (game.source.shard_size * 16 // 10 + 400_000)
    size, arrived = game.source.bytes(), game.hub.content_received()
    game.outcome.source, game.outcome.again = size, max(0, arrived - size)
    repeats = sum(1 + min(run.struck, 6) for run in game.outcome.runs)
    most = repeats * in_flight + (1 + len(game.outcome.runs)) * EXTRA
    if arrived - size > most:
        raise BrokenError(f"{arrived:,} bytes arrived of a dataset of {size:,}; at most {most:,} may be sent again")
