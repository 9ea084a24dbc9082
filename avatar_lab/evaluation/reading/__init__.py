"""Results as notebooks read them: tables and figures of what ``avatar-lab evaluate`` wrote, and nothing measured."""
