"""What a study will cost before it runs, in closed form from its config."""
