"""A Markdown card taken apart, and the YAML at its top changed in place.

Changes are made in the text, at the spans where the parsed nodes lie, so that everything else (comments, order,
quotes, line ends) stays byte for byte. A value that already says what it should is not touched either. Every change is
proven by parsing the result: if anything but the wanted value differs, nothing is changed and DataError says so. That
is how anchors, aliases and other rare YAML are refused rather than damaged.

Where the front matter begins and ends is what the Hub's server says (the expression in ``huggingface_hub.repocard``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from qflux_hub.errors import DataError

KeyPath = tuple[str | int, ...]
"""Where a value is: keys of mappings and positions in lists, from the top."""

HINT = "Correct the card on the Hub, or upload with --no-card to leave it alone."

_BREAKS = "\n\r\x85\u2028\u2029"  # what YAML 1.1 calls a line break
_LINE_END = re.compile(rf"[^{_BREAKS}]*(?:\r\n|[{_BREAKS}]|\Z)")
_MATTER = re.compile(
    r"(?P<opening>\ufeff?\s*---(?:\r\n|\r|\n))(?P<yaml>[\S\s]*?(?:\r\n|\r|\n))(?P<closing>---[ \t]*(?:\r\n|\n|\Z))"
)
_EMPTY = re.compile(r"(?P<opening>\ufeff?\s*---(?:\r\n|\r|\n))(?P<yaml>)(?P<closing>---[ \t]*(?:\r\n|\n|\Z))")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./*-]*")  # read as text, unquoted, by YAML 1.1 and 1.2 but for yes, null, …
_ALIAS = "alias"

NodeT = TypeVar("NodeT", bound=Node)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The YAML of a card as text that ends with a line break (or is empty). ``line`` is where it begins, from 1."""

    text: str = ""
    newline: str = "\n"
    line: int = 2

    @property
    def data(self) -> dict[str, Any]:
        """What it says, to read only. Raises DataError, with the line, when it is not YAML or not a mapping."""
        self._root()
        return self._parsed(lambda: _loaded(self.text)) or {}

    def put(self, path: KeyPath, value: Any) -> FrontMatter:
        """With ``value`` under the key that ``path`` ends with; the mapping it goes into must exist.

        A new key comes last in its mapping; at the top, behind all comments.
        """
        parent, key = self._node(path[:-1], MappingNode), str(path[-1])
        pair = _pair(parent, key)
        if pair is None and len(path) == 1 and not parent.flow_style:
            text = self.text + self._block({key: value}, parent.start_mark.column)
        elif pair is None:
            text = self._with_key(parent, {key: value})
        elif _tree(pair[1]) == _tree_of(value):
            return self
        else:
            text = self._with_value(parent, *pair, value)
        return self._proven(text, path, lambda inside: inside.update({key: _tree_of(value)}))

    def insert(self, path: KeyPath, position: int, value: Any) -> FrontMatter:
        """With ``value`` in the list at ``path``, which must have items, before the one that is at ``position``."""
        items = self._node(path, SequenceNode)
        if items.flow_style:
            if position < len(items.value):
                text = self._spliced(items.value[position].start_mark.index, f"{_flow(value)}, ")
            else:
                text = self._spliced(_end(items.value[-1]), f", {_flow(value)}")
        else:
            column = items.start_mark.column
            lines = self._block([value], column)
            if position == 0:
                text = self._spliced(items.start_mark.index, lines[column:] + " " * column)
            else:
                text = self._spliced(self._line_end(_end(items.value[position - 1])), lines)
        return self._proven(text, (*path, position), lambda inside: inside.insert(position, _tree_of(value)))

    def drop(self, path: KeyPath) -> FrontMatter:
        """Without the key or the list item at ``path``. Comments on lines of their own stay."""
        parent: CollectionNode = self._node(path[:-1])
        last = path[-1]
        spans = _spans(parent)
        is_list = isinstance(parent, SequenceNode)
        names: Sequence[str | int] = range(len(spans)) if is_list else [_key(key) for key, _ in parent.value]
        if last not in names:
            raise self._refused(path)
        at = names.index(last)
        start, end = spans[at]
        if len(spans) == 1:
            return self.put(path[:-1], [] if is_list else {})
        if parent.flow_style:
            start, end = (spans[at - 1][1], end) if at else (start, spans[1][0])
        elif not is_list and at == 0:
            end = spans[1][0]  # the first key may stand behind a dash: the next one takes its place
        else:
            start = self._dash(parent, spans, at) if is_list else start
            start, end = self._indent(start), self._line_end(end)
        return self._proven(self._spliced(start, "", end), path, lambda inside: inside.__delitem__(last))

    def enlist(self, path: KeyPath) -> FrontMatter:
        """With the mapping at ``path`` as the only item of a list."""
        node = self._node(path, MappingNode)
        start, column = node.start_mark.index, node.start_mark.column
        if node.flow_style:
            text = self._spliced(start, f"[{self.text[start : node.end_mark.index]}]", node.end_mark.index)
        elif self.text[start - 2 : start] == "  ":
            text = self._spliced(start - 2, "- ", start)
        else:
            text = self._spliced(start - column, f"-{self.newline}")
        key = path[-1]
        return self._proven(text, path, lambda inside: inside.__setitem__(key, [inside[key]]))

    def refusal(self, message: str, path: KeyPath = ()) -> DataError:
        """The error that says ``message`` of what is at ``path``, or of the nearest thing above it."""
        node: Any = self._root()
        index = 0
        for step in path:
            pair = _pair(node, str(step))
            is_item = isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value)
            node = node.value[step] if is_item else pair and pair[1]
            if node is None:
                break
            index = (pair[0] if pair else node).start_mark.index
        return self._error(message, index)

    def _error(self, message: str, index: int) -> DataError:
        line = self.line + len(re.findall(rf"\r\n|[{_BREAKS}]", self.text[:index]))
        return DataError(f"README.md, line {line}: {message}", hint=HINT)

    def _root(self) -> MappingNode | None:
        root = self._parsed(lambda: _composed(self.text))
        if root is None or isinstance(root, MappingNode):
            return root
        kind = "list" if isinstance(root, SequenceNode) else "text"
        raise self._error(f"the front matter is a {kind}; it must be `key: value` lines", root.start_mark.index)

    def _parsed(self, parse: Callable[[], Any]) -> Any:
        try:
            return parse()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = error.problem or error.context or "not readable"
            raise self._error(f"the front matter is not valid YAML: {reason}", mark.index if mark else 0) from error
        except yaml.reader.ReaderError as error:
            reason = f"the character U+{int(error.character):04X} is not allowed"
            raise self._error(f"the front matter is not valid YAML: {reason}", error.position) from error
        except (ValueError, OverflowError) as error:  # a date or number that does not exist, such as 2023-02-30
            raise self._error(f"the front matter has an impossible value: {error}", 0) from error
        except RecursionError as error:
            raise self._error("the front matter is nested too deeply", 0) from error

    def _node(self, path: KeyPath, kind: type[NodeT] = CollectionNode) -> NodeT:  # type: ignore[assignment]
        """The collection at ``path``; of an empty front matter, an empty mapping. No anchors on the way."""
        node: Any = self._root() or MappingNode("tag:yaml.org,2002:map", [], _START, _START, flow_style=False)
        for step in path:
            if isinstance(step, str):
                pair = _pair(node, step)
                node = pair and pair[1]
            else:
                node = node.value[step] if isinstance(node, SequenceNode) else None
            if node is None or self.text.startswith(("&", "!"), node.start_mark.index):
                raise self._refused(path)
        if not isinstance(node, kind):
            raise self._refused(path)
        return node

    def _proven(self, text: str, path: KeyPath, change: Callable[[Any], object]) -> FrontMatter:
        """The changed text, if all it changes is what ``change`` does to the parsed parent of ``path``."""
        before: Any = _tree(self._node(()))
        inside = before
        for step in path[:-1]:
            inside = inside[step]
        change(inside)
        after = replace(self, text=text)
        try:
            same = _tree(after._node(())) == before and after.data is not None  # which fails for a lost anchor
        except DataError as error:
            raise self._refused(path) from error
        if not same:
            raise self._refused(path)
        return after

    def _refused(self, path: KeyPath) -> DataError:
        where = ".".join(str(step) for step in path)
        reason = "cannot be changed without changing more (is it an anchor, an alias or tagged?)"
        return self.refusal(f"`{where}` {reason}", path)

    def _with_key(self, parent: MappingNode, pair: dict[str, Any]) -> str:
        if not parent.flow_style:
            column = parent.value[0][0].start_mark.column
            return self._spliced(self._line_end(_end(parent)), self._block(pair, column))
        if not parent.value:
            return self._spliced(self.text.index("{", parent.start_mark.index) + 1, _flow(pair)[1:-1])
        return self._spliced(_end(parent.value[-1][1]), f", {_flow(pair)[1:-1]}")

    def _with_value(self, parent: CollectionNode, key: Node, node: Node, value: Any) -> str:
        start, end = node.start_mark.index, _end(node)
        after = self.newline if end > start and self.text[end - 1] in _BREAKS else ""  # behind a block scalar
        filled = isinstance(value, (list, dict)) and value
        if parent.flow_style:
            return self._spliced(start, _flow(value) if start < end else f" {_flow(value)}", end)
        column, least = node.start_mark.column, key.start_mark.column + isinstance(value, dict)
        in_place = isinstance(node, CollectionNode) and not node.flow_style and self.text[start] not in "&!"
        if filled and in_place and column >= least:
            return self._spliced(start, self._block(value, column)[column:].removesuffix(self.newline) + after, end)
        colon = self.text.find(":", key.end_mark.index) + 1
        if not filled:
            return self._spliced(colon, f" {_flow(value)}{after}", end)
        lines = self._block(value, key.start_mark.column + 2 * isinstance(value, dict))
        return self._spliced(colon, self.newline + lines.removesuffix(self.newline) + after, end)

    def _spliced(self, start: int, new: str, end: int | None = None) -> str:
        return self.text[:start] + new + self.text[start if end is None else end :]

    def _block(self, value: Any, column: int) -> str:
        """``value`` in block style, every line indented by ``column`` and ended."""
        lines = _dump(value, flow=False).splitlines()
        return "".join(" " * column + line + self.newline for line in lines)

    def _line_end(self, index: int) -> int:
        """Behind the line that holds the last character before ``index``, its comment and its break included."""
        if index and self.text[index - 1] in _BREAKS:
            return index
        found = _LINE_END.match(self.text, index)
        return found.end() if found else index

    def _indent(self, index: int) -> int:
        """Where the spaces before ``index`` begin."""
        return len(self.text[:index].rstrip(" "))

    def _dash(self, items: CollectionNode, spans: list[tuple[int, int]], at: int) -> int:
        """Where the dash of an item of a block list is."""
        if at == 0:
            return items.start_mark.index
        found = re.compile(rf"(?<=[{_BREAKS}]) *(-)(?=\s)").search(self.text, spans[at - 1][1], spans[at][0] + 1)
        return found.start(1) if found else spans[at][0]


@dataclass(frozen=True, slots=True)
class CardText:
    """A card taken apart: ``opening + matter.text + closing + body`` is the text again, byte for byte.

    Text must be decoded as UTF-8 with its byte order mark and its line ends kept.
    """

    opening: str
    matter: FrontMatter
    closing: str
    body: str

    @property
    def text(self) -> str:
        """The whole card; one without front matter gets no lines for it."""
        if not self.matter.text and not self.closing:
            return self.opening + self.body
        return "".join((self.opening, self.matter.text, self.closing, self.body))

    def with_matter(self, matter: FrontMatter) -> CardText:
        """With other front matter, between the two lines that it needs."""
        if self.closing or not matter.text:
            return replace(self, matter=matter)
        rule = f"---{matter.newline}"
        return replace(self, opening=self.opening + rule, matter=matter, closing=rule)


def take_apart(text: str) -> CardText:
    """Where the front matter of a card begins and ends, as the Hub sees it. Nothing is parsed yet."""
    found = _EMPTY.match(text) or _MATTER.match(text)
    if found is None:
        mark = text[: text.startswith("\ufeff")]
        broken = re.search(r"\r?\n", text)
        return CardText(mark, FrontMatter("", broken.group() if broken else "\n"), "", text[len(mark) :])
    opening = found["opening"]
    newline = "\r\n" if opening.endswith("\r\n") else "\n"  # a lone CR would hide the end of the front matter
    line = 1 + len(re.findall(r"\r\n|\r|\n", opening))
    return CardText(opening, FrontMatter(found["yaml"], newline, line), found["closing"], text[found.end() :])


class _Composer(yaml.SafeLoader):
    """Composes nodes whose marks are true: an alias is a leaf of its own. Keys that appear twice are errors."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            return ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)
        node = super().compose_node(parent, index)
        if isinstance(node, MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if _key(key) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key `{key.value}` appears twice", problem_mark=key.start_mark
                    )
                seen.add(_key(key))
        return node


class _Dumper(yaml.SafeDumper):
    """Writes text so that YAML 1.1 and 1.2 (the Hub's) read the same; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> ScalarNode:
    style = None if _PLAIN.fullmatch(value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_text)
_START = yaml.Mark("README.md", 0, 0, 0, None, 0)


def _dump(value: Any, *, flow: bool) -> str:
    return str(
        yaml.dump(value, Dumper=_Dumper, default_flow_style=flow, sort_keys=False, width=1 << 30, allow_unicode=True)
    )


def _flow(value: Any) -> str:
    """``value`` on one line, such as may stand anywhere."""
    return _dump([value], flow=True).strip()[1:-1]


@lru_cache(maxsize=8)
def _composed(text: str) -> Node | None:
    """The nodes of ``text``; never changed, so that every step of a merge can ask for them."""
    return yaml.compose(text, Loader=_Composer)


@lru_cache(maxsize=8)
def _loaded(text: str) -> Any:
    return yaml.safe_load(text)


def _key(node: Node) -> str:
    """A mapping's key as a word; keys that are not text carry their type, so that ``1`` and ``"1"`` differ."""
    text = node.value if isinstance(node, ScalarNode) else repr(_tree(node))
    return str(text) if node.tag == "tag:yaml.org,2002:str" else f"{node.tag} {text}"


def _pair(node: Node | None, key: str) -> tuple[Node, Node] | None:
    if not isinstance(node, MappingNode):
        return None
    return next((pair for pair in node.value if _key(pair[0]) == key), None)


def _tree(node: Node | None) -> Any:
    """What a node says, for comparing: types and texts, without marks and quotes."""
    if isinstance(node, MappingNode):
        return {_key(key): _tree(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [_tree(value) for value in node.value]
    return node and (node.tag, node.value)


def _tree_of(value: Any) -> Any:
    return _tree(yaml.compose(_dump(value, flow=True), Loader=_Composer))


def _spans(node: CollectionNode) -> list[tuple[int, int]]:
    """(first, behind the last) character of each pair or item."""
    pairs = node.value if isinstance(node, MappingNode) else [(item, item) for item in node.value]
    return [(first.start_mark.index, _end(last)) for first, last in pairs]


def _end(node: Node) -> int:
    """Behind the last character of a node. A block collection's own mark lies behind the comments that follow it."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        return _spans(node)[-1][1]
    return int(node.end_mark.index)
