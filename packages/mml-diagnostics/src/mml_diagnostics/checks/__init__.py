"""Heuristics of TrainingHelperCallback: functions that take tensors and return problems."""
