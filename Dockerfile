# Airflow with this package. The version is that of constraints.txt; tests/deployment/test_compose.py holds them together.
ARG AIRFLOW_VERSION=3.3.2
FROM apache/airflow:${AIRFLOW_VERSION}-python3.11

USER root
RUN install --directory --owner=airflow --group=root /opt/apex /opt/apex/home
USER airflow

WORKDIR /opt/apex
COPY --chown=airflow:root pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=airflow:root apex_tasks apex_tasks
COPY --chown=airflow:root configs configs

# Extra arguments, for example an index with CPU-only builds of torch, which are a tenth of the size.
ARG PIP_ARGUMENTS=""
# Editable, so that mounts over /opt/apex/configs and /opt/apex/plugins are what the package reads. Its entry point
# registers the plugin; the entry file of the plugins folder then steps back.
RUN pip install --no-cache-dir ${PIP_ARGUMENTS} --constraint constraints.txt --editable .

COPY --chown=airflow:root dags dags
COPY --chown=airflow:root plugins plugins
