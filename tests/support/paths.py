"""Where the checkout's parts are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
