"""Two reports, paired item by item, become a verdict with its uncertainty."""
