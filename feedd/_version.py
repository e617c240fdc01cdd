"""The version, in a file that imports nothing: setuptools and deploy/install read it without running it."""

__version__ = "0.1.0"
