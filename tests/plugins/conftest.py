"""Airflow in a scratch home, with this project's plugins folder importable as Airflow makes it."""

from __future__ import annotations

import os
import sys
import tempfile

from tests.support.paths import ROOT

# Importing Airflow writes its configuration into its home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="apex-airflow-"))

PLUGINS_FOLDER = str(ROOT / "plugins")
if PLUGINS_FOLDER not in sys.path:
    sys.path.append(PLUGINS_FOLDER)
