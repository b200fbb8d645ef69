"""Fakes of what this machine does not have."""
