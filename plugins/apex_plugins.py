"""The one module that Airflow's loader executes in this plugins folder.

Where the package is installed its entry point brings the plugin, and Airflow complains of one that comes twice.
"""

from importlib.metadata import entry_points

if "apex" not in entry_points(group="airflow.plugins").names:
    from apex_airflow.plugin import ApexPlugin  # noqa: F401 - found by its being here
