"""The rooms of the house: who may import whom (docs/architecture.md), and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import torchdau

ROOT = Path(torchdau.__file__).parent
ALLOWED = {
    "profile": set(),
    "bounds": {"arguments", "profile"},
    "workspace": set(),
    "kernels": {"kernels", "workspace"},
    "gpu": {"kernels"},
    "algorithms": {"algorithms", "arguments", "gpu", "kernels", "profile", "workspace"},
    "arguments": {"profile"},
    "functional": {"algorithms", "arguments", "bounds", "profile"},
    "init": {"arguments", "profile"},
    "padding": {"arguments"},
    "conv": {"algorithms", "arguments", "bounds", "functional", "habits", "init", "padding", "profile"},
    "habits": set(),
    "optim": {"arguments", "conv", "unit_optimizer"},
    "unit_optimizer": {"conv"},
    "surgery": {"algorithms", "arguments", "conv", "init", "profile", "surgery"},
    "models": {"arguments", "conv", "init", "models", "surgery"},
    "saving": {"arguments", "conv", "models", "surgery", "whole"},
    "whole": set(),
    "hub": {"saving"},
    "analysis": {"analysis", "conv", "flops", "models", "saving", "surgery"},
    "training": {"__version__", "analysis", "conv", "init", "models", "optim", "training", "whole"},
    "__main__": set(),
    "flops": {"profile"},
    "__init__": {"conv", "flops", "functional", "init", "optim", "saving", "surgery"},
}
OUTSIDE = {
    "models": {"timm", "torchvision"},
    "saving": {"safetensors"},
    "surgery": {"tqdm"},
    "hub": {"huggingface_hub"},
    "analysis": {"altair", "matplotlib"},
    "training": {
        *(
            "PIL",
            "cv2",
            "jinja2",
            "tensorboard",
            "vl_convert",
            "jsonargparse",
            "lightning",
            "numpy",
            "rich",
            "scipy",
            "sklearn",
            "torchmetrics",
            "torchvision",
            "yaml",
        ),
    },
}
FILES = sorted(ROOT.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{a.name}" if node.module == "torchdau" else node.module for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "torchdau_cli":
            assert room == "__main__", f"{path} imports {name}"
        elif top == "torchdau":
            assert rest[0] in ALLOWED[room], f"{path} imports {name}"
        elif top not in sys.stdlib_module_names and top != "torch":
            gpu = path.parent == ROOT / "gpu" or path.parent.name == "triton"
            allowed = {"triton"} if gpu else OUTSIDE.get(room, set())
            assert top in allowed, f"{path} imports {name}"
        if top == "matplotlib":
            assert path.parent == ROOT / "analysis" / "plots"
        if top == "altair":
            assert path == ROOT / "analysis" / "charts.py"


def test_no_algorithm_imports_another():
    names = set(torchdau.functional.ALGORITHMS)
    for name in names:
        others = {f"torchdau.algorithms.{other}" for other in names - {name}}
        for path in FILES:
            if path.is_relative_to(ROOT / "algorithms" / name) or path == ROOT / "algorithms" / f"{name}.py":
                assert not others & set(imported(path))


def test_import_needs_torch_alone():
    code = (
        "import sys, torch; before = set(sys.modules); import torchdau\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "assert not torch.cuda.is_initialized()\n"
        "others = 'matplotlib', 'lightning', 'torchvision', 'triton', 'timm', 'numpy', 'sklearn'\n"
        "bad = new & {*others, 'safetensors', 'huggingface_hub', 'tqdm'}\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_converting_needs_torch_alone():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tqdm', 'safetensors', 'timm', 'torchvision', 'numpy')))\n"
        "import torch, torchdau\n"
        "model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))\n"
        "torchdau.fold_(torchdau.prune_units_(torchdau.convert_(model, init='fit'), 0.1))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    functions = {
        "convert_",
        "convolutions",
        "dau_conv2d",
        "fold_",
        "optimizer",
        "parameter_groups",
        "prune_units_",
        "rescale_",
    }
    functions |= {"load_model", "pool_strides_", "save_model", "weak_units"}
    assert set(torchdau.__all__) == functions | {"DAUConv2d", "__version__", "init"}


def test_docs_name_every_room():
    text = (ROOT.parent / "docs" / "architecture.md").read_text()
    for path in FILES:
        if path.name != "__init__.py":
            assert path.name in text, f"docs/architecture.md does not speak of {path}"
