"""Image files: what is accepted, how bytes become pixels, and which images look alike."""
