"""Settings in force: `configs/apex.yaml`, overridden by environment variables `APEX_…`."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from apex_tasks.refusal import Refusal
from apex_tasks.settings.choices import RunParameter
from apex_tasks.settings.comma_separated import CommaSeparated, Name
from apex_tasks.settings.sections import (
    AlertThreshold,
    BundleLimits,
    DeadlineSettings,
    EnhancedSettings,
    FreshnessSettings,
    InferenceSettings,
    JudgementSettings,
    LimitSettings,
    NotificationSettings,
    PerformanceSettings,
    PortfolioSettings,
    RankingSettings,
    ScheduleSettings,
    SelectionSettings,
    ServeSettings,
    StatsdSettings,
)

_PACKAGE = Path(__file__).resolve().parents[1]
SETTINGS_FILE_VARIABLE = "APEX_SETTINGS"


def configs_folder() -> Path:
    """Folder with the settings, feature lists and closures: in the wheel, or beside it in a checkout."""
    packaged = _PACKAGE / "configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


class ApexSettings(BaseSettings):
    """All settings of a run, immutable once read.

    Read from `configs/apex.yaml` (or the file that `APEX_SETTINGS` names); an environment variable
    `APEX_HOME` or, with two underscores per level, `APEX_RANKING__TOP_K` wins over the file.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="APEX_", env_nested_delimiter="__"
    )

    home: str = Field("apex_home", description="Store of panels, scores, portfolios, audit: folder or URL.")
    bundle: str | None = Field(None, description="Model bundle: folder or tar.gz.")
    dataset: str | None = Field(None, description="Dataset: one parquet file.")
    approval: bool = Field(
        False,
        description="A person must approve a month in Airflow's required actions before it is published.",
    )
    approvers: CommaSeparated[Name] = Field(
        (),
        description="Ids of the Airflow users who alone may approve, separated by commas; unset: all who may edit "
        "the DAG's runs.",
    )
    locked: CommaSeparated[RunParameter] = Field(
        (),
        description="Parameters that a run may not change, separated by commas: approval, bundle, dataset, policy "
        "or any other of `apex_monthly_rebalance`.",
    )
    schedule: ScheduleSettings = ScheduleSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    judgement: JudgementSettings = JudgementSettings()
    ranking: RankingSettings = RankingSettings()
    selection: SelectionSettings = SelectionSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    limits: LimitSettings = LimitSettings()
    enhanced: EnhancedSettings = EnhancedSettings()
    inference: InferenceSettings = InferenceSettings()
    performance: PerformanceSettings = PerformanceSettings()
    bundle_limits: BundleLimits = BundleLimits()
    notifications: NotificationSettings = NotificationSettings()
    deadlines: DeadlineSettings = DeadlineSettings()
    statsd: StatsdSettings = StatsdSettings()
    serve: ServeSettings = ServeSettings()
    thresholds: tuple[AlertThreshold, ...] = Field(
        (), description="Alert thresholds: metric, comparison, bound, severity, remedy, runbook heading."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the yaml file."""
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls, settings_file()))


def settings_file() -> Path:
    """The yaml file in force: `APEX_SETTINGS`, else the packaged `apex.yaml`."""
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    return Path(named) if named else configs_folder() / "apex.yaml"


def load_settings() -> ApexSettings:
    """Read and check the settings.

    Raises
    ------
    Refusal
        The file is missing, or a value is unknown or out of its range.
    """
    path = settings_file()
    if not path.is_file():
        raise Refusal(
            "settings file is missing",
            expected="a yaml file",
            received="no such file",
            where=path,
            remedy=f"Set {SETTINGS_FILE_VARIABLE} to an existing file, or unset it for the packaged one.",
        )
    try:
        return ApexSettings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        # A variable holds a whole list: the place in it is no part of its name.
        levels = takewhile(lambda part: isinstance(part, str), first["loc"])
        raise Refusal(
            f"setting {name} is invalid ({error.error_count()} in all)",
            expected=first["msg"],
            received=repr(first.get("input")),
            where=f"{path} or APEX_{'__'.join(map(str, levels)).upper()}",
            remedy="Correct the value; the README's table lists every setting.",
        ) from None
    except (yaml.YAMLError, SettingsError, ValueError) as error:
        raise Refusal(
            "settings cannot be read",
            expected="a yaml mapping, and JSON in the environment variable of the thresholds",
            received=str(error).splitlines()[0],
            where=f"{path} or an APEX_ variable",
            remedy="Correct the file or the variable; the README's table lists every setting.",
        ) from None
