"""The diversity gate: what checkpoints are gated against, samples, decisions, the plan."""
