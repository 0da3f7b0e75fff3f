"""Shards packed straight into their uploads, and the indexes of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from qflux_hub import codes, index, indexfile, pack
from qflux_hub.errors import DataError, VerificationError
from qflux_hub.hub import Sent, Stream
from qflux_hub.index import Entry, Index, ShardRecord
from qflux_hub.plan import Plan, Shard
from qflux_hub.sample import Sample

Send = Callable[[str, Callable[[Stream], object]], Sent]
"""Streams what a function writes to a path."""


def send_shard(
    send: Send,
    shard: Shard,
    samples: Sequence[Sample],
    planned: Plan,
    advance: Callable[[int], None],
    turns: AbstractContextManager[object],
) -> tuple[str, ShardRecord, tuple[Entry, ...], int]:
    """Pack one shard into its upload: (digest, record, rows with places, new bytes). Safe to repeat.

    ``turns`` is held while it is packed, not while the rest of it is on its way.
    """
    packed: list[pack.Packed] = []

    def write(sink: Stream) -> None:
        with turns:
            packed.append(pack.pack(samples, planned.extra, sink, advance, planned.held))

    try:
        sent = send(shard.path, write)
    except OSError as error:
        where = str(error.filename or shard.path)
        finding = codes.CHANGED_FILE(where, f"{where} changed while it was uploaded: {error.strerror or error}.")
        hint = "Run the same command again; nothing was published."
        raise DataError(finding.message, hint=hint, report=finding) from error
    if sent.size != packed[0].size:
        raise VerificationError(f"{shard.path}: {packed[0].size:,} bytes were written, {sent.size:,} arrived.")
    places = zip(shard.entries, packed[0].offsets(samples), strict=True)
    rows = tuple(index.placed(entry, shard.path, offsets) for entry, offsets in places)
    return shard.digest, ShardRecord(shard.digest, sent.sha256, sent.size), rows, sent.new_bytes


def send_index(send: Send, path: str, known: Index) -> Sent:
    """Send the index that belongs at ``path``."""
    data = indexfile.write(known)
    return send(path, lambda sink: sink.write(data))
