"""Drawings: plain data in, a matplotlib `Figure` out. Nothing is measured or decided here."""
