"""The heuristics of TrainingHelperCallback: one function each, from tensors to problems."""
