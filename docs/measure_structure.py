"""Modules, lines and function lengths as a Markdown table: python docs/measure_structure.py [CHECKOUT ...]"""

import ast
import statistics
import sys
from collections import Counter
from pathlib import Path

PACKAGES = ("tevit", "app", "train")


def definitions(folder: Path) -> tuple[int, int, list[int], list[str]]:
    """Modules with code, lines, the length of each function and the classes of the Python files below a folder."""
    modules, lines, lengths, classes = 0, 0, [], []
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text()
        nodes = list(ast.walk(ast.parse(text)))
        lines += len(text.splitlines())
        # A package's __init__.py that holds only a docstring is not a module of its own.
        modules += any(not isinstance(node, ast.Expr) for node in ast.parse(text).body)
        lengths += [n.end_lineno - n.lineno + 1 for n in nodes if isinstance(n, ast.FunctionDef) and n.end_lineno]
        classes += {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    return modules, lines, lengths, classes


def main(roots: list[Path]) -> None:
    print("| checkout | package | modules | lines | functions: median / 90th percentile / longest |")
    print("|---|---|---|---|---|")
    for root in roots:
        classes = Counter()
        for package in PACKAGES:
            modules, lines, lengths, names = definitions(root / package)
            classes.update(names)
            ninth = sorted(lengths)[int(0.9 * len(lengths))]
            figures = f"{statistics.median(lengths):g} / {ninth} / {max(lengths)}"
            print(f"| {root.name or '.'} | {package} | {modules} | {lines} | {figures} |")
        repeated = sorted(name for name, count in classes.items() if count > 1)
        print(f"\nClass names in more than one file ({len(repeated)}): {', '.join(repeated) or 'none'}\n")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or [Path()])
