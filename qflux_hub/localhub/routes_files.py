"""Routes that carry files: resolve and raw, the storage that resolve leads to, and git-LFS."""

from __future__ import annotations

import hashlib
import mimetypes
import posixpath
import secrets
from functools import partial
from urllib.parse import quote

from starlette.responses import Response

from qflux_hub.localhub.exchange import Call, answer, content_answer
from qflux_hub.localhub.lfs import PART_BYTES, Content, Upload, check_sha256
from qflux_hub.localhub.problems import HttpError, no_entry
from qflux_hub.localhub.services import Services, route, streaming_route
from qflux_hub.localhub.store import Commit, Repo
from qflux_hub.localhub.trees import Found

OBJECT_BYTES = 50 * 1000**3
"""The largest LFS object that is accepted."""


def resolve(hub: Services, call: Call) -> Response:
    """A file of a revision: a regular one itself, a large one by a redirect to storage."""
    repo, commit, file = _file(hub, call)
    headers = {"X-Repo-Commit": commit.oid, **_disposition(file.path, attachment=call.flag("download"))}
    if not file.sha256:
        data = hub.trees.blob(file.oid)
        return content_answer(
            call, len(data), file.oid, lambda a, b: iter([data[a:b]]), {**headers, **_media(file.path)}
        )
    content = hub.large.find(file.sha256)
    if content is None:
        raise HttpError(410, f"The content of {file.path} was deleted from this hub")
    headers |= {"X-Linked-Size": str(content.size), "X-Linked-ETag": f'"{content.sha256}"'}
    if content.xet:
        auth = f"{call.origin}/api/{repo.type}s/{repo.full_name}/xet-read-token/{commit.oid}"
        headers |= {"X-Xet-Hash": content.xet, "Link": f'<{auth}>; rel="xet-auth"'}
    if call.twin_origin is None:
        return _content_answer(hub, call, content, headers)
    path = f"/storage/{content.sha256}/{quote(posixpath.basename(file.path))}"
    location = call.twin_origin + hub.signer.sign_url("GET", path)
    return Response(status_code=302, headers={**headers, "Location": location, "ETag": f'"{content.sha256}"'})


def raw(hub: Services, call: Call) -> Response:
    """A file as git has it: of a large one, the pointer."""
    _, commit, file = _file(hub, call)
    data = hub.trees.blob(file.oid)
    headers = {"X-Repo-Commit": commit.oid, **_disposition(file.path), "Content-Type": "text/plain; charset=utf-8"}
    return content_answer(call, len(data), file.oid, lambda a, b: iter([data[a:b]]), headers)


def storage(hub: Services, call: Call) -> Response:
    """The bytes of a large file, for whoever holds the signed link."""
    hub.signer.check_url(call.request.method, call.raw_path, call.query)
    content = hub.large.find(call.params["sha256"])
    if content is None:
        raise HttpError(404, "The content was deleted from this hub")
    return _content_answer(hub, call, content, _disposition(call.params["name"]))


def lfs_batch(hub: Services, call: Call) -> Response:
    """Where to send or fetch LFS objects. An object without actions is already there."""
    operation = call.json.get("operation", "upload")
    repo = hub.repo(call, write="upload" if operation == "upload" else "")
    transfers = call.json.get("transfers") or ["basic"]
    transfer = "multipart" if "multipart" in transfers and operation == "upload" else "basic"
    if call.json.get("hash_algo", "sha256") != "sha256":
        raise HttpError(409, "Only sha256 is supported")
    objects = [_lfs_object(hub, call, repo, operation, transfer, item) for item in call.json.get("objects", [])]
    body = {"transfer": transfer, "objects": objects, "hash_algo": "sha256"}
    return answer(body, headers={"Content-Type": "application/vnd.git-lfs+json"})


def _lfs_object(
    hub: Services, call: Call, repo: Repo, operation: str, transfer: str, item: dict[str, object]
) -> dict[str, object]:
    sha256, size = check_sha256(item.get("oid")), item.get("size")
    if not isinstance(size, int) or size < 0:
        raise HttpError(422, f"The size of {sha256} is a number of bytes, not {size!r}")
    named: dict[str, object] = {"oid": sha256, "size": size, "authenticated": True}
    there = hub.large.held(hub.db.connection, repo.id, sha256)
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


async def lfs_put(hub: Services, call: Call) -> Response:
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


async def lfs_put_part(hub: Services, call: Call) -> Response:
    """One part of an LFS object."""
    hub.signer.check_url("PUT", call.raw_path, call.query)
    upload = await call.run(hub.large.upload, call.params["upload"])
    etag = secrets.token_hex(16)
    with hub.files.receive() as incoming:
        await call.feed(incoming.write, limit=PART_BYTES)
        await call.run(hub.large.add_part, upload, int(call.params["number"]), incoming, etag)
    return Response(status_code=200, headers={"ETag": f'"{etag}"'})


def lfs_complete(hub: Services, call: Call) -> Response:
    """The end of an upload in parts."""
    hub.signer.check_url("POST", call.raw_path, call.query)
    upload = hub.large.upload(call.params["upload"])
    parts = sorted(call.json.get("parts", []), key=lambda part: int(part["partNumber"]))
    hub.large.complete(upload, [str(part["etag"]) for part in parts])
    return answer({"success": True})


def lfs_verify(hub: Services, call: Call) -> Response:
    """Whether an LFS object arrived."""
    claims = hub.signer.check_url("POST", call.raw_path, call.query)
    content = hub.large.held(hub.db.connection, int(claims["repo"]), call.params["sha256"])
    if content is None or content.size != int(claims["size"]):
        raise HttpError(404, "The object was not uploaded")
    return answer({"message": "Object is there"})


def _file(hub: Services, call: Call) -> tuple[Repo, Commit, Found]:
    repo = hub.repo(call)
    commit = hub.store.resolve(repo, call.params["rev"])
    file = hub.trees.find(commit.tree, call.params["path"])
    if file is None or file.is_folder:
        raise no_entry(call.params["path"], commit.oid)
    return repo, commit, file


def _content_answer(hub: Services, call: Call, content: Content, headers: dict[str, str]) -> Response:
    return content_answer(call, content.size, content.sha256, partial(hub.large.read, content), headers)


def _disposition(path: str, *, attachment: bool = False) -> dict[str, str]:
    name = posixpath.basename(path)
    plain = name.encode("ascii", "replace").decode().replace('"', "").replace("?", "_")
    kind = "attachment" if attachment else "inline"
    return {"Content-Disposition": f"{kind}; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"}


def _media(path: str) -> dict[str, str]:
    kind = mimetypes.guess_type(path)[0] or "text/plain"
    # Nothing that a user uploaded may run as a page of the hub itself.
    if kind in ("text/html", "image/svg+xml", "application/xhtml+xml") or kind.endswith("javascript"):
        kind = "text/plain"
    return {"Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind}


ROUTES = (
    route("GET /{kind}{repo}/resolve/{rev}/{path}", resolve),
    route("GET /{kind}{repo}/raw/{rev}/{path}", raw),
    route("GET /storage/{sha256}/{name}", storage),
    route("POST /{kind}{repo}.git/info/lfs/objects/batch", lfs_batch),
    route("POST /lfs/verify/{sha256}", lfs_verify),
    route("POST /lfs/complete/{upload}", lfs_complete),
    streaming_route("PUT /lfs/object/{sha256}", lfs_put),
    streaming_route("PUT /lfs/part/{upload}/{number}", lfs_put_part),
)
