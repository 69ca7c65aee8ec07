"""Nothing that runs code is loaded: every torch.load says so itself, whatever the environment does."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load", "eval", "exec", "os.system"}


def calls():
    for folder in ("torchdau", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield path, ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_what_is_loaded_is_data():
    loads = 0
    for path, name, keywords in calls():
        assert name not in FORBIDDEN, (path, name)
        if name == "torch.load":
            loads += 1
            assert keywords.get("weights_only") == "True", path
        if name == "np.load":
            assert keywords.get("allow_pickle", "False") == "False", path
    assert loads == 1
