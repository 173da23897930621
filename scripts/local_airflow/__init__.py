"""Airflow's real processes on this machine, for demos and end-to-end tests."""
