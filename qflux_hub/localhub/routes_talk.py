"""Routes of discussions and pull requests."""

from __future__ import annotations

import difflib
import html
from typing import Any

from starlette.responses import Response

from qflux_hub.localhub import discussions
from qflux_hub.localhub.discussions import Discussion, Event
from qflux_hub.localhub.exchange import Call, answer
from qflux_hub.localhub.problems import HttpError, forbidden
from qflux_hub.localhub.routes_repos import iso
from qflux_hub.localhub.services import Services, route
from qflux_hub.localhub.store import MAIN, Repo

PAGE = 50
DIFF_BYTES = 1_000_000
"""A changed file larger than this is named in a diff, but not shown."""


def listing(hub: Services, call: Call) -> Response:
    """The threads of a repo, newest first, in pages."""
    repo = hub.repo(call)
    kind, status = call.query.get("type", "all"), call.query.get("status", "all")
    author, page = call.query.get("author"), call.number("p", 0)
    found = [
        thread
        for thread in discussions.find(hub.db.connection, repo)
        if kind in ("all", "pull_request" if thread.pull else "discussion")
        and status in ("all", "open" if thread.is_open else "closed")
        and author in (None, thread.author)
    ]
    shown = [_summary(repo, thread) for thread in found[page * PAGE : (page + 1) * PAGE]]
    return answer({"discussions": shown, "count": len(found), "start": page * PAGE})


def create(hub: Services, call: Call) -> Response:
    """A new discussion, or a new pull request without changes yet."""
    repo = hub.repo(call)
    call.caller.require_contribute("take part in discussions")
    title, text = str(call.json.get("title") or "").strip(), str(call.json.get("description") or "")
    if len(title) < 3:
        raise HttpError(400, "A title has at least 3 characters")
    with hub.db.write() as db:
        if call.json.get("pullRequest"):
            thread = discussions.open_pull(db, repo, call.caller.user, title, text, MAIN, draft=True)
            hub.store.create_ref(db, repo, thread.ref, hub.store.resolve(repo, MAIN).oid)
        else:
            thread = discussions.open_discussion(db, repo, call.caller.user, title, text)
    return answer({"num": thread.num, "url": f"{call.origin}{repo.page}/discussions/{thread.num}"})


def details(hub: Services, call: Call) -> Response:
    """One thread with its events and, for a pull request, what it changes."""
    repo = hub.repo(call)
    thread = _thread(hub, call, repo)
    body = _summary(repo, thread)
    body["events"] = [_event(event) for event in discussions.events(hub.db.connection, repo, thread.num)]
    if thread.pull:
        body["changes"] = {"base": thread.base, **({"mergeCommitId": thread.merged} if thread.merged else {})}
        body["filesWithConflicts"] = discussions.conflicts(hub.store, hub.trees, repo, thread)
        if call.flag("diff"):
            body["diff"] = _diff(hub, repo, thread)
    return answer(body)


def comment(hub: Services, call: Call) -> Response:
    """Add a comment."""
    repo = hub.repo(call)
    call.caller.require_contribute("take part in discussions")
    thread = _thread(hub, call, repo)
    text = str(call.json.get("comment") or "")
    with hub.db.write() as db:
        event = discussions.add_event(db, repo, thread.num, "comment", call.caller.user, {"raw": text})
    return answer({"newMessage": _event(event)})


def edit_comment(hub: Services, call: Call) -> Response:
    """Change the text of one's own comment."""
    return _rewrite(hub, call, {"raw": str(call.json.get("content") or ""), "edited": True})


def hide_comment(hub: Services, call: Call) -> Response:
    """Take a comment's text away."""
    return _rewrite(hub, call, {"raw": "", "hidden": True})


def rename(hub: Services, call: Call) -> Response:
    """Change the title."""
    repo, thread = _own_thread(hub, call)
    title = str(call.json.get("title") or "").strip()
    if len(title) < 3:
        raise HttpError(400, "A title has at least 3 characters")
    with hub.db.write() as db:
        discussions.update(db, repo, thread.num, title=title)
        data = {"from": thread.title, "to": title}
        event = discussions.add_event(db, repo, thread.num, "title-change", call.caller.user, data)
    return answer({"newTitle": _event(event)})


def change_status(hub: Services, call: Call) -> Response:
    """Open or close a thread."""
    repo, thread = _own_thread(hub, call)
    status = call.json.get("status")
    if status not in ("open", "closed") or thread.status == "merged":
        raise HttpError(400, f"A thread that is {thread.status} cannot become {status!r}")
    with hub.db.write() as db:
        discussions.update(db, repo, thread.num, status=str(status))
        event = discussions.add_event(
            db,
            repo,
            thread.num,
            "status-change",
            call.caller.user,
            {"status": status, "comment": call.json.get("comment")},
        )
        if call.json.get("comment"):
            discussions.add_event(db, repo, thread.num, "comment", call.caller.user, {"raw": str(call.json["comment"])})
    return answer({"newStatus": _event(event)})


def merge(hub: Services, call: Call) -> Response:
    """Merge a pull request into its base; 409 when both sides changed a file differently."""
    repo = hub.repo(call, write="merge a pull request")
    with hub.db.write() as db:
        thread = _thread(hub, call, repo)
        made = discussions.merge(db, hub.store, hub.trees, repo, thread, call.caller.user)
    return answer({"mergeCommitId": made.oid})


def _thread(hub: Services, call: Call, repo: Repo) -> Discussion:
    if not call.params["num"].isdigit():
        raise HttpError(404, f"There is no discussion {call.params['num']!r}")
    return discussions.get(hub.db.connection, repo, int(call.params["num"]))


def _own_thread(hub: Services, call: Call) -> tuple[Repo, Discussion]:
    repo = hub.repo(call)
    call.caller.require_contribute("take part in discussions")
    thread = _thread(hub, call, repo)
    if thread.author != call.caller.user and not call.caller.owns(repo.namespace):
        raise forbidden("Only its author and the owners of the repo may change this discussion")
    return repo, thread


def _rewrite(hub: Services, call: Call, change: dict[str, Any]) -> Response:
    repo = hub.repo(call)
    call.caller.require_contribute("take part in discussions")
    thread = _thread(hub, call, repo)
    with hub.db.write() as db:
        event = discussions.event(db, repo, thread.num, call.params["event"])
        if event.type != "comment":
            raise HttpError(400, "Only comments can be changed")
        if event.author != call.caller.user and not call.caller.owns(repo.namespace):
            raise forbidden("Only its author and the owners of the repo may change this comment")
        return answer({"updatedComment": _event(discussions.rewrite(db, event, change))})


def _summary(repo: Repo, thread: Discussion) -> dict[str, Any]:
    return {
        "num": thread.num,
        "title": thread.title,
        "author": {"name": thread.author},
        "status": thread.status,
        "createdAt": iso(thread.created),
        "isPullRequest": thread.pull,
        "repo": {"name": repo.full_name, "type": repo.type},
    }


def _event(event: Event) -> dict[str, Any]:
    data = event.data
    if event.type == "comment":
        when, author = iso(int(data.get("changed", event.created))), {"name": event.author}
        latest = {"raw": data["raw"], "html": f"<p>{html.escape(data['raw'])}</p>", "updatedAt": when, "author": author}
        edited, hidden = bool(data.get("edited")), bool(data.get("hidden"))
        data = {"edited": edited, "hidden": hidden, "latest": latest, "history": [], "numEdits": int(edited)}
    author_of = {"name": event.author}
    return {"id": event.id, "type": event.type, "createdAt": iso(event.created), "author": author_of, "data": data}


def _diff(hub: Services, repo: Repo, thread: Discussion) -> str:
    lines: list[str] = []
    for path, (old, new) in discussions.changes(hub.store, hub.trees, repo, thread).items():
        lines.append(f"diff --git a/{path} b/{path}")
        lines += [f"deleted file mode {old.mode}"] if old and not new else []
        lines += [f"new file mode {new.mode}"] if new and not old else []
        texts = [hub.trees.blob(entry.oid) if entry else b"" for entry in (old, new)]
        if any(b"\0" in text or len(text) > DIFF_BYTES for text in texts):
            lines.append(f"Binary files a/{path} and b/{path} differ")
            continue
        before, after = (text.decode(errors="replace").splitlines() for text in texts)
        names = (f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null")
        lines += difflib.unified_diff(before, after, *names, lineterm="")
    return "\n".join(lines) + "\n" if lines else ""


ROUTES = (
    route("GET /api/{type}/{repo}/discussions", listing),
    route("POST /api/{type}/{repo}/discussions", create),
    route("GET /api/{type}/{repo}/discussions/{num}", details),
    route("POST /api/{type}/{repo}/discussions/{num}/comment", comment),
    route("POST /api/{type}/{repo}/discussions/{num}/comment/{event}/edit", edit_comment),
    route("POST /api/{type}/{repo}/discussions/{num}/comment/{event}/hide", hide_comment),
    route("POST /api/{type}/{repo}/discussions/{num}/title", rename),
    route("POST /api/{type}/{repo}/discussions/{num}/status", change_status),
    route("POST /api/{type}/{repo}/discussions/{num}/merge", merge),
)
