"""What an artifact is: its declaration, what it depends on, how it is made and kept. Knows no tool."""
