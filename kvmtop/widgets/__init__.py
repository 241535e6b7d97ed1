"""What the screen is made of. Widgets get plain rows and numbers, never numpy, bcc or /proc."""
