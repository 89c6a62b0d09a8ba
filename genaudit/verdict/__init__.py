"""From numbers to a decision: what real images would score, and what the numbers say of the model."""
