"""Every Python block of the README and of the docs runs, one page from top to bottom in one namespace."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))) if page.exists()]

_OPEN = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")


def blocks(text: str) -> list[tuple[int, str]]:
    """(number of the first line, code) of each Python block of a page.

    Raises:
        ValueError: A block is tagged with more than `python` (there are no blocks that do not run), or is not closed.
    """
    found, lines, number = [], text.splitlines(), 0
    while number < len(lines):
        start = _OPEN.match(lines[number])
        number += 1
        if not start:
            continue
        info, first, indent, code = start["info"].strip(), number, len(start["indent"]), []
        while number < len(lines) and lines[number].strip() != start["fence"]:
            code.append(lines[number][indent:] if not lines[number][:indent].strip() else lines[number])
            number += 1
        if number == len(lines):
            raise ValueError(f"Line {first}: the block must be closed by {start['fence']}, but the page ends.")
        number += 1
        if info.lower().startswith(("py", "{py", "{.py")):
            if info != "python":
                raise ValueError(f"Line {first}: a Python block must be tagged 'python', but is tagged {info!r}.")
            found.append((first + 1, "\n".join(code)))
    return found


def run(page: str, text: str) -> dict[str, object]:
    """Run the blocks of a page; a traceback shows the line of the page."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(text):
        exec(compile("\n" * (line - 1) + code, page, "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    "page",
    [page if page.name == "README.md" else pytest.param(page, marks=pytest.mark.slow) for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run(str(page), page.read_text(encoding="utf-8"))


def test_blocks_run_in_order_in_one_namespace():
    page = """
        # Page
        ```python
        a = 1
        ```
        Text, `code`.
        ```bash
        exit 1
        ```
        1. item
           ```python
           if a:
               b = a + 1
           ```
    """
    assert run("page", textwrap.dedent(page))["b"] == 2


def test_an_error_names_the_line_of_the_page():
    with pytest.raises(ZeroDivisionError) as caught:
        run("page.md", "Text\n\n```python\na = 1\na / 0\n```\n")
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == ("page.md", 5)


@pytest.mark.parametrize("tag", ["python no-run", "python3", "py", "{python}", "Python"])
def test_no_block_is_left_out(tag):
    with pytest.raises(ValueError, match="must be tagged 'python'"):
        blocks(f"```{tag}\n1 / 0\n```\n")


def test_a_block_that_is_not_closed():
    with pytest.raises(ValueError, match="Line 1: the block must be closed"):
        blocks("```python\n1 / 0\n")
