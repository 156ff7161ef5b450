"""One training run: everything in it is a function of (seed, global_step); knows nothing of studies or databases."""
