"""How the installed package describes itself to Airflow, as a provider."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Name, description, plugin and connection types; the entry point `apache_airflow_provider` names this function.

    The connection types are those of the Slack and SMTP providers, which send the messages.
    """
    return {
        "package-name": "apex-batch",
        "name": "APEX Batch",
        "description": "Ranks the Tokyo market once a month and publishes a portfolio to trade.",
        "plugins": [{"name": "apex", "plugin-class": "apex_airflow.plugin.ApexPlugin"}],
        "connection-types": [
            {
                "connection-type": "slackwebhook",
                "hook-class-name": "airflow.providers.slack.hooks.slack_webhook.SlackWebhookHook",
            },
            {
                "connection-type": "smtp",
                "hook-class-name": "airflow.providers.smtp.hooks.smtp.SmtpHook",
            },
        ],
    }
