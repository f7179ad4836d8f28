"""One file a question that a trained run can answer."""
