"""Figures of the layout: modules, folders, imports between folders, circles, longest function.

    python tests/support/layout.py [CHECKOUT]

An import counts wherever it stands, also inside functions and for types only. ``test_layout.py``
holds the folders to their order.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

TOPS = ("matminer_unate", "training")
IDLE = re.compile(r"#|import |from \S+ import ")


def modules(checkout: Path) -> dict[str, Path]:
    """Dotted name of every module; those of ``training/`` are named from there."""
    found = {}
    for top in TOPS:
        for path in sorted((checkout / top).rglob("*.py")):
            start = checkout if top == "matminer_unate" else checkout / top
            parts = path.relative_to(start).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if name:
                found[name] = path
    return found


def imports_of(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the checkout that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                found.add(name)
    return found


def folder_of(path: Path, checkout: Path) -> str:
    """The folder of a module, as ``matminer_unate/crystals``."""
    return path.parent.relative_to(checkout).as_posix()


def arrows(checkout: Path) -> dict[str, set[str]]:
    """Imports between modules, by the importing one."""
    known = modules(checkout)
    return {name: imports_of(path, known) - {name} for name, path in known.items()}


def folder_arrows(checkout: Path) -> dict[str, set[str]]:
    """Imports between folders, by the importing one."""
    known = modules(checkout)
    found: dict[str, set[str]] = defaultdict(set)
    for name, others in arrows(checkout).items():
        home = folder_of(known[name], checkout)
        found[home] |= {folder_of(known[other], checkout) for other in others} - {home}
    return dict(found)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that can reach each other."""
    reach = {node: set(others) for node, others in graph.items()}
    for _ in graph:
        grown = {n: r.union(*(reach.get(o, set()) for o in r)) for n, r in reach.items()}
        if grown == reach:
            break
        reach = grown
    groups = {tuple(sorted(m for m in graph if m in reach[n] and n in reach[m])) for n in graph}
    return sorted([list(group) for group in groups if len(group) > 1])


def functions(checkout: Path) -> Iterator[tuple[int, str]]:
    """Lines and name of every function."""
    for name, path in modules(checkout).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{name}.{node.name}"


WINDOW = 6
"""Lines. As many that stand in two places are worth a look."""


def repeated_places(checkout: Path) -> int:
    """Places whose ``WINDOW`` lines stand elsewhere too; runs of more lines are one place.

    Blank lines, comments, imports and lone punctuation are passed over.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    files = []
    for path in modules(checkout).values():
        stripped = (" ".join(line.split()) for line in path.read_text("utf-8").splitlines())
        lines = [s for s in stripped if re.search(r"\w", s) and not IDLE.match(s)]
        files.append([tuple(lines[k : k + WINDOW]) for k in range(len(lines) - WINDOW + 1)])
        seen.update(files[-1])
    return sum(
        seen[window] > 1 and (k == 0 or seen[windows[k - 1]] == 1)
        for windows in files
        for k, window in enumerate(windows)
    )


def figures(checkout: Path) -> dict[str, object]:
    """What is printed, by its name."""
    known, by_module, by_folder = modules(checkout), arrows(checkout), folder_arrows(checkout)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in known.values())
    found: dict[str, object] = {"lines of source": lines}
    for top in TOPS:
        homes = {n: folder_of(p, checkout) for n, p in known.items()}
        homes = {n: home for n, home in homes.items() if home.split("/")[0] == top}
        mine = {n: by_module[n] & set(homes) for n in homes}
        rooms = {f: by_folder.get(f, set()) & set(homes.values()) for f in set(homes.values())}
        # The package's own __init__ gathers the public names.
        rooms.pop(top)
        counts = {
            "modules": len(mine),
            "folders": len(rooms) + 1,
            "most modules in one folder": max(Counter(homes.values()).values()),
            "imports between modules": sum(map(len, mine.values())),
            "imports between folders": sum(len(others - {top}) for others in rooms.values()),
            "circles of modules": len(circles(mine)),
            "circles of folders": len(circles(rooms)),
        }
        found |= {f"{top}: {name}": count for name, count in counts.items()}
    length, name = max(functions(checkout))
    found["longest function"] = f"{name}, {length} lines"
    return found | {"repeated places": repeated_places(checkout)}


if __name__ == "__main__":
    for name, value in figures(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()).items():
        print(f"{name:<48}{value}")
