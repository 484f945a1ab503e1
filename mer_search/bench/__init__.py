"""How fast this machine trains, and replays of searches, which compare ways to search."""
