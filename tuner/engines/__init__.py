"""Who runs the workers: this machine's processes."""
