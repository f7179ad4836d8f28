"""The questions of a paper's experiments, for `torchhebb.runs.reproduce`."""

from typing import Any

from torchhebb.evaluate.evaluator import Evaluator, evaluate
from torchhebb.recipes.experiment import Experiment
from torchhebb.runs.run import Run
from torchhebb.train import Result


class ExperimentQuestions:
    """Answers the questions of experiments by their evaluators."""

    def settings(self, item: Experiment) -> Any:
        """The settings of an experiment's question, as JSON holds them."""
        return self._evaluator(item).noted_settings()

    def answer(self, item: Experiment, run: Run, command: str) -> Result:
        """The result of an experiment's question about a run."""
        return evaluate(self._evaluator(item), run, command=command)

    def _evaluator(self, item: Experiment) -> Evaluator:
        from torchhebb.evaluate import get_evaluator  # the package imports this module

        return get_evaluator(item.question)(**item.settings)
