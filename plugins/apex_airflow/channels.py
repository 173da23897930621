"""Slack and e-mail, by the notifiers of Airflow's providers: each tried on its own, none able to stop a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import redact

from apex_tasks.settings import NotificationSettings, load_settings

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier

    from apex_tasks.notifications.notification import Notification
    from apex_tasks.notifications.sent_log import SentLog

log = logging.getLogger(__name__)

SLACK, EMAIL = CHANNELS = ("slack", "email")
RETRIES = 1
"""The Slack client's own number, for mail as well."""


class ChannelOff(Exception):
    """This channel is not set up; the message says what is missing."""


def deliver(
    notification: Notification, sent_log: SentLog, *causes: str, channels: Sequence[str] = CHANNELS
) -> None:
    """Send a message by every channel that has not sent all its causes yet.

    Nothing is raised: a server that is down, a missing connection and an unreachable store are one line in the log.

    Parameters
    ----------
    causes
        What the message reports, as the log of sent messages names it; a single new one is reason enough to send it.
    channels
        Where to send it.
    """
    settings = load_settings().notifications
    message = redact(
        {"subject": notification.subject, "slack": notification.slack, "html": notification.html}
    )
    for channel in channels:
        claimed = [cause for cause in causes if _claim(sent_log, cause, channel)]
        if not claimed:
            log.info("By %s, %s was sent before", channel, ", ".join(causes))
            continue
        try:
            # The text reaches the notifier's templates as data: braces in an error are no template.
            _NOTIFIERS[channel](settings)({"message": message})
        except (ChannelOff, AirflowNotFoundException) as missing:
            log.warning("No %s message was sent: %s", channel, missing)
        except Exception as error:
            log.error("No %s message was sent: %s: %s", channel, type(error).__name__, error)
        else:
            log.info("Sent by %s: %s", channel, notification.subject)
            continue
        for cause in claimed:
            _release(sent_log, cause, channel)


def _slack(settings: NotificationSettings) -> BaseNotifier:
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier
    from airflow.sdk import BaseHook

    BaseHook.get_connection(settings.slack_connection)
    return SlackWebhookNotifier(
        slack_webhook_conn_id=settings.slack_connection,
        text="{{ message.slack }}",
        timeout=settings.timeout_seconds,
    )


def _email(settings: NotificationSettings) -> BaseNotifier:
    from airflow.providers.smtp.hooks.smtp import SmtpHook
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    from airflow.sdk import BaseHook

    class BriefSmtpHook(SmtpHook):
        """A dead mail server must not hold up a task for the connection's own 30 s times 6."""

        timeout = settings.timeout_seconds
        smtp_retry_limit = RETRIES

    BaseHook.get_connection(settings.smtp_connection)
    if not settings.email_to:
        raise ChannelOff("the setting notifications.email_to names nobody")
    notifier = SmtpNotifier(
        to=list(settings.email_to),
        from_email=settings.email_from,
        subject="{{ message.subject }}",
        html_content="{{ message.html }}",
        smtp_conn_id=settings.smtp_connection,
    )
    notifier.hook = BriefSmtpHook(settings.smtp_connection)
    return notifier


_NOTIFIERS: dict[str, Callable[[NotificationSettings], BaseNotifier]] = {SLACK: _slack, EMAIL: _email}


def _claim(sent_log: SentLog, cause: str, channel: str) -> bool:
    try:
        return sent_log.claim(cause, channel)
    except Exception as error:
        # The store may be what has failed: better sent twice than never.
        log.warning("The store cannot record what is sent: %s: %s", type(error).__name__, error)
        return True


def _release(sent_log: SentLog, cause: str, channel: str) -> None:
    try:
        sent_log.release(cause, channel)
    except Exception as error:
        log.warning("The store cannot take back what was not sent: %s: %s", type(error).__name__, error)
