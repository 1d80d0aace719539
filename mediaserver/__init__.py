"""The server: renders manifests from the published model, carries viewers' sessions, and sends bytes."""

__version__ = "0.1.0"
