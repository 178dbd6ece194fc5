"""Rules for the whole source of herbray. `docs/security.md` gives the reasons."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("herbray", "jobs") for path in (ROOT / folder).rglob("*.py"))

FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "xml", "telnetlib", "ftplib"}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load",
    "mlflow.pyfunc.load_model", "mlflow.pytorch.load_model", "torch.hub.load", "torch.jit.load", "torch.package",
    "joblib.load", "np.fromfile", "shutil.unpack_archive", "tempfile.mktemp", "pd.read_pickle",
}  # fmt: skip
ALLOWED = {
    ("herbray/tracking/served.py", "spec.loader.exec_module")
}  # runs with a registered version, never in herbray


def calls(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_is_read_is_executed(path):
    name = path.relative_to(ROOT).as_posix()
    for call, node in calls(path):
        assert call not in FORBIDDEN_CALLS, f"{name}:{node.lineno}: {call}"
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if call == "torch.load":
            assert given.get("weights_only") == "True", f"{name}:{node.lineno}: torch.load without weights_only=True"
        if call.endswith("exec_module"):
            assert (name, call) in ALLOWED, f"{name}:{node.lineno}: {call}"
        assert given.get("allow_pickle", "False") == "False", f"{name}:{node.lineno}: allow_pickle"
        assert given.get("shell", "False") == "False", f"{name}:{node.lineno}: a shell"
        assert call.rpartition(".")[2] not in ("extractall", "extract_all"), f"{name}:{node.lineno}: unpacks blindly"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        bad = {each.partition(".")[0] for each in names} & FORBIDDEN_IMPORTS
        assert not bad, f"{name}: imports {bad}"


@pytest.mark.slow
def test_templates_escape_everything_but_our_own_figures():
    for path in (ROOT / "herbray").rglob("*.j2"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*(safe|e\b|escape)|autoescape|<script|\bon[a-z]+=", text), path
        for attribute in re.findall(r"=(\{\{.*?\}\})", text):
            raise AssertionError(f"{path}: an attribute without quotes: {attribute}")
    marked = [path.name for path in SOURCES for call, _ in calls(path) if call.rpartition(".")[2] == "Markup"]
    assert marked == ["drawing.py"]  # SVG of matplotlib, which escapes its texts


@pytest.mark.slow
def test_csv_is_written_where_formulas_are_defused():
    writers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for call, _ in calls(path)
        if call in ("csv.writer", "csv.DictWriter", "pacsv.write_csv", "pa.csv.write_csv", "csv.write_csv")
    }
    own_names = "herbray/data/sources/synthetic/layouts.py"  # invented names, read back unchanged
    assert writers <= {"herbray/spreadsheet.py", own_names}


def test_no_secret_and_no_private_place_is_in_the_repository():
    pattern = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{20}|xox[bp]-")
    for path in [*SOURCES, *(ROOT / "docs").rglob("*.md"), *(ROOT / "cluster").rglob("*"), *(ROOT / "jobs").iterdir()]:
        if path.is_file() and path.suffix != ".pyc":
            assert not pattern.search(path.read_text(encoding="utf-8", errors="replace")), path
