"""The one place that holds the package's version; hatchling reads it, nothing is imported here."""

__version__ = "0.1.0"
