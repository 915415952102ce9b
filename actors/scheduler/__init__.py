"""The scheduler: reads the rows, decides by the policy, proposes, and repairs while it leads."""
