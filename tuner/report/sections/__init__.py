"""What the report says: each section is a claim, its evidence, a figure and a caveat."""
