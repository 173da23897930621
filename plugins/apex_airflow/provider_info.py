"""How the installed package describes itself to Airflow, as a provider."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Package, name and description; the entry point `apache_airflow_provider` names this function.

    Notes
    -----
    Two keys are missing on purpose, since Airflow takes what comes twice for a mistake:

    - ``plugins``: the entry point `airflow.plugins` brings the plugin. Airflow always reads that one, and the plugins
      of providers only with ``[core] lazy_discover_providers = False``, where the second `apex` would be shown as an
      import error: "Plugin 'apex' already registered, skipping".
    - ``connection-types``: `slackwebhook` and `smtp` belong to the Slack and SMTP providers, which this package
      requires. Named here again, they would put two warnings into the log of every component that lists connections.
    """
    return {
        "package-name": "apex-batch",
        "name": "APEX Batch",
        "description": "Ranks the Tokyo market once a month and publishes a portfolio to trade.",
    }
