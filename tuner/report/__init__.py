"""Sections, figures and the HTML page that show a study's answer with the very numbers that decided."""
