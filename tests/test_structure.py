"""Who may import whom, what is imported when, and that no file grows beyond what one can read."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import run_python

ROOT = Path(__file__).parent.parent
PACKAGES = ("tevit", "app", "train")
PLAIN = {"numpy", "pycocotools"}
IN_METHODS = {"results": {"PIL", "pandas", "supervision"}}
HEAVY = ("torch", "torchvision", "timm", "plotly", "cv2", "av", "pandas", "supervision")


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """Every module that a file names in an import, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # A relative import counts from the file's own package.
            package = file.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join((*package, *([node.module] if node.module else [])))
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return names


def tops(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


@pytest.mark.parametrize(
    ("package", "forbidden"), [("tevit", {"app", "train", "gradio"}), ("app", {"train"}), ("train", {"app"})]
)
def test_packages_do_not_know_each_other(package, forbidden):
    for file in files(package):
        assert not tops(file) & forbidden, file


@pytest.mark.parametrize("name", ["results", "masks/ops", "configs"])
def test_plain_modules_need_no_framework(name):
    file = ROOT / "tevit" / f"{name}.py"
    assert tops(file) - set(sys.stdlib_module_names) <= PLAIN | {"tevit"} | IN_METHODS.get(name, set())


def test_the_model_knows_tensors_only():
    allowed = {"torch", "torchvision", "timm"} | set(sys.stdlib_module_names)
    for file in files("tevit/model"):
        assert tops(file) - allowed <= {"tevit"}, file
        ours = {name for name in imports(file) if name.startswith("tevit")}
        assert all(name.startswith(("tevit.model", "tevit.configs")) for name in ours), file
        assert not tops(file) & {"os", "pathlib", "json"}, file


PAGES = {
    "benchmark",
    "component",
    "events",
    "models",
    "ui",
    "views",
    "workspace",
}


def test_only_the_pages_know_gradio():
    """What is behind them runs without it."""
    for file in files("app"):
        assert file.stem in PAGES or "gradio" not in tops(file), file


def modules(package: str) -> list[str]:
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files(package)]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_survive_the_import_of_every_submodule():
    """Imported anew; what they import of others, and what other tests hold of them, stays."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tevit"}
    for name in before:
        del sys.modules[name]
    try:
        for name in modules("tevit"):
            importlib.import_module(name)
        tevit = importlib.import_module("tevit")
        functions = ("load", "evaluate", "find_errors", "open_dataset", "read_results")
        functions += ("write_results", "write_overlay", "open_frames", "from_supervision")
        assert all(callable(getattr(tevit, name)) for name in functions)
        assert set(tevit.__all__) <= set(dir(tevit)) and isinstance(tevit.Predictor, type)
        assert isinstance(tevit.Track, type) and isinstance(tevit.VideoResult, type) and "tevit_r50" in tevit.MODELS
        assert sorted(tevit.__all__) == sorted(
            {*functions, "Instance", "MODELS", "PredictOptions", "Predictor", "Track", "VideoResult"}
        )
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tevit"]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize(
    "code",
    [
        "import tevit, tevit.results",
        "from tevit.cli.main import parser; parser()",
        "import tevit.evaluation, tevit.io.ytvis",
        "import app.player.proxy, app.player.component, app.storage.results",
        "import app.tabs.segment.run",
    ],
)
def test_nothing_heavy_before_it_is_needed(code):
    assert python(f"{code}\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])") == "[]"


def test_motion_needs_no_torch(tmp_path):
    code = "import sys; from PIL import Image; from tevit.cli.main import main; "
    code += f"[Image.new('RGB', (64, 48)).save({str(tmp_path)!r} + f'/{{i}}.png') for i in range(3)]; "
    for option in ("", "'--stream', "):
        code += (
            f"main(['predict', {str(tmp_path)!r}, '--model', 'motion', {option}'--out', {str(tmp_path / 'out')!r}]); "
        )
    names = [f"{i}.png" for i in range(3)]
    video = {"id": 1, "width": 64, "height": 48, "length": 3, "file_names": names}
    (tmp_path / "set.json").write_text(
        json.dumps({"videos": [video], "categories": [{"id": 1, "name": "thing"}], "annotations": None})
    )
    dataset = ["predict", "--dataset", "set.json", "--frames", ".", "--model", "motion", "--out", "predicted"]
    code += f"import os; os.chdir({str(tmp_path)!r}); assert main({dataset!r}) == 0; "
    assert python(code + "print('torch' in sys.modules)").endswith("False")
    assert (tmp_path / "predicted" / "results.json").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_is_in_it(package):
    for file in (ROOT / package).rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(file.read_text())), file


LAYERS = ("model", "masks", "io", "video", "evaluation", "review", "synthetic", "inference", "benchmarks", "cli")


def test_folders_of_the_library_import_only_those_before_them():
    """So that there is no circle between folders."""
    for folder in (ROOT / "tevit").iterdir():
        if not (folder / "__init__.py").is_file():
            continue
        later = LAYERS[LAYERS.index(folder.name) + 1 :]
        for file in files(f"tevit/{folder.name}"):
            imported = {name.split(".")[1] for name in imports(file) if name.startswith("tevit.")}
            assert not imported & set(later), file


STUDIO = (
    "access",
    "tasks",
    "isolation",
    "page",
    "projects",
    "player",
    "storage",
    "analysis",
    "workspace",
)
TABS = ("segment", "datasets", "compare", "errors", "review")


def test_folders_of_the_studio_import_only_those_before_them():
    """No circle between folders; what the tabs share imports no tab. Other modules compose or start the studio."""
    layers = [f"app.{name}" for name in STUDIO] + [f"app.tabs.{name}" for name in TABS]

    def layer(module: str) -> int:
        return next((i for i, name in enumerate(layers) if f"{module}.".startswith(f"{name}.")), len(layers))

    for file in files("app"):
        own = layer(".".join(file.relative_to(ROOT).with_suffix("").parts))
        imported = {name for name in imports(file) if name.startswith("app.")}
        assert all(layer(name) <= own for name in imported), file


def test_help_and_completion_list_the_public_names(tmp_path):
    code = "import tevit, pydoc; print(*dir(tevit)); print(pydoc.plaintext.document(tevit))"
    shown = run_python("-c", code, folder=tmp_path).stdout.splitlines()
    tevit = importlib.import_module("tevit")
    assert shown[0].split() == sorted(tevit.__all__)
    text = "\n".join(shown[1:])
    assert all(name in text for name in tevit.__all__) and "load(name_or_file) gives a Predictor" in text
    assert "class PredictOptions" in text and "find_errors(" in text and "write_overlay(" in text


@pytest.mark.parametrize("package", ["app", "train"])
def test_imports_inside_the_studio_and_training_are_relative(package):
    """The wheel ships them under other names."""
    for file in files(package):
        absolute = [node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
                    and node.level == 0 and str(node.module).partition(".")[0] == package]  # fmt: skip
        # A script is in no package.
        assert absolute == (["app.app"] if file == ROOT / "app" / "app.py" else []), file


def test_llms_txt_lists_every_page_of_the_documents():
    text = (ROOT / "docs" / "llms.txt").read_text()
    pages = {file.name for file in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(([^)]*)\)", text)) == pages


@pytest.mark.parametrize("package", ("tevit", "app", "train"))
def test_functions_have_at_most_forty_lines(package):
    long = [
        f"{file.relative_to(ROOT)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file in files(package)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
        if node.end_lineno - node.lineno >= 40
    ]
    assert long == []
