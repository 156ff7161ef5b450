"""Strings from users and databases, made safe to print on a terminal. Everything printed goes through `plain`."""

from __future__ import annotations

from tuner.report.plain import plain as plain
