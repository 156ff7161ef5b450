"""How many steps should I train for, and do settings found in short runs hold in the long one?"""

__version__ = "0.1.0"
