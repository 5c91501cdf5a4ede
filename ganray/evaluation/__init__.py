"""How close restored images are to their references."""
