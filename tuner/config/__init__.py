"""The study YAML as a validated, frozen `StudyConfig`: schema, loading, rules, changes."""
