"""Model, data and metric behind one small interface; see `interface.py`."""
