"""Routes of Xet: tokens, and the content store that hf_xet talks to.

The store's URL ends in a word that is the directory's own and changes whenever a collection removes xorbs. hf_xet
keeps its memory of known chunks apart for every store URL, so it never builds on xorbs that are gone, nor on those of
another hub that once had the same port.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.responses import Response, StreamingResponse

from qflux_hub.localhub import xethash, xorb
from qflux_hub.localhub.accounts import Role
from qflux_hub.localhub.exchange import Call, answer, content_answer, one_range
from qflux_hub.localhub.problems import DamagedError, HttpError, forbidden
from qflux_hub.localhub.services import Services, route, streaming_route
from qflux_hub.localhub.xet import Piece, Plan

SHARD_BYTES = 128 * 1024 * 1024
"""The largest shard that is accepted; hf_xet closes them at 64 MB."""


def read_token(hub: Services, call: Call) -> Response:
    """A token to fetch the files of a repo."""
    repo = hub.repo(call, content=True)
    return _token(hub, call, repo.id, "read")


def write_token(hub: Services, call: Call) -> Response:
    """A token to send content on behalf of a repo."""
    repo = hub.repo(call)
    if call.flag("create_pr") or call.params["rev"].startswith("refs/pr/"):
        call.caller.require_contribute("upload")
    else:
        call.caller.require_write(repo.namespace, "upload")
    return _token(hub, call, repo.id, "write")


def _token(hub: Services, call: Call, repo: int, role: Role) -> Response:
    token, expires = hub.signer.xet_token(repo, role)
    url = f"{call.origin}/xet/{hub.xet_era()}"
    headers = {"X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires), "X-Xet-Cas-Url": url}
    return answer({"accessToken": token, "exp": expires, "casUrl": url}, headers=headers)


def _store_repo(hub: Services, call: Call, role: Role) -> int:
    header = call.request.headers.get("authorization", "")
    return hub.signer.check_xet_token(header.removeprefix("Bearer "), role)


def known_chunk(hub: Services, call: Call) -> Response:
    """What the store knows around a chunk, as a shard; 404 for an unknown chunk."""
    _store_repo(hub, call, "read")
    found = hub.xet.known_chunk(_hash(call.params["hash"]), hub.signer.derive(f"chunks of {hub.xet_era()}"))
    if found is None:
        raise HttpError(404, "Chunk not found")
    return Response(found, media_type="application/octet-stream")


def xorb_grant(hub: Services, call: Call) -> Response:
    """Direct uploads to storage are not offered; a 404 makes the client send the xorb here."""
    _store_repo(hub, call, "write")
    raise HttpError(404, "Upload grants are not offered")


async def add_xorb(hub: Services, call: Call) -> Response:
    """A xorb, checked while it arrives."""
    _store_repo(hub, call, "write")
    name, check = _hash(call.params["hash"]), xorb.XorbCheck()
    with hub.files.receive() as incoming:

        def take(data: bytes) -> None:
            before = check.kept
            check.feed(data)
            incoming.write(memoryview(data)[: check.kept - before])

        def finish() -> bool:
            return hub.xet.add_xorb(name, incoming.seal(), check.finish())

        try:
            await call.feed(take, limit=xorb.MAX_BYTES)
            inserted = await call.run(finish)
        except xorb.XorbError as error:
            raise HttpError(400, f"Xorb {name}: {error}") from error
    return answer({"was_inserted": inserted})


async def add_shard_v1(hub: Services, call: Call) -> Response:
    """A shard: which files are made of which chunks. Answered when all is verified and stored."""
    repo = _store_repo(hub, call, "write")
    progress = hub.xet.register(repo, await _body(call))
    while await call.run(next, progress, None) is not None:
        pass
    return answer({"result": 1})


async def add_shard_v2(hub: Services, call: Call) -> Response:
    """The same with progress: one JSON object per line, the last one the result or an error."""
    repo = _store_repo(hub, call, "write")
    progress = hub.xet.register(repo, await _body(call))
    return StreamingResponse(_shard_lines(hub, call, progress), media_type="application/x-ndjson")


async def _shard_lines(hub: Services, call: Call, progress: Iterator[tuple[int, int]]) -> AsyncIterator[bytes]:
    try:
        while (step := await call.run(next, progress, None)) is not None:
            yield _line({"type": "validating", "verified": step[0], "total": step[1]})
    except HttpError as error:
        yield _line({"type": "error", "message": error.message, "retryable": error.status in (409, 503)})
    except DamagedError as error:
        await call.run(hub.found_damaged, error.name)
        yield _line({"type": "error", "message": f"Stored content is damaged: {error}", "retryable": False})
    else:
        yield _line({"type": "result"})


async def _body(call: Call) -> bytes:
    body = bytearray()
    await call.feed(body.extend, limit=SHARD_BYTES)
    return bytes(body)


def reconstruction_v1(hub: Services, call: Call) -> Response:
    """How to put a file, or a range of it, together: one link per run of chunks."""
    plan = _plan(hub, call)
    info: dict[str, list[dict[str, Any]]] = {}
    for piece in _fetches(plan):
        url, span = _xorb_url(hub, call, piece), {"start": piece.first, "end": piece.last}
        info.setdefault(piece.xorb, []).append({"range": _span(piece), "url": url, "url_range": span})
    return answer({"offset_into_first_range": plan.skip, "terms": _terms(plan), "fetch_info": info})


def reconstruction_v2(hub: Services, call: Call) -> Response:
    """The same in the newer shape. One link per run, so that no answer has several parts."""
    plan = _plan(hub, call)
    xorbs: dict[str, list[dict[str, Any]]] = {}
    for piece in _fetches(plan):
        url, span = _xorb_url(hub, call, piece), {"start": piece.first, "end": piece.last}
        xorbs.setdefault(piece.xorb, []).append({"url": url, "ranges": [{"chunks": _span(piece), "bytes": span}]})
    return answer({"offset_into_first_range": plan.skip, "terms": _terms(plan), "xorbs": xorbs})


def fetch_xorb(hub: Services, call: Call) -> Response:
    """Stored bytes of a xorb, for whoever holds the signed link.

    A link is good for the run of chunks that it was made for: the rest of the xorb may belong to private files.
    """
    claims = hub.signer.check_url(call.request.method, call.raw_path, call.query)
    name = call.params["hash"]
    table = hub.xet.chunks(name)
    size = table.stored_start(len(table))
    start, end = one_range(call.request.headers.get("range"), size) or (0, size)
    if start < int(claims["first"]) or end - 1 > int(claims["last"]):
        raise forbidden(f"This link is for the bytes {claims['first']} to {claims['last']}")
    return content_answer(call, size, name, partial(hub.files.read, f"xorb/{name}"), {})


def telemetry(hub: Services, call: Call) -> Response:
    """Accepted and forgotten."""
    del hub, call
    return answer({})


def _plan(hub: Services, call: Call) -> Plan:
    repo, name = _store_repo(hub, call, "read"), _hash(call.params["hash"])
    size = hub.xet.size(name)
    if size is None or not hub.xet.is_held(repo, name):
        raise HttpError(404, "File not found")
    start, end = one_range(call.request.headers.get("range"), size) or (0, size)
    return hub.xet.plan(name, start, end)


def _fetches(plan: Plan) -> list[Piece]:
    """The runs to fetch, those of a xorb that overlap or touch joined: every term lies within one of them."""
    runs: list[Piece] = []
    for piece in sorted(plan.pieces, key=lambda piece: (piece.xorb, piece.start, piece.end)):
        last = runs[-1] if runs else None
        if last and last.xorb == piece.xorb and piece.start <= last.end:
            runs[-1] = replace(last, end=max(last.end, piece.end), last=max(last.last, piece.last))
        else:
            runs.append(piece)
    return runs


def _terms(plan: Plan) -> list[dict[str, Any]]:
    return [{"hash": piece.xorb, "unpacked_length": piece.length, "range": _span(piece)} for piece in plan.pieces]


def _span(piece: Piece) -> dict[str, int]:
    return {"start": piece.start, "end": piece.end}


def _xorb_url(hub: Services, call: Call, run: Piece) -> str:
    claims = {"first": str(run.first), "last": str(run.last)}
    return call.origin + hub.signer.sign_url("GET", f"/xorb/{run.xorb}", claims)


def _hash(text: str) -> str:
    try:
        return xethash.printed(xethash.parsed(text))
    except ValueError as error:
        raise HttpError(400, f"Not a Xet hash: {text!r}") from error


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


ROUTES = (
    route("GET /api/{type}/{repo}/xet-read-token/{rev}", read_token),
    route("GET /api/{type}/{repo}/xet-write-token/{rev}", write_token),
    route("GET /xet/{era}/v1/chunks/{prefix}/{hash}", known_chunk),
    route("POST /xet/{era}/v1/xorb-grants/{prefix}/{hash}", xorb_grant),
    streaming_route("POST /xet/{era}/v1/xorbs/{prefix}/{hash}", add_xorb),
    streaming_route("POST /xet/{era}/v1/shards", add_shard_v1),
    streaming_route("POST /xet/{era}/v2/shards", add_shard_v2),
    route("GET /xet/{era}/v1/reconstructions/{hash}", reconstruction_v1),
    route("GET /xet/{era}/v2/reconstructions/{hash}", reconstruction_v2),
    route("GET /xorb/{hash}", fetch_xorb),
    route("POST /v1/telemetry", telemetry),
    route("POST /xet/{era}/v1/telemetry", telemetry),
)
