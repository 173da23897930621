"""Whatever stands in the settings file or the environment: settings with finite numbers, or one refusal."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from apex_tasks import cli
from apex_tasks.refusal import Refusal
from apex_tasks.settings import AlertThreshold, ApexSettings, configs_folder, load_settings
from apex_tasks.strict_yaml import MAX_YAML_BYTES
from tests.support.console import Apex, Outcome

PACKAGED = (configs_folder() / "apex.yaml").read_text()
THRESHOLD = {
    "metric": "turnover",
    "comparison": ">",
    "bound": 0.5,
    "severity": "WARNING",
    "remedy": "Look.",
    "runbook": "turnover",
}
ABSURD = (math.nan, math.inf, -math.inf, 1e308, -1e308, -1)

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the settings file and name it."""

    def write(content: bytes) -> Path:
        path = tmp_path / "apex.yaml"
        path.write_bytes(content)
        monkeypatch.setenv("APEX_SETTINGS", str(path))
        return path

    return write


@pytest.fixture
def apex(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Apex:
    """Run `apex` as its console script does: exit code, stdout, stderr."""

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["apex", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out, said.err

    return call


def refusal_of(load: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        load()
    told = str(refused.value)
    assert told.isprintable()
    assert len(told) < 1_000
    return refused.value


def numbers(model: BaseModel) -> Iterator[float]:
    """Every number of the settings, in sections and thresholds."""
    for value in dict(model).values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, BaseModel):
                yield from numbers(one)
            elif isinstance(one, int | float):
                yield one


# --- the file

BOMB = "\n".join(["a: &a0 [x, x]", *(f"b{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))])
FILES = {
    "a scalar": (b"35", "a int at the top"),
    "a text": (b"apex", "a str at the top"),
    "a list": (b"- ranking", "a list at the top"),
    "a key twice": (b"home: a\nhome: b\n", "'home' appears twice, line 2"),
    "a key twice in a section": (b"ranking:\n  top_k: 30\n  top_k: 31\n", "'top_k' appears twice, line 3"),
    "a key in two spellings": (b"ranking: {top_k: 30, 'top_k': 31}", "'top_k' appears twice"),
    "a section twice": (b"ranking: {top_k: 30}\nhome: a\nranking: {}\n", "'ranking' appears twice, line 3"),
    "a number as key": (b"1: 2", "a key that is no word: 1"),
    "a list as key": (b"[a]: 2", "unhashable"),
    "two documents": (b"home: a\n---\nhome: b\n", "another document"),
    "brackets": (b"[" * 10_000, "too deeply"),
    "braces": (b"home: " + b"{a: " * 10_000, "too deeply"),
    "aliases": (BOMB.encode(), "more than 50000 values"),
    "an alias of itself": (b"home: &a [*a]", "more than 50000 values"),
    "an unknown alias": (b"home: *nobody", "undefined alias"),
    "a Python object": (b"home: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "a date that is none": (b"home: 2025-13-45", "month must be in"),
    "tabs": (b"ranking:\n\ttop_k: 30\n", "cannot start any token"),
    "Latin-1": ("home: t\u00e9".encode("latin-1"), "unexpected end of data"),
    "UTF-16 cut in half": ("home: a".encode("utf-16")[:-1], "truncated"),
    "zeros": (bytes(100), "special characters are not allowed"),
    "an open quote": (b'home: "apex', "end of stream"),
    "too much": (b"#" * (MAX_YAML_BYTES + 1), "more than 262144 bytes"),
}


@pytest.mark.parametrize(("content", "said"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_mapping_is_refused_with_the_reason(
    write: Write, apex: Apex, content: bytes, said: str
) -> None:
    path = write(content)
    refused = refusal_of(load_settings)
    assert refused.what == "settings file cannot be read"
    assert (refused.where, said in refused.received) == (str(path), True), refused
    code, out, err = apex("settings")
    assert (code, out) == (3, "")
    assert err == f"REFUSED {refused}\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing\n", b"---\n", b"\xef\xbb\xbf# marked\n"])
def test_a_file_without_a_value_leaves_the_defaults(write: Write, content: bytes) -> None:
    write(content)
    assert load_settings().ranking.top_k == 35


def test_other_encodings_of_unicode_are_read(write: Write) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        write("home: té\n".encode(encoding))
        assert load_settings().home == "té"


@pytest.mark.parametrize("section", [b"3", b"[1]", b"text"])
def test_a_section_that_is_none_is_refused_by_its_name(write: Write, section: bytes) -> None:
    write(b"ranking: " + section)
    assert refusal_of(load_settings).what.startswith("setting ranking is invalid")


def test_what_is_no_readable_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apex: Apex
) -> None:
    os.mkfifo(tmp_path / "pipe")
    places = {
        tmp_path: "a folder",
        tmp_path / "none.yaml": "no such file",
        tmp_path / "pipe": "no regular file",
        Path("/dev/null"): "no regular file",
        tmp_path / ("x" * 300): "File name too long",
    }
    for path, said in places.items():
        monkeypatch.setenv("APEX_SETTINGS", str(path))
        assert refusal_of(load_settings).received == said
        assert apex("settings")[0] == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_an_unreadable_file_is_refused(write: Write) -> None:
    write(b"home: a").chmod(0)
    assert refusal_of(load_settings).received == "Permission denied"


def test_a_line_break_in_a_key_stays_out_of_the_message(write: Write) -> None:
    write(b'"a\\nb\\e[31m": 1')
    assert refusal_of(load_settings).what.startswith("setting a b [31m is invalid")


@pytest.mark.parametrize("content", [b"[" * 10_000, b"home: a\nhome: b"])
def test_a_process_of_its_own_ends_with_three_and_one_line(write: Write, content: bytes) -> None:
    write(content)
    ended = subprocess.run(
        [sys.executable, "-m", "apex_tasks.cli", "settings"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("REFUSED settings file cannot be read")
    assert ended.stderr.count("\n") == 1


# --- numbers


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in ApexSettings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation
    yield "thresholds", AlertThreshold


def number_fields() -> Iterator[tuple[str, type[BaseModel], str]]:
    """Each setting that is a number, found by giving it one."""
    for section, model in sections():
        base = THRESHOLD if model is AlertThreshold else {}
        for name in model.model_fields:
            for number in (1, 2, 0.5, 20):
                try:
                    taken = getattr(model.model_validate({**base, name: number}), name)
                except ValidationError:
                    continue
                if isinstance(taken, int | float) and not isinstance(taken, bool):
                    yield section, model, name
                    break


NUMBERS = list(number_fields())
SIGNED = {"sign", "bound", "first_build_bound"}


def test_the_numbers_are_found() -> None:
    assert len(NUMBERS) > 40
    assert {model for _, model, _ in NUMBERS} >= {AlertThreshold}


@pytest.mark.parametrize(("section", "model", "name"), NUMBERS, ids=[f"{row[0]}.{row[2]}" for row in NUMBERS])
def test_no_setting_takes_an_absurd_number(section: str, model: type[BaseModel], name: str) -> None:
    base = THRESHOLD if model is AlertThreshold else {}
    for value in ABSURD:
        if value == -1 and name in SIGNED:
            continue
        with pytest.raises(ValidationError):
            model.model_validate({**base, name: value})
        with pytest.raises(ValidationError):
            model.model_validate({**base, name: str(value)})


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1.0e+308", "9" * 400, "1e999"])
def test_an_absurd_number_in_the_file_is_refused_by_name(write: Write, number: str) -> None:
    write(f"portfolio: {{cost_penalty: {number}}}".encode())
    assert refusal_of(load_settings).what == "setting portfolio.cost_penalty is invalid (1 in all)"


# --- the environment


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("APEX_PORTFOLIO__EPSILON", "nan", "setting portfolio.epsilon is invalid"),
        ("APEX_DEADLINES__WARNING_MINUTES", "inf", "setting deadlines.warning_minutes is invalid"),
        ("APEX_FRESHNESS__TIMEOUT_MINUTES", "1e308", "setting freshness.timeout_minutes is invalid"),
        ("APEX_RANKING__TOP_K", "9" * 5_000, "setting ranking.top_k is invalid"),
        ("APEX_RANKING__TOPK", "30", "setting ranking.topk is invalid"),
        ("APEX_RANKNG__TOP_K", "30", "environment variable 'APEX_RANKNG__TOP_K' is no setting"),
        ("APEX_NOBODY__TOP_K", "30", "environment variable 'APEX_NOBODY__TOP_K' is no setting"),
        ("APEX_APPROVAL_", "true", "environment variable 'APEX_APPROVAL_' is no setting"),
        ("APEX_APROVAL", "true", "environment variable 'APEX_APROVAL' is no setting"),
        ("apex_aproval", "true", "environment variable 'apex_aproval' is no setting"),
        ("APEX_RANKING", "35", "setting ranking is invalid"),
        ("APEX_RANKING", "{", "settings cannot be read"),
        ("APEX_RANKING", '{"top_k": 1, "top_k": 2}', "settings cannot be read"),
        ("APEX_PORTFOLIO", '{"epsilon": NaN}', "settings cannot be read"),
        ("APEX_THRESHOLDS", "[" * 100_000, "settings cannot be read"),
        ("APEX_THRESHOLDS", "[1]", "setting thresholds.0 is invalid"),
        (
            "APEX_THRESHOLDS",
            json.dumps([{**THRESHOLD, "bound": 1e308}]),
            "setting thresholds.0.bound is invalid",
        ),
    ],
)
def test_a_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, apex: Apex, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    refused = refusal_of(load_settings)
    assert refused.what.startswith(said)
    assert apex("settings") == (3, "", f"REFUSED {refused}\n")


def test_two_spellings_of_a_variable_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_RANKING__TOP_K", "30")
    monkeypatch.setenv("apex_ranking__top_k", "31")
    assert refusal_of(load_settings).what == "environment variable APEX_RANKING__TOP_K is set twice"


@pytest.mark.parametrize(
    "name", ["APEX_PORT", "APEX_IMAGE", "APEX_BUNDLE_NAME", "APEX_INPUT_FOLDER", "APEXES"]
)
def test_variables_of_other_programs_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "anything")
    assert load_settings().ranking.top_k == 35


# --- mutations of the packaged file

LINES = PACKAGED.splitlines()
WORDS = (".nan", "-.inf", "1.0e+308", "-1", "0", "null", "{}", "[]", "true", "&a x", "*a", "'", "\t", "é")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(":")
        word = draw(st.sampled_from(WORDS))
        other = draw(st.sampled_from(LINES))
        lines[at : at + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [lines[at], lines[at]],
                    [f"{key}{colon} {word}"],
                    [f"{key}x{colon} {word}"],
                    [f" {lines[at]}"],
                    [other, lines[at]],
                    [word],
                    [lines[at][: draw(st.integers(0, len(lines[at])))]],
                ]
            )
        ) or [""]
    text = "\n".join(lines)
    cut = draw(st.integers(0, len(text)) | st.just(len(text)))
    return text[:cut].encode(draw(st.sampled_from(["utf-8", "utf-8", "latin-1", "utf-16"])))


@given(mutated() | st.binary(max_size=60))
def test_a_mutated_file_gives_finite_settings_or_one_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APEX_SETTINGS", str(path))
        outcome = loaded()
    if isinstance(outcome, Refusal):
        assert str(outcome).isprintable()
        assert len(str(outcome)) < 2_000
    else:
        assert all(math.isfinite(number) for number in numbers(outcome))


def loaded() -> ApexSettings | Refusal:
    try:
        return load_settings()
    except Refusal as refusal:
        return refusal
