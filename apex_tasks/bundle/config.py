"""The training configuration that a bundle ships: what the model reads, and how it was built."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from apex_tasks.bundle.parsing import bad_key, read_yaml, validated
from apex_tasks.settings import Normalization, SelectionSettings

AUTO = "auto"

Whole = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _or_empty(value: object) -> object:
    return () if value is None else value


def _auto_is_unset(value: object) -> object:
    return None if value == AUTO else value


def _keys_as_text(value: object) -> object:
    return {str(key): rule for key, rule in value.items()} if isinstance(value, dict) else value


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_or_empty)]


class _Section(BaseModel):
    """Unknown keys are kept: training wrote more than inference reads."""

    model_config = ConfigDict(frozen=True, extra="allow")


class DataSection(_Section):
    """What the model reads."""

    feature_groups_config: str | None = None
    feature_aliases_yaml: str | None = None
    feature_groups: Annotated[Names, Field(min_length=1)]
    optional_groups: Names = ()
    use_plus30: bool = False
    exclude_features: Names = ()
    lookback: Whole
    min_stocks_per_day: Whole = 80
    date_column: str = "Date"
    code_column: str = "Code"

    @property
    def groups(self) -> tuple[str, ...]:
        """Feature groups in input order: `use_plus30` appends `plus30`, then come the optional groups."""
        plus30 = ("plus30",) if self.use_plus30 else ()
        return tuple(dict.fromkeys((*self.feature_groups, *plus30, *self.optional_groups)))


class NormalizationMode(StrEnum):
    """How features were normalized in training."""

    CROSS_SECTION_Z = "cross_section_z"
    RAW = "raw"
    NONE = "none"


class NormalizationSection(_Section):
    """Normalization of the features; the default is that of v0.1.0."""

    mode: NormalizationMode = NormalizationMode.CROSS_SECTION_Z
    clip_sigma: Annotated[Real, Field(gt=0)] = 5.0

    @property
    def trained_on(self) -> Normalization:
        """The same in the terms of this product's settings."""
        is_csz = self.mode is NormalizationMode.CROSS_SECTION_Z
        return Normalization.CSZ if is_csz else Normalization.RAW


class TrainSection(_Section):
    """Forecast horizons in sessions, in the order of the model's outputs."""

    horizons: Annotated[tuple[Whole, ...], Field(min_length=1)]


class SelectionRule(_Section):
    """Parameters of the candidate gate, each of which may be left out."""

    k_ratio: Annotated[Real, Field(ge=0, le=1)] | None = None
    k_min: Whole | None = None
    sign: Literal[-1, 1] | None = None


class SelectionSection(_Section):
    """The candidate gate: a default and exceptions by horizon."""

    default: SelectionRule = SelectionRule()
    horizons: Annotated[
        dict[Annotated[str, Field(pattern=r"^[1-9]\d*$")], SelectionRule], BeforeValidator(_keys_as_text)
    ] = {}


class ModelSection(_Section):
    """Sizes of the model; `patch_multiplier` None means: read it from the checkpoint."""

    d_model: Whole
    depth: Annotated[Whole, Field(le=100)]
    patch_len: Whole
    stride: Whole
    n_heads: Whole
    patch_multiplier: Annotated[Whole | None, BeforeValidator(_auto_is_unset)] = None


class BundleConfig(_Section):
    """The config yaml of a bundle."""

    data: DataSection
    normalization: NormalizationSection = NormalizationSection()
    train: TrainSection
    selection: SelectionSection = SelectionSection()
    model: ModelSection

    def selection_for(self, horizon: int, otherwise: SelectionSettings) -> SelectionSettings:
        """Gate parameters, key by key: the horizon's own, then the config's default, then the settings'."""
        layers = (self.selection.default, self.selection.horizons.get(str(horizon), SelectionRule()))
        chosen: dict[str, Any] = otherwise.model_dump()
        for layer in layers:
            chosen |= {key: value for key in chosen if (value := getattr(layer, key)) is not None}
        return SelectionSettings(**chosen)


def read_config(data: bytes, where: str) -> BundleConfig:
    """Parse and check a bundle's config.

    Raises
    ------
    Refusal
        The yaml is unsafe or unreadable, or a key is missing, out of range or at odds with another.
    """
    config = validated(BundleConfig, read_yaml(data, where), where)
    model = config.model
    if model.patch_len > config.data.lookback:
        raise bad_key(
            "model.patch_len", f"at most data.lookback {config.data.lookback}", model.patch_len, where
        )
    if model.d_model % model.n_heads:
        raise bad_key("model.n_heads", f"a divisor of model.d_model {model.d_model}", model.n_heads, where)
    if len(frozenset(config.train.horizons)) < len(config.train.horizons):
        raise bad_key("train.horizons", "each horizon once", list(config.train.horizons), where)
    return config
