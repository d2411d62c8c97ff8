"""The browser app and the command."""
