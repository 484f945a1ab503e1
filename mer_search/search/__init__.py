"""The search for the network that works on people it has never seen."""

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)  # what a user should know, the commands say
