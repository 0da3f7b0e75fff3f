"""Routes about what a repo holds and how it changes: trees, refs, history, preupload and commit."""

from __future__ import annotations

import base64
import binascii
import html
import json
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from qflux_hub.localhub import discussions
from qflux_hub.localhub.exchange import Call, answer
from qflux_hub.localhub.patterns import is_ignored, is_lfs
from qflux_hub.localhub.problems import HttpError, no_entry
from qflux_hub.localhub.routes_repos import iso
from qflux_hub.localhub.services import Services, route, streaming_route
from qflux_hub.localhub.store import Commit, Ref, Repo
from qflux_hub.localhub.trees import Found

TREE_PAGE = 1000
EXPANDED_PAGE = 50
"""Entries of a page when each comes with the commit that changed it last, which costs a walk through history."""
COMMIT_PAGE = 50
REGULAR_BYTES = 10 * 1000 * 1000
"""Text files up to this size stay regular files; the real Hub draws the line in the same place."""


def tree(hub: Services, call: Call) -> Response:
    """The entries of a folder, or of everything below it, in pages."""
    repo = hub.repo(call)
    expand, recursive = call.flag("expand"), call.flag("recursive")
    path = call.params.get("path", "").strip("/")
    oid, after = _read_cursor(call.query.get("cursor"))
    commit = hub.store.resolve(repo, oid or call.params["rev"])
    folder = hub.trees.lookup(commit.tree, path)
    if folder is None:
        raise no_entry(path, commit.oid)
    if not folder.is_tree:
        return answer([entry(file) for file in hub.trees.describe([(path, folder)])])
    limit = EXPANDED_PAGE if expand else TREE_PAGE
    limit = min(limit, max(1, call.number("limit", limit)))
    walk = hub.trees.walk(folder.oid, path, recursive=recursive, after=after)
    page = [pair for pair, _ in zip(walk, range(limit + 1), strict=False)]
    found = hub.trees.describe(page[:limit])
    changes = hub.trees.last_changes(hub.store, repo, commit, [file.path for file in found]) if expand else {}
    headers = {}
    if len(page) > limit:
        query = {**call.query, "cursor": _cursor(commit, page[limit - 1][0])}
        headers["Link"] = f'<{call.origin}{call.raw_path}?{urlencode(query)}>; rel="next"'
    return answer([entry(file, changes.get(file.path)) for file in found], headers=headers)


def paths_info(hub: Services, call: Call) -> Response:
    """The same for a list of paths; those that do not exist are left out."""
    repo = hub.repo(call)
    commit = hub.store.resolve(repo, call.params["rev"])
    if call.request.headers.get("content-type", "").startswith("application/json"):
        paths, expand = call.json.get("paths", []), bool(call.json.get("expand"))
    else:
        paths, expand = call.form("paths"), call.form("expand") in (["True"], ["true"], ["1"])
    wanted = dict.fromkeys(path.strip("/") for path in paths if isinstance(path, str))
    present = [(path, found) for path in wanted if path and (found := hub.trees.lookup(commit.tree, path))]
    files = hub.trees.describe(present)
    changes = hub.trees.last_changes(hub.store, repo, commit, [path for path, _ in present]) if expand else {}
    return answer([entry(file, changes.get(file.path)) for file in files])


def entry(file: Found, changed: Commit | None = None) -> dict[str, Any]:
    """One entry of a listing."""
    item: dict[str, Any] = {"type": "directory" if file.is_folder else "file", "oid": file.oid, "size": file.size}
    if file.sha256:
        item["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    if file.xet:
        item["xetHash"] = file.xet
    item["path"] = file.path
    if changed:
        item["lastCommit"] = {"id": changed.oid, "title": changed.title, "date": iso(changed.created)}
        if not file.is_folder:
            scan = {"status": "unscanned", "message": None, "reportLink": None, "reportLabel": None}
            item["securityFileStatus"] = {"status": "unscanned", "avScan": scan, "pickleImportScan": None}
    return item


def refs(hub: Services, call: Call) -> Response:
    """Branches, tags and, when asked for, pull request heads."""
    repo = hub.repo(call)
    found = hub.store.refs(repo)

    def some(start: str) -> list[dict[str, str]]:
        chosen = [ref for ref in found if ref.name.startswith(start)]
        return [{"name": ref.short, "ref": ref.name, "targetCommit": ref.oid} for ref in chosen]

    body = {"branches": some("refs/heads/"), "converts": some("refs/convert/"), "tags": some("refs/tags/")}
    if call.flag("include_prs"):
        body["pullRequests"] = [{**ref, "name": ref["ref"]} for ref in some("refs/pr/")]
    return answer(body)


def create_branch(hub: Services, call: Call) -> Response:
    """A new branch at a revision, main unless named."""
    repo = hub.repo(call, write="create a branch")
    name = f"refs/heads/{call.params['rev']}"
    if call.params["rev"].startswith("refs/"):
        raise HttpError(400, f"Invalid reference for a branch: {call.params['rev']}")
    start = call.json.get("startingPoint")
    commit = hub.store.resolve(repo, str(start) if start else "main")
    with hub.db.write() as db:
        hub.store.create_ref(db, repo, name, commit.oid)
    return answer({"ref": name, "targetCommit": commit.oid})


def delete_branch(hub: Services, call: Call) -> Response:
    """Remove a branch; its commits stay until they are collected."""
    repo = hub.repo(call, write="delete a branch")
    with hub.db.write() as db:
        hub.store.delete_ref(db, repo, f"refs/heads/{call.params['rev']}")
    return answer({})


def create_tag(hub: Services, call: Call) -> Response:
    """A new tag at a revision."""
    repo = hub.repo(call, write="create a tag")
    name = f"refs/tags/{call.json.get('tag') or ''}"
    commit = hub.store.resolve(repo, call.params["rev"])
    with hub.db.write() as db:
        hub.store.create_ref(db, repo, name, commit.oid, str(call.json.get("message") or ""))
    return answer({"ref": name, "targetCommit": commit.oid})


def delete_tag(hub: Services, call: Call) -> Response:
    """Remove a tag."""
    repo = hub.repo(call, write="delete a tag")
    with hub.db.write() as db:
        hub.store.delete_ref(db, repo, f"refs/tags/{call.params['rev']}")
    return answer({})


def commits(hub: Services, call: Call) -> Response:
    """The history of a revision, newest first, in pages."""
    repo = hub.repo(call)
    start = hub.store.resolve(repo, call.query.get("start") or call.params["rev"])
    page, limit = call.number("p", 0), min(1000, max(1, call.number("limit", COMMIT_PAGE)))
    log = hub.store.log(repo, start)
    formatted = "formatted" in call.query.get("expand[]", "") + call.query.get("expand", "")
    headers = {"X-Total-Count": str(len(log))}
    if len(log) > (page + 1) * limit:
        query = {**call.query, "p": str(page + 1), "start": start.oid}
        headers["Link"] = f'<{call.origin}{call.raw_path}?{urlencode(query)}>; rel="next"'
    return answer([_commit(commit, formatted) for commit in log[page * limit : (page + 1) * limit]], headers=headers)


def preupload(hub: Services, call: Call) -> Response:
    """How each file has to be sent, whether it is ignored, and what is at its path already."""
    repo = hub.repo(call)
    _require_commit(repo, call)
    base = hub.store.resolve(repo, call.params["rev"])
    files = call.json.get("files")
    if not isinstance(files, list):
        raise HttpError(400, "files is a list")
    attributes = hub.trees.text(base.tree, ".gitattributes")
    sent = call.json.get("gitIgnore")
    ignore = sent if isinstance(sent, str) else hub.trees.text(base.tree, ".gitignore")
    return answer({"files": [_preupload(hub, base, attributes, ignore, file) for file in files]})


def _preupload(hub: Services, base: Commit, attributes: str, ignore: str, file: Any) -> dict[str, Any]:
    if not isinstance(file, dict) or not isinstance(file.get("path"), str):
        raise HttpError(400, "A file needs a path")
    path, size = file["path"], file.get("size")
    if not isinstance(size, int):
        raise HttpError(400, f"{path}: a file needs its size in bytes")
    large = is_lfs(attributes, path) or size > REGULAR_BYTES or _is_binary(file.get("sample"))
    item = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": is_ignored(ignore, path)}
    there = hub.trees.find(base.tree, path)
    if there is not None and not there.is_folder:
        item["oid"] = there.sha256 or there.oid
    return item


async def commit(hub: Services, call: Call) -> Response:
    """Apply operations as one commit, to a branch or as a new pull request."""
    repo = await call.run(hub.repo, call)
    _require_commit(repo, call)
    with hub.files.receive() as incoming:
        await call.feed(incoming.write)
        return await call.run(_commit_body, hub, call, repo, incoming)


def _commit_body(hub: Services, call: Call, repo: Repo, incoming: Any) -> Response:
    revision, author = call.params["rev"], call.caller.user
    with incoming.path.open("rb") as body, hub.db.write() as db:
        if hub.store.by_id(repo.id) is None:
            raise HttpError(404, "The repo was deleted meanwhile", code="RepoNotFound")
        if not call.flag("create_pr"):
            ref = hub.committer.branch_ref(repo, revision)
            made = hub.committer.commit(db, repo, ref, author, body)
            discussions.note_commit(db, repo, ref.name, made)
            return answer(_made(call, repo, made))
        base = hub.committer.branch_ref(repo, revision)
        pull = discussions.open_pull(db, repo, author, "", "", base.name, draft=False)
        hub.store.create_ref(db, repo, pull.ref, base.oid)
        made = hub.committer.commit(db, repo, Ref(pull.ref, base.oid), author, body)
        discussions.update(db, repo, pull.num, title=made.title)
        if made.message:
            discussions.add_event(db, repo, pull.num, "comment", author, {"raw": made.message})
        discussions.note_commit(db, repo, pull.ref, made)
        url = f"{call.origin}{repo.page}/discussions/{pull.num}"
        return answer({**_made(call, repo, made), "pullRequestUrl": url})


def super_squash(hub: Services, call: Call) -> Response:
    """Replace the history of a branch by one commit with its content."""
    repo = hub.repo(call, write="squash a branch")
    message = str(call.json.get("message") or f"Super-squash branch {call.params['rev']!r}")
    if hub.store.ref(repo, f"refs/tags/{call.params['rev']}"):
        raise HttpError(400, f"Invalid reference for a branch: refs/tags/{call.params['rev']}")
    with hub.db.write() as db:
        ref = hub.committer.branch_ref(repo, call.params["rev"])
        head = hub.store.commit(repo, ref.oid)
        made = hub.store.add_commit(db, repo, head.tree, (), call.caller.user, message, "")
        hub.store.point(db, repo, ref.name, made.oid)
    return answer({"oid": made.oid})


def _require_commit(repo: Repo, call: Call) -> None:
    if call.flag("create_pr") or call.params["rev"].startswith("refs/pr/"):
        call.caller.require_contribute("open a pull request")
    else:
        call.caller.require_write(repo.namespace, "commit")


def _made(call: Call, repo: Repo, made: Commit) -> dict[str, Any]:
    url = f"{call.origin}{repo.page}/commit/{made.oid}"
    return {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}


def _commit(commit: Commit, formatted: bool) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author, "avatar": ""}],
        "date": iso(commit.created),
    }
    if formatted:
        item["formatted"] = {"title": html.escape(commit.title), "message": _paragraphs(commit.message)}
    return item


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{html.escape(part)}</p>\n" for part in text.split("\n\n") if part)


def _is_binary(sample: Any) -> bool:
    try:
        data = base64.b64decode(str(sample or ""), validate=True)
    except binascii.Error as error:
        raise HttpError(400, "A sample is base64") from error
    return b"\0" in data


def _cursor(commit: Commit, path: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([commit.oid, path]).encode()).decode()


def _read_cursor(text: str | None) -> tuple[str, str]:
    if not text:
        return "", ""
    try:
        oid, path = json.loads(base64.urlsafe_b64decode(text))
    except ValueError as error:
        raise HttpError(400, "The cursor is not one of this hub") from error
    return str(oid), str(path)


ROUTES = (
    route("GET /api/{type}/{repo}/tree/{rev}", tree),
    route("GET /api/{type}/{repo}/tree/{rev}/{path}", tree),
    route("POST /api/{type}/{repo}/paths-info/{rev}", paths_info),
    route("GET /api/{type}/{repo}/refs", refs),
    route("POST /api/{type}/{repo}/branch/{rev}", create_branch),
    route("DELETE /api/{type}/{repo}/branch/{rev}", delete_branch),
    route("POST /api/{type}/{repo}/tag/{rev}", create_tag),
    route("DELETE /api/{type}/{repo}/tag/{rev}", delete_tag),
    route("GET /api/{type}/{repo}/commits/{rev}", commits),
    route("POST /api/{type}/{repo}/preupload/{rev}", preupload),
    route("POST /api/{type}/{repo}/super-squash/{rev}", super_squash),
    streaming_route("POST /api/{type}/{repo}/commit/{rev}", commit),
)
