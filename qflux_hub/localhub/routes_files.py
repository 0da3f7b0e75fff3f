"""Routes that give files out: resolve and raw, and the storage that resolve leads to."""

from __future__ import annotations

import mimetypes
import posixpath
from functools import partial
from urllib.parse import quote

from starlette.responses import Response

from qflux_hub.localhub.exchange import Call, content_answer
from qflux_hub.localhub.lfs import Content
from qflux_hub.localhub.problems import HttpError, no_entry
from qflux_hub.localhub.services import Services, route
from qflux_hub.localhub.store import Commit, Repo
from qflux_hub.localhub.trees import Found


def resolve(hub: Services, call: Call) -> Response:
    """A file of a revision: a regular one itself, a large one by a redirect to storage."""
    repo, commit, file = _file(hub, call)
    headers = {"X-Repo-Commit": commit.oid, **_disposition(file.path, attachment=call.flag("download"))}
    if not file.sha256:
        data = hub.trees.blob(file.oid)
        return content_answer(
            call, len(data), file.oid, lambda a, b: iter([data[a:b]]), {**headers, **_media(file.path)}
        )
    content = hub.large.held(hub.db.connection, repo.id, file.sha256)
    if content is None:
        raise no_entry(f"{file.path} (its content was permanently deleted)", commit.oid)
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


def _file(hub: Services, call: Call) -> tuple[Repo, Commit, Found]:
    repo = hub.repo(call, content=True)
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
)
