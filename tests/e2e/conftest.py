"""Makes the scripts folder importable: the embedded Airflow lives there."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
