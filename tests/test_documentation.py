"""The documentation tells the truth: its code runs, and its links lead somewhere."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"])
SOURCES = sorted((ROOT / "src").rglob("*.py"))

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S
)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def python_blocks(text: str) -> list[tuple[int, str]]:
    """First line number and code of every fenced block marked ``python``."""
    blocks: list[tuple[int, str]] = []
    for fence in _FENCE.finditer(text):
        if fence["info"].strip() == "python":
            body = re.sub(rf"^{fence['indent']}", "", fence["body"], flags=re.M)
            blocks.append((text.count("\n", 0, fence.start("body")) + 1, body))
    return blocks


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "path", [p for p in PAGES if python_blocks(p.read_text("utf-8"))], ids=name
)
def test_code_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what an example writes stays out of the checkout
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in python_blocks(path.read_text("utf-8")):
        # Blank lines in front make a traceback point at the line of the page.
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)


@pytest.mark.parametrize("path", [p for p in SOURCES if ">>> " in p.read_text("utf-8")], ids=name)
def test_docstring_examples_are_right(path: Path) -> None:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0, "see the captured output"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_relative_links_lead_to_files(path: Path) -> None:
    prose = _FENCE.sub("", path.read_text("utf-8"))
    targets = [link["target"].partition("#")[0] for link in _LINK.finditer(prose)]
    local = [t for t in targets if t and not re.match(r"[a-z]+:", t)]
    missing = [t for t in local if not (path.parent / t).exists()]
    assert not missing, f"{name(path)} links to {missing}"


def test_blocks_are_found_with_their_lines() -> None:
    page = "# Title\n\n```python\na = 1\n```\n\n- item\n\n    ```python\n    b = 2\n    ```\n"
    page += "```sh\nls\n```\n"
    assert python_blocks(page) == [(4, "a = 1\n"), (10, "b = 2\n")]
