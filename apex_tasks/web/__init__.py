"""The API: published months, and predictions of a bundle; one application for Airflow and for `apex serve`."""
