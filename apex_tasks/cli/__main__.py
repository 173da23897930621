"""`python -m apex_tasks.cli` is `apex`."""

from apex_tasks.cli import main

main()
