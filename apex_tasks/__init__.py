"""APEX Batch: the monthly Tokyo equity ranking, as plain functions that know nothing of Airflow."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("apex-batch")
except PackageNotFoundError:  # a bare checkout on PYTHONPATH, as in a scheduler that mounts the repository
    __version__ = "0+checkout"
