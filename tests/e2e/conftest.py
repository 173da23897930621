"""Makes the scripts folder importable: the embedded Airflow lives there."""

import sys

from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
