"""Records in, numbers out: pure functions of stored curves."""
