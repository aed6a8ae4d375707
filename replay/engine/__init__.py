"""The only floor that acts: it claims runs, feeds their interpreters, commits, and then does what commands ask."""
