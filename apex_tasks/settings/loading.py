"""Settings in force: `configs/apex.yaml`, overridden by environment variables `APEX_…`."""

from __future__ import annotations

import os
import reprlib
from itertools import takewhile
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
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
from apex_tasks.settings.sources import (
    LEVEL,
    PREFIX,
    EnvironmentVariables,
    check_variables,
    read_settings_file,
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
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter=LEVEL
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
        check_variables(os.environ, settings_cls)
        document = read_settings_file(settings_file())
        return (
            init_settings,
            EnvironmentVariables(settings_cls),
            InitSettingsSource(settings_cls, init_kwargs=document),
        )


def settings_file() -> Path:
    """The yaml file in force: `APEX_SETTINGS`, else the packaged `apex.yaml`."""
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    return Path(named) if named else configs_folder() / "apex.yaml"


def load_settings() -> ApexSettings:
    """Read and check the settings.

    Raises
    ------
    Refusal
        The file is missing or no YAML mapping with each key once; a value is unknown or out of its range; or a
        variable would be passed over, see `sources.check_variables`.
    """
    path = settings_file()
    try:
        return ApexSettings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        # A variable holds a whole list: the place in it is no part of its name.
        levels = takewhile(lambda part: isinstance(part, str), first["loc"])
        raise Refusal(
            f"setting {_one_line(name)} is invalid ({error.error_count()} in all)",
            expected=_one_line(first["msg"]),
            received=reprlib.repr(first.get("input")),
            where=f"{path} or {PREFIX}{_one_line(LEVEL.join(map(str, levels))).upper()}",
            remedy="Correct the value; the README's table lists every setting.",
        ) from None
    except (SettingsError, ValueError) as error:
        cause = error.__cause__ or error
        raise Refusal(
            "settings cannot be read",
            expected="JSON in an environment variable that holds a section or the thresholds",
            received=_one_line(f"{error}: {cause}"),
            where=f"{path} or an {PREFIX} variable",
            remedy="Correct the variable; the README's table lists every setting.",
        ) from None


def _one_line(text: str) -> str:
    """A foreign text in a message: printable, and no longer than a line."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:200]
