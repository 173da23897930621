"""Every path, module, make target and `apex` command that the documents and the Makefile name exists."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from apex_tasks.cli.commands import app
from tests.support.headings import anchors
from tests.support.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MAKEFILE = ROOT / "Makefile"
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE.read_text(), re.MULTILINE))
NOT_OURS = (".venv", ".git", ".demo", ".cache")
NAMES = {path.name for top in ROOT.iterdir() if top.name not in NOT_OURS for path in (top, *top.rglob("*"))}
PATH = re.compile(r"[\w.*<>…-]+(?:/[\w.*<>…-]+)*")
FILE = re.compile(r"^[\w.*-]+\.(?:py|md|ya?ml|toml|sh|j2|css)$")
MODULE = re.compile(r"\b(?:apex_tasks|apex_airflow)(?:\.\w+)+")
RUNTIME = (
    # folders of the store
    *("audit", "bundles", "drafts", "handshakes", "ledger", "notices", "panels", "performance", "plans"),
    *("portfolio", "rehearsals", "scores"),
    # folders of the evaluation on real prices
    *(".cache", "backtests", "datasets", "examples", "rank_ics", "results"),
    ".demo",
    # inside a bundle
    *("configs/….yaml", "models/….pt"),
)
"""What the product makes, or is given, as the documents name it."""
ELSEWHERE = ("1/n", "6000/minute", "prom/statsd-exporter")
"""No paths."""
OLD = ("scripts/cli_settings",)
"""What docs/upgrading.md says is gone."""

ids = {"ids": lambda document: document.name}


def code_of(document: Path) -> tuple[str, ...]:
    """Inline code, and the lines of code blocks without their comments."""
    text = document.read_text()
    fenced = re.findall(r"^ *```.*?\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    text = re.sub(r"^ *```.*?```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text)]
    indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    lines = [line for block in fenced for line in block.splitlines()]
    return tuple(code.split(" #")[0].strip() for code in (*inline, *indented, *lines))


def paths_of(document: Path) -> Iterator[str]:
    """Words of the code that may be paths; what stands for a value is `<>`."""
    for code in code_of(document):
        for word in re.sub(r"<[^>]*>", "<>", code).split():
            path = word.strip("'\",;()").removesuffix("/")
            if PATH.fullmatch(path) and (FILE.match(path) or "/" in word) and path not in ELSEWHERE:
                yield path


def exists(path: str) -> bool:
    if "/" in path:
        return any(ROOT.glob(path))
    return path in NAMES or bool(fnmatch.filter(NAMES, path))


def commands_of(document: Path) -> Iterator[list[str]]:
    for code in code_of(document):
        if found := re.match(r"(?:\S*/)?apex (.+)", code.replace("`", "")):
            yield found[1].split()


@pytest.mark.parametrize("document", DOCUMENTS, **ids)
def test_every_path_exists(document: Path) -> None:
    old = OLD if document.name == "upgrading.md" else ()
    named = {path for path in paths_of(document) if path not in old}
    missing = {path for path in named if not exists(path)}
    made = {path for path in missing if path in RUNTIME or path.split("/")[0] in RUNTIME}
    top_level = {entry.name for entry in ROOT.iterdir()}
    strange = {path for path in missing - made if FILE.match(path) or path.split("/")[0] in top_level}
    assert strange == set()


@pytest.mark.parametrize("document", DOCUMENTS, **ids)
def test_every_folder_is_of_the_repository_or_of_the_store(document: Path) -> None:
    """A first folder that is neither is a slip, or belongs into the list of what the product makes."""
    whole = {re.sub(r"<[^>]*>", "<>", code).removesuffix("/") for code in code_of(document)}
    firsts = {path.split("/")[0] for path in paths_of(document) if path in whole and path not in RUNTIME}
    known = {entry.name for entry in ROOT.iterdir()} | NAMES | set(RUNTIME)
    assert {first for first in firsts if not FILE.match(first)} - known == set()


@pytest.mark.parametrize("document", DOCUMENTS, **ids)
def test_every_module_exists(document: Path) -> None:
    missing = []
    for name in MODULE.findall("\n".join(code_of(document))):
        parts = name.split(".")
        root = ROOT if parts[0] == "apex_tasks" else ROOT / "plugins"
        while not (
            found := [
                f for f in (root.joinpath(*parts), root.joinpath(*parts).with_suffix(".py")) if f.exists()
            ]
        ):
            parts.pop()
        attributes = name.split(".")[len(parts) :]
        if attributes and not (
            found[0].is_file() and re.search(rf"\b{attributes[0]}\b", found[0].read_text())
        ):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, **ids)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", document.read_text())
    wrong = []
    for link in (link for link in links if not link.startswith("http")):
        name, _, fragment = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (fragment and fragment not in anchors(target.read_text())):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, **ids)
def test_every_make_target_exists(document: Path) -> None:
    named = {found[1] for code in code_of(document) if (found := re.match(r"make ([a-z-]+)", code))}
    assert named - TARGETS == set()


@pytest.mark.parametrize("document", DOCUMENTS, **ids)
def test_every_command_and_its_options_exist(document: Path) -> None:
    wrong = []
    for words in commands_of(document):
        command, rest = typer.main.get_command(app), words
        while rest and hasattr(command, "commands"):
            name = rest[0].strip(".,;:")
            if name not in command.commands:
                break
            command, rest = command.commands[name], rest[1:]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        used = {word.strip("[]").split("=")[0] for word in rest if word.strip("[").startswith("--")}
        if (rest == words and not words[0].startswith("--")) or used - options:
            wrong.append(" ".join(words))
    assert wrong == []


def test_the_makefile_names_what_exists() -> None:
    words = re.findall(
        r"(?<![\w./-])(?:scripts|tests|docs|configs|apex_tasks|dags|plugins)/[\w./-]+", MAKEFILE.read_text()
    )
    assert words
    assert [word for word in words if not (ROOT / word).exists()] == []


def test_every_target_is_phony_and_explained() -> None:
    text = MAKEFILE.read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE))
    assert phony == TARGETS == explained


def test_a_wrong_name_is_found(tmp_path: Path) -> None:
    document = tmp_path / "wrong.md"
    document.write_text(
        "`apex_tasks/gone.py` `gone.py` `gone/x` `apex_tasks.gone.Thing` "
        "[x](gone.md) [y](#gone) `make gone` `apex run --gone`"
    )
    for test in (
        test_every_path_exists,
        test_every_folder_is_of_the_repository_or_of_the_store,
        test_every_module_exists,
        test_every_link_leads_somewhere,
        test_every_make_target_exists,
        test_every_command_and_its_options_exist,
    ):
        with pytest.raises(AssertionError, match="gone"):
            test(document)
