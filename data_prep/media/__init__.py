"""Reading media files in a process of their own, which can be killed."""
