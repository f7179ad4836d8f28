"""The questions that a trained run can answer, one file each; a question is found by the name of its file."""
