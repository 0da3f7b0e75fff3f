"""Routes about repos as a whole: who am I, create, find, list, settings, move, delete."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import yaml
from starlette.responses import Response

from qflux_hub.localhub.exchange import Call, answer
from qflux_hub.localhub.problems import HttpError, forbidden
from qflux_hub.localhub.services import Services, route
from qflux_hub.localhub.store import TYPES, Commit, Repo, check_type
from qflux_hub.localhub.trees import Found

PAGE = 1000
_OPENED = re.compile(r"\s*---[ \t]*[\r\n]")
_BLOCK = re.compile(r"\s*---[ \t]*[\r\n]+([\s\S]*?)[\r\n]*---[ \t]*(?:[\r\n]|$)")
"""The metadata block of a card, found by the same rule as the clients find it."""


def iso(milliseconds: int) -> str:
    """A time as the Hub writes it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def health(hub: Services, call: Call) -> Response:
    """``GET /health``: the server answers and its database can be read."""
    del call
    repos = hub.db.connection.execute("SELECT count(*) FROM repo").fetchone()[0]
    return answer({"status": "ok", "repos": repos})


def whoami(hub: Services, call: Call) -> Response:
    """Who the token stands for."""
    return answer(hub.accounts.whoami(call.caller))


def create(hub: Services, call: Call) -> Response:
    """A new repo with its first commit."""
    call.caller.require_login()
    body = call.json
    repo_type = str(body.get("type") or "model")
    check_type(repo_type)
    namespace = str(body.get("organization") or call.caller.user)
    call.caller.require_write(namespace, f"create a {repo_type}")
    private = body.get("visibility") == "private" or bool(body.get("private"))
    name = str(body.get("name") or "")
    try:
        with hub.db.write() as db:
            repo = hub.store.create(db, repo_type, namespace, name, private=private)
            hub.committer.begin_repo(db, repo, call.caller.user)
    except HttpError as error:
        if "X-Existing-Repo" not in error.headers:
            raise
        page = error.headers["X-Existing-Repo"]
        return answer({"error": error.message, "url": call.origin + page}, status=409)
    return answer({"url": call.origin + repo.page, "name": repo.full_name, "id": f"{repo.id:024x}"})


def delete(hub: Services, call: Call) -> Response:
    """Delete a repo named in the body."""
    repo = _named(hub, call, str(call.json.get("organization") or call.caller.user), str(call.json.get("name")))
    call.caller.require_write(repo.namespace, "delete a repo")
    with hub.db.write() as db:
        hub.store.delete(db, repo)
    return answer({})


def move(hub: Services, call: Call) -> Response:
    """Give a repo another name, or another namespace that the caller may write to."""
    body = call.json
    source = str(body.get("fromRepo")).partition("/")
    target = str(body.get("toRepo")).partition("/")
    repo = _named(hub, call, source[0], source[2])
    call.caller.require_write(repo.namespace, "move a repo")
    call.caller.require_write(target[0], "move a repo")
    with hub.db.write() as db:
        hub.store.move(db, repo, target[0], target[2])
    return answer({})


def settings(hub: Services, call: Call) -> Response:
    """Change visibility and gating."""
    repo = hub.repo(call, write="change the settings of a repo")
    body = call.json
    private, gated = repo.private, repo.gated
    if "visibility" in body or "private" in body:
        if body.get("visibility", "private") not in ("private", "public"):
            raise HttpError(400, f"Visibility is public or private, not {body['visibility']!r}")
        private = body["visibility"] == "private" if "visibility" in body else bool(body["private"])
    if "gated" in body:
        if body["gated"] not in ("auto", "manual", False):
            raise HttpError(400, f"Gated is auto, manual or false, not {body['gated']!r}")
        gated = body["gated"] or ""
    with hub.db.write() as db:
        db.execute("UPDATE repo SET private = ?, gated = ? WHERE id = ?", (private, gated, repo.id))
    return answer({"private": private, "gated": gated or False})


def info(hub: Services, call: Call) -> Response:
    """A repo at a revision, with its files."""
    repo = hub.repo(call)
    commit = hub.store.resolve(repo, call.params.get("rev") or "main")
    return answer(describe(hub, repo, commit, blobs=call.flag("blobs"), expand=_expand(call)))


def listing(hub: Services, call: Call) -> Response:
    """The repos that the caller may see, filtered by author and search words."""
    repo_type = call.params["type"]
    if repo_type not in TYPES:
        return answer([])
    repos = hub.store.search(repo_type, call.caller, author=call.query.get("author"), search=call.query.get("search"))
    wanted = {tag for tag in call.query.get("filter", "").split(",") if tag}
    limit, skip = max(1, call.number("limit", PAGE)), call.number("skip", 0)
    found: list[dict[str, Any]] = []
    for number, repo in enumerate(repos[skip:], skip):
        commit = hub.store.resolve(repo, "main")
        if not wanted <= set(_tags(card_metadata(hub, commit))):
            continue
        if len(found) == limit:
            query = urlencode({**call.query, "skip": str(number)})
            return answer(found, headers={"Link": f'<{call.origin}{call.raw_path}?{query}>; rel="next"'})
        item = describe(hub, repo, commit, blobs=False, expand=_expand(call))
        if not call.flag("full"):
            item.pop("siblings", None)
        found.append(item)
    return answer(found)


def describe(hub: Services, repo: Repo, commit: Commit, *, blobs: bool, expand: set[str]) -> dict[str, Any]:
    """What ``repo_info`` says. ``expand`` picks fields; without it all are given."""
    head = hub.store.resolve(repo, "main")
    card = card_metadata(hub, commit)
    everything = {
        "author": repo.namespace,
        "sha": commit.oid,
        "lastModified": iso(head.created),
        "createdAt": iso(repo.created),
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(card),
        "cardData": card,
        "usedStorage": 0,
    }
    if not expand or "siblings" in expand:
        found = hub.trees.walk(commit.tree)
        if blobs:
            everything["siblings"] = [_sibling(file) for file in hub.trees.describe(found) if not file.is_folder]
        else:
            everything["siblings"] = [{"rfilename": path} for path, entry in found if not entry.is_tree]
    if "usedStorage" in expand:
        everything["usedStorage"] = used_storage(hub, repo)
    wanted = expand or everything.keys() - {"usedStorage"}
    identity = {"_id": f"{repo.id:024x}", "id": repo.full_name}
    if repo.type == "model":
        identity["modelId"] = repo.full_name
    return {**identity, **{key: value for key, value in everything.items() if key in wanted and value is not None}}


def used_storage(hub: Services, repo: Repo) -> int:
    """Bytes of the large files that the repo was given."""
    query = "SELECT total(o.size) FROM holding h JOIN object o ON o.sha256 = h.sha256 WHERE h.repo = ?"
    return int(hub.db.connection.execute(query, (repo.id,)).fetchone()[0])


def card_metadata(hub: Services, commit: Commit) -> dict[str, Any] | None:
    """The metadata block of README.md, None without one that can be read."""
    errors, metadata = read_metadata(hub.trees.text(commit.tree, "README.md"))
    return metadata if metadata and not errors else None


def read_metadata(text: str) -> tuple[list[str], dict[str, Any]]:
    """(errors, metadata) of a card's YAML block; both empty when it has none."""
    if not _OPENED.match(text):
        return [], {}
    block = _BLOCK.match(text)
    if block is None:
        return ["the metadata block is not closed by ---"], {}
    try:
        metadata = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        return [f"the metadata is not YAML: {error}"], {}
    if metadata is None:
        return [], {}
    if not isinstance(metadata, dict):
        return ["the metadata is not a mapping of keys to values"], {}
    return [], _jsonable(metadata)


def validate_yaml(hub: Services, call: Call) -> Response:
    """Check the metadata block of a card, as it is done before any commit that has one."""
    del hub
    content = call.json.get("content")
    if not isinstance(content, str):
        raise HttpError(400, "No content to check")
    errors, metadata = read_metadata(content)
    errors += _wrong_fields(metadata)
    warnings = []
    if not errors and not metadata:
        warnings.append({"message": "empty or missing yaml metadata in repo card"})
    return answer(
        {"errors": [{"message": error} for error in errors], "warnings": warnings}, status=400 if errors else 200
    )


def auth_check(hub: Services, call: Call) -> Response:
    """Whether the caller may read the repo."""
    hub.repo(call, content=True)
    return answer({})


def auth_check_write(hub: Services, call: Call) -> Response:
    """Whether the caller may write to the repo."""
    hub.repo(call, write="write to this repo")
    return answer({})


def _named(hub: Services, call: Call, namespace: str, name: str) -> Repo:
    call.caller.require_login()
    repo_type = str(call.json.get("type") or "model")
    check_type(repo_type)
    repo = hub.store.find(repo_type, f"{namespace}/{name}", call.caller)
    if not call.caller.owns(repo.namespace):
        raise forbidden(f"You don't have the rights to change {repo.full_name}")
    return repo


def _expand(call: Call) -> set[str]:
    values = [value for key, value in call.request.query_params.multi_items() if key in ("expand", "expand[]")]
    return {name for value in values for name in value.split(",")}


def _sibling(file: Found) -> dict[str, Any]:
    item: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": file.oid}
    if file.sha256:
        item["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return item


def _tags(card: dict[str, Any] | None) -> list[str]:
    tags: list[str] = []
    for key, value in (card or {}).items():
        values = value if isinstance(value, list) else [value]
        texts = [text for text in values if isinstance(text, str)]
        if key in ("tags", "library_name", "pipeline_tag"):
            tags += texts
        elif key in ("license", "language", "base_model", "task_categories", "size_categories"):
            prefix = "" if key == "language" else f"{key}:"
            tags += [prefix + text for text in texts]
    return list(dict.fromkeys([*tags, "region:us"]))


def _wrong_fields(metadata: dict[str, Any]) -> list[str]:
    errors = []
    for key in ("license", "pipeline_tag", "library_name", "pretty_name"):
        if key in metadata and not isinstance(metadata[key], str | list):
            errors.append(f'"{key}" must be a string')
    for key in ("tags", "language", "task_categories", "datasets", "configs"):
        if key in metadata and not isinstance(metadata[key], str | list):
            errors.append(f'"{key}" must be an array')
    index = metadata.get("model-index")
    if index is not None and not isinstance(index, list):
        errors.append('"model-index" must be an array')
    for number, model in enumerate(index if isinstance(index, list) else []):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            errors.append(f'"model-index[{number}].name" is required')
        elif not isinstance(model.get("results"), list):
            errors.append(f'"model-index[{number}].results" must be an array')
    return errors


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_jsonable(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


ROUTES = (
    route("GET /health", health),
    route("GET /api/whoami-v2", whoami),
    route("POST /api/repos/create", create),
    route("DELETE /api/repos/delete", delete),
    route("POST /api/repos/move", move),
    route("POST /api/validate-yaml", validate_yaml),
    route("GET /api/{type}", listing),
    route("PUT /api/{type}/{repo}/settings", settings),
    route("GET /api/{type}/{repo}/auth-check", auth_check),
    route("GET /api/{type}/{repo}/auth-check/write", auth_check_write),
    route("GET /api/{type}/{repo}/revision/{rev}", info),
    route("GET /api/{type}/{repo}", info),
)
