"""Those of the model's features that follow from prices, volumes and sectors."""

from apex_tasks.dataset.price_features.definitions import LEFT_OUT_FEATURES, PRICE_FEATURES, FeatureDefinition
from apex_tasks.dataset.price_features.engine import compute_price_features
from apex_tasks.dataset.price_features.writer import DatasetSummary, write_dataset

__all__ = [
    "LEFT_OUT_FEATURES",
    "PRICE_FEATURES",
    "DatasetSummary",
    "FeatureDefinition",
    "compute_price_features",
    "write_dataset",
]
