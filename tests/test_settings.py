"""Settings: every one described, overridable by the environment, checked, and immutable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from apex_tasks.cli.settings_table import setting_rows
from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings, Severity, configs_folder, load_settings, settings_file

PACKAGED = configs_folder() / "apex.yaml"


def leaves(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str | None, object]]:
    """Dotted name, description and default of every setting that is no section."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.description, field.default


SETTINGS = list(leaves(ApexSettings))


@pytest.mark.parametrize(("name", "description", "default"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_every_setting_is_described_and_the_file_holds_its_default(
    name: str, description: str | None, default: object
) -> None:
    assert description is not None
    assert description.endswith(".")
    value = yaml.safe_load(PACKAGED.read_text())
    for part in name.split("."):
        assert part in value, f"{name} is not in apex.yaml"
        value = value[part]
    if name != "thresholds":
        assert (tuple(value) if isinstance(value, list) else value) == default


def test_the_packaged_file_holds_nothing_else() -> None:
    written = yaml.safe_load(PACKAGED.read_text())
    names = {
        f"{section}.{name}" if isinstance(values, dict) else section
        for section, values in written.items()
        for name in (values if isinstance(values, dict) else [""])
    }
    assert names == {name for name, _, _ in SETTINGS}


def test_the_sections_forbid_extra_keys_and_change() -> None:
    settings = load_settings()
    for name, field in ApexSettings.model_fields.items():
        kind = field.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            continue
        section = getattr(settings, name)
        first = next(iter(kind.model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, first, 1)
        with pytest.raises(ValidationError, match="Extra inputs"):
            kind.model_validate({**section.model_dump(), "surplus": 1})
    with pytest.raises(ValidationError, match="frozen"):
        settings.home = "elsewhere"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_HOME", "s3://bucket/apex")
    monkeypatch.setenv("APEX_RANKING__TOP_K", "30")
    monkeypatch.setenv("APEX_PORTFOLIO__TURNOVER_LIMIT", "0.5")
    monkeypatch.setenv("APEX_THRESHOLDS", "[]")
    settings = load_settings()
    assert settings.home == "s3://bucket/apex"
    assert settings.ranking.top_k == 30
    assert settings.ranking.horizon == 20, "the rest of the section stays"
    assert settings.portfolio.turnover_limit == 0.5
    assert settings.thresholds == ()


def test_another_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "mine.yaml"
    other.write_text("home: /srv/apex\nranking: {top_k: 20}\n")
    monkeypatch.setenv("APEX_SETTINGS", str(other))
    assert settings_file() == other
    settings = load_settings()
    assert (settings.home, settings.ranking.top_k, settings.portfolio.min_weight) == ("/srv/apex", 20, 0.02)


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_SETTINGS", str(tmp_path / "none.yaml"))
    with pytest.raises(Refusal) as refused:
        load_settings()
    assert refused.value.what == "settings file is missing"
    assert refused.value.where == str(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hom: x", "hom"),
        ("ranking: {topk: 3}", "ranking.topk"),
        ("ranking: {top_k: 0}", "ranking.top_k"),
        ("ranking: {horizon: 3}", "ranking.horizon"),
        ("portfolio: {turnover_limit: 1.5}", "portfolio.turnover_limit"),
        ("portfolio: {initial_capital_jpy: -1}", "portfolio.initial_capital_jpy"),
        ("freshness: {min_row_ratio: 0}", "freshness.min_row_ratio"),
        ("schedule: {nth_session: first}", "schedule.nth_session"),
        (
            "thresholds: [{metric: a, comparison: about, bound: 1, severity: WARNING, remedy: x, runbook: x}]",
            "thresholds.0.comparison",
        ),
    ],
)
def test_a_wrong_value_in_the_file_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
) -> None:
    path = tmp_path / "apex.yaml"
    path.write_text(text)
    monkeypatch.setenv("APEX_SETTINGS", str(path))
    with pytest.raises(Refusal) as refused:
        load_settings()
    assert refused.value.what == f"setting {name} is invalid (1 in all)"
    assert refused.value.where.startswith(str(path))


def test_a_wrong_value_in_the_environment_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_RANKING__TOP_K", "many")
    with pytest.raises(Refusal) as refused:
        load_settings()
    assert refused.value.received == "'many'"
    assert refused.value.where.endswith("or APEX_RANKING__TOP_K")
    monkeypatch.delenv("APEX_RANKING__TOP_K")
    monkeypatch.setenv("APEX_RANKING__TOPK", "30")
    with pytest.raises(Refusal, match=r"setting ranking\.topk is invalid"):
        load_settings()


SEVERAL = {
    "approvers": ("approvers", ("ada", "7"), ("grace",)),
    "notifications.email_to": (
        "notifications: {email_to",
        ("desk@example.com", "risk@example.com"),
        ("a@example.com",),
    ),
    "locked": ("locked", ("approval", "policy"), ("top_k",)),
    "serve.api_key_hashes": ("serve: {api_key_hashes", ("a" * 64, "0" * 64), ("b" * 64,)),
}


def _words(settings: BaseModel, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("name", SEVERAL)
def test_several_words_come_from_a_string_or_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    yaml_name, several, one = SEVERAL[name]
    end = "}" if "{" in yaml_name else ""
    variable = f"APEX_{name.replace('.', '__').upper()}"
    path = tmp_path / "apex.yaml"
    monkeypatch.setenv("APEX_SETTINGS", str(path))

    def of_yaml(value: str) -> object:
        path.write_text(f"{yaml_name}: {value}{end}\n")
        return _words(load_settings(), name)

    listed = ", ".join(f'"{word}"' for word in several)
    assert of_yaml(f"[{listed}]") == several
    assert of_yaml(f'"{", ".join(several)}"') == several
    assert of_yaml(f'"{one[0]}"') == one
    for nothing in ("null", '""', "[]", '" , "'):
        assert of_yaml(nothing) == ()
    for text, expected in {
        ",".join(several): several,
        f" {' , '.join(several)},": several,
        one[0]: one,
        "": (),
    }.items():
        monkeypatch.setenv(variable, text)
        assert of_yaml(f'"{one[0]}"') == expected, "the environment wins"


def test_a_user_id_may_be_a_number_in_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "apex.yaml"
    path.write_text("approvers: [7, ada]\n")
    monkeypatch.setenv("APEX_SETTINGS", str(path))
    assert load_settings().approvers == ("7", "ada")


def test_a_locked_parameter_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a slip of the pen would leave open what was meant to be locked."""
    monkeypatch.setenv("APEX_LOCKED", "approval,topk")
    with pytest.raises(Refusal) as refused:
        load_settings()
    assert refused.value.received == "'topk'"
    assert "'top_k'" in refused.value.expected
    assert refused.value.where.endswith("or APEX_LOCKED")


@pytest.mark.parametrize("text", ["abc", f"{'a' * 64}, {'A' * 64}", "a" * 65])
def test_a_wrong_one_of_several_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("APEX_SERVE__API_KEY_HASHES", text)
    with pytest.raises(Refusal) as refused:
        load_settings()
    assert refused.value.what.startswith("setting serve.api_key_hashes.")
    assert refused.value.where.endswith("or APEX_SERVE__API_KEY_HASHES")


def test_the_table_shows_several_words_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APEX_APPROVERS", "ada,7")
    shown = {row.name: row.value for row in setting_rows(load_settings())}
    assert shown["approvers"] == "ada, 7"
    assert shown["notifications.email_to"] == "unset"
    assert shown["thresholds"] == "4 entries"


def test_the_packaged_thresholds_and_what_they_stop() -> None:
    assert [(row.metric, row.severity) for row in load_settings().thresholds] == [
        ("apex_selected_count", Severity.CRITICAL),
        ("apex_effective_dim", Severity.CRITICAL),
        ("apex_inference_latency_ms", Severity.WARNING),
        ("apex_daily_cost_bps", Severity.WARNING),
    ]
