"""Routes of git-LFS: uploads in one piece or in parts, and what became of the large files of a repo."""

from __future__ import annotations

import hashlib
import os

from starlette.responses import Response

from qflux_hub.localhub.exchange import Call, answer
from qflux_hub.localhub.lfs import PART_BYTES, Upload, check_sha256
from qflux_hub.localhub.problems import HttpError
from qflux_hub.localhub.rewrite import forget_content, where_used
from qflux_hub.localhub.routes_repos import iso
from qflux_hub.localhub.services import Services, route, streaming_route
from qflux_hub.localhub.store import Repo
from qflux_hub.localhub.xet import hold

OBJECT_BYTES = 50 * 1000**3
"""The largest LFS object that is accepted."""


def batch(hub: Services, call: Call) -> Response:
    """Where to send or fetch LFS objects. An object without actions is already there."""
    operation = call.json.get("operation", "upload")
    repo = hub.repo(call, content=True)
    if operation == "upload":
        # Uploaded content does nothing until a commit names it, and that may be one of a pull request.
        call.caller.require_contribute("upload")
    transfers = call.json.get("transfers") or ["basic"]
    transfer = "multipart" if "multipart" in transfers and operation == "upload" else "basic"
    if call.json.get("hash_algo", "sha256") != "sha256":
        raise HttpError(409, "Only sha256 is supported")
    items = call.json.get("objects")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise HttpError(422, "objects is a list of objects with oid and size")
    objects = [_object(hub, call, repo, operation, transfer, item) for item in items]
    known = [str(item["oid"]) for item in objects if "actions" not in item and "error" not in item]
    if known and operation == "upload":
        # The client counts on them from here on: a collection has to leave them alone until they are committed.
        with hub.db.write() as db:
            for sha256 in known:
                hold(db, repo.id, sha256)
    body = {"transfer": transfer, "objects": objects, "hash_algo": "sha256"}
    return answer(body, headers={"Content-Type": "application/vnd.git-lfs+json"})


def _object(
    hub: Services, call: Call, repo: Repo, operation: str, transfer: str, item: dict[str, object]
) -> dict[str, object]:
    sha256, size = check_sha256(item.get("oid")), item.get("size")
    if not isinstance(size, int) or size < 0:
        raise HttpError(422, f"The size of {sha256} is a number of bytes, not {size!r}")
    named: dict[str, object] = {"oid": sha256, "size": size, "authenticated": True}
    there = hub.large.held(hub.db.connection, repo.id, sha256)
    if there is not None and operation == "upload" and hub.files.is_distrusted(f"lfs/{sha256}"):
        there = None
    if operation == "download":
        if there is None:
            return {**named, "error": {"code": 404, "message": "Object does not exist"}}
        path = f"/storage/{sha256}/{sha256}"
        return {**named, "actions": {"download": {"href": call.origin + hub.signer.sign_url("GET", path)}}}
    if there is not None and there.size == size:
        return named
    if there is not None or size > OBJECT_BYTES:
        said = f"Object has {there.size} bytes" if there else f"Objects are limited to {OBJECT_BYTES} bytes"
        return {**named, "error": {"code": 422, "message": said}}
    claims = {"repo": str(repo.id), "size": str(size)}
    verify = call.origin + hub.signer.sign_url("POST", f"/lfs/verify/{sha256}", claims)
    if transfer == "multipart" and size > PART_BYTES:
        return {**named, "actions": {"upload": _parts(hub, call, hub.large.begin(repo.id, sha256, size))}}
    put = call.origin + hub.signer.sign_url("PUT", f"/lfs/object/{sha256}", claims)
    return {**named, "actions": {"upload": {"href": put}, "verify": {"href": verify}}}


def _parts(hub: Services, call: Call, upload: Upload) -> dict[str, object]:
    header = {"chunk_size": str(PART_BYTES)}
    for number in range(1, upload.parts + 1):
        path = f"/lfs/part/{upload.id}/{number}"
        header[f"{number:05}"] = call.origin + hub.signer.sign_url("PUT", path)
    return {"href": call.origin + hub.signer.sign_url("POST", f"/lfs/complete/{upload.id}"), "header": header}


async def put(hub: Services, call: Call) -> Response:
    """An LFS object in one piece."""
    claims = hub.signer.check_url("PUT", call.raw_path, call.query)
    size, digest = int(claims["size"]), hashlib.sha256()
    with hub.files.receive() as incoming:

        def take(data: bytes) -> None:
            digest.update(data)
            incoming.write(data)

        await call.feed(take, limit=size)
        await call.run(hub.large.add, int(claims["repo"]), call.params["sha256"], size, incoming, digest.hexdigest())
    return Response(status_code=200, headers={"ETag": f'"{digest.hexdigest()}"'})


async def put_part(hub: Services, call: Call) -> Response:
    """One part of an LFS object, written to its place among the others. Sending it again replaces it."""
    hub.signer.check_url("PUT", call.raw_path, call.query)
    upload, number = await call.run(hub.large.upload, call.params["upload"]), int(call.params["number"])
    if not 1 <= number <= upload.parts:
        raise HttpError(404, f"This upload has {upload.parts} parts, and no part {number}")
    position = (number - 1) * PART_BYTES
    end = position + upload.part_size(number)
    with hub.large.open_parts(upload) as file:

        def take(data: bytes) -> None:
            nonlocal position
            view = memoryview(data)
            while view:
                written = os.pwrite(file.fileno(), view, position)
                position, view = position + written, view[written:]

        await call.feed(take, limit=upload.part_size(number))
    if position != end:
        raise HttpError(400, f"Part {number} is {end - position} bytes short")
    return Response(status_code=200, headers={"ETag": f'"{upload.id}-{number}"'})


def complete(hub: Services, call: Call) -> Response:
    """The end of an upload in parts."""
    hub.signer.check_url("POST", call.raw_path, call.query)
    parts = call.json.get("parts")
    hub.large.complete(hub.large.upload(call.params["upload"]), len(parts) if isinstance(parts, list) else 0)
    return answer({"success": True})


def verify(hub: Services, call: Call) -> Response:
    """Whether an LFS object arrived."""
    claims = hub.signer.check_url("POST", call.raw_path, call.query)
    content = hub.large.held(hub.db.connection, int(claims["repo"]), call.params["sha256"])
    if content is None or content.size != int(claims["size"]):
        raise HttpError(404, "The object was not uploaded")
    return answer({"message": "Object is there"})


def listing(hub: Services, call: Call) -> Response:
    """The large files that any commit of the repo holds, each once, with one place where it is found."""
    repo = hub.repo(call, write="list the large files of this repo")
    places = where_used(hub.store, hub.trees, repo)
    rows = hub.db.connection.execute(
        "SELECT o.sha256, o.size, h.created FROM holding h JOIN object o ON o.sha256 = h.sha256 WHERE h.repo = ? "
        "ORDER BY h.created DESC, o.sha256",
        (repo.id,),
    ).fetchall()
    items = [
        {"fileOid": row["sha256"], "oid": row["sha256"], "filename": places[row["sha256"]].path, "size": row["size"],
         "ref": places[row["sha256"]].ref, "pushedAt": iso(row["created"])}
        for row in rows
        if row["sha256"] in places
    ]  # fmt: skip
    return answer(items)


def delete(hub: Services, call: Call) -> Response:
    """Take large files out of every commit of the repo. Their bytes go with the next collection."""
    repo = hub.repo(call, write="delete large files")
    deletions = call.json.get("deletions")
    if not isinstance(deletions, dict) or not isinstance(deletions.get("sha"), list):
        raise HttpError(400, "deletions.sha is a list")
    wanted = {check_sha256(item) for item in deletions["sha"]}
    with hub.db.write() as db:
        forget_content(db, hub.store, hub.trees, repo, wanted, rewrite_history=bool(deletions.get("rewriteHistory")))
    return answer({})


def duplicate(hub: Services, call: Call) -> Response:
    """Let another repo use large files of this one, so that a commit there may name them. No bytes move."""
    source = hub.repo(call, content=True)
    target = call.json.get("target")
    if not isinstance(target, dict) or not isinstance(call.json.get("files"), list):
        raise HttpError(400, "target and files are needed")
    repo = hub.store.find(str(target.get("type") or "model"), str(target.get("name")), call.caller)
    call.caller.require_write(repo.namespace, "copy files")
    done, failed = [], []
    with hub.db.write() as db:
        for file in call.json["files"]:
            sha256 = check_sha256(file.get("sha256") if isinstance(file, dict) else None)
            if hub.large.held(db, source.id, sha256) is None:
                failed.append({"sha256": sha256, "error": f"{source.full_name} does not hold this content"})
            else:
                hold(db, repo.id, sha256)
                done.append({"sha256": sha256})
    return answer({"success": done, "failed": failed})


ROUTES = (
    route("POST /{kind}{repo}.git/info/lfs/objects/batch", batch),
    route("POST /lfs/verify/{sha256}", verify),
    route("POST /lfs/complete/{upload}", complete),
    streaming_route("PUT /lfs/object/{sha256}", put),
    streaming_route("PUT /lfs/part/{upload}/{number}", put_part),
    route("GET /api/{type}/{repo}/lfs-files", listing),
    route("POST /api/{type}/{repo}/lfs-files/batch", delete),
    route("POST /api/{type}/{repo}/lfs-files/duplicate", duplicate),
)
