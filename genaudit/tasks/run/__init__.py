"""What verbs share: settings, instances, roles, measuring, judging, progress, ranks, the run's folder."""
