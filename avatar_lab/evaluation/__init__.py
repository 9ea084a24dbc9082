"""Does the avatar really talk, listen and see? Metrics, reference agents, runner and report."""
