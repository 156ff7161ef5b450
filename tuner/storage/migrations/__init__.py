"""Migrations of our tables, one file a release; never edited after their release."""
