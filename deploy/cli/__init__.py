"""The command line `mediabus`: what an admin asks of a running installation, over its HTTP API alone."""
