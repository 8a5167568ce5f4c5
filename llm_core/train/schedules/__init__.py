"""Learning-rate schedules: one file per kind."""
