"""The parts of the stand-in for the host. Tests import `comptoir.testing`."""
