"""From values to decisions: the real floor, the verdict, and rules of the user's own."""
