"""Where Optuna, training and storage meet: search, mirror, runner, worker, planner."""
