"""Templates to candidates, and how they are kept; not images, not HTTP."""
