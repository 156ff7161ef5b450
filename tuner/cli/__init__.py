"""The `tuner` command: typer commands, and the only place that builds real objects."""
