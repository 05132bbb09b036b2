"""What loadtest/run, compare, reload, policies and smoke are made of. Standard library only."""
