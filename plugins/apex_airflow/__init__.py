"""What Airflow needs of APEX Batch beside the DAG files: timetable, sensors, approval, callbacks, pages."""
