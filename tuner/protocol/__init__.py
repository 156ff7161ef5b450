"""Config and stored numbers in, the next move out: the playbook's protocol as pure functions."""
