"""The floor plan of CONTRIBUTING.md, held against the imports of the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qflux_hub"
SIDE = "localhub"
SIDE_IMPORTS = {"errors", "report"}
SIDE_THIRD = {"starlette", "uvicorn", "blake3", "lz4", "yaml", "platformdirs"}


def plan() -> tuple[dict[str, int], dict[int, set[str]]]:
    """(room -> floor, floor -> third parties) as CONTRIBUTING.md draws them."""
    rooms: dict[str, int] = {}
    parties: dict[int, set[str]] = {}
    for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines():
        row = re.fullmatch(r"    (\d)\s+(\S+(?: \S+)*)(?:\s{2,}(.*))?", line)
        if row:
            floor = int(row[1])
            rooms |= dict.fromkeys(row[2].split(), floor)
            parties.setdefault(floor, set()).update((row[3] or "").split())
    return rooms, parties


FLOORS, PARTIES = plan()


def modules() -> list[Path]:
    return sorted(
        path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__main__.py" and path not in (PACKAGE / "__init__.py", PACKAGE / "lora" / "__init__.py")
    )


def room(path: Path) -> str:
    return room_of(path.relative_to(PACKAGE).with_suffix("").parts)


def room_of(parts: Sequence[str]) -> str:
    """The room of a module or of a name in it; in ``lora``, every module is a room."""
    return ".".join(parts[:2]) if parts[0] == "lora" else parts[0]


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a module imports, late imports included, type-checking ones left out."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_stands_on_a_floor_of_the_plan():
    assert {room(path) for path in modules()} - {SIDE} == FLOORS.keys()


def test_the_plan_goes_from_the_roof_to_the_ground_and_names_no_third_party_in_vain():
    assert list(PARTIES) == sorted(PARTIES, reverse=True)
    used: dict[int, set[str]] = {floor: set() for floor in PARTIES}
    for path in modules():
        if room(path) != SIDE:
            used[FLOORS[room(path)]] |= {name.split(".")[0] for name in imports(path)}
    assert all(PARTIES[floor] <= used[floor] for floor in PARTIES)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "qflux_hub" or len(parts) == 1 or parts[1] == "__version__":
            continue
        other = room_of(parts[1:])
        if other == own:
            continue
        if own == "cli" and parts[1] in ("LocalHub", *public()):
            continue
        if own == SIDE:
            assert parts[1] in SIDE_IMPORTS, f"localhub imports {name}"
        elif parts[1] == SIDE:
            opens = own == "hub" or (own == "preview" and name.startswith("qflux_hub.localhub.server."))
            assert opens, f"{own} imports {name}; only hub opens the embedded one"
        else:
            assert FLOORS[other] < FLOORS[own], f"{own} (floor {FLOORS[own]}) imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_third_parties_have_one_home(path):
    own = room(path)
    allowed = SIDE_THIRD if own == SIDE else PARTIES[FLOORS[own]]
    foreign = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"qflux_hub"}
    assert foreign <= allowed, f"{own} imports {foreign - allowed}"


def public() -> list[str]:
    import qflux_hub

    return qflux_hub.__all__


def test_importing_the_package_loads_nothing_heavy():
    loaded = "import sys, qflux_hub; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pyarrow", "datasets", "huggingface_hub", "PIL", "typer", "rich", "starlette"} & set(modules)
