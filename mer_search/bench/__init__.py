"""How fast this machine trains, against its ceiling and the conventional loop."""
