"""What Airflow needs of APEX Batch besides the DAG files: timetable, sensors, approval, callbacks, pages."""
