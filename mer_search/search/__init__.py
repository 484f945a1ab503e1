"""The search for the network that works on people it has never seen."""
