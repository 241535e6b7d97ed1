"""What somebody has chosen for the dashboard: the settings, the file with them, and with whose rights it is read."""
