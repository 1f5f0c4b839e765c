"""PredictJob: images of a data set in, predictions out, which whoever started the job appends to a store."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from lexiseg.inference.class_names import ClassNames
from lexiseg.inference.segmenter import Segmenter
from lexiseg.runs.bulk.job import Numbered, Outcome, Workers
from lexiseg.runs.bulk.model_job import ModelJob
from lexiseg.runs.bulk.run import do_job
from lexiseg.runs.bulk.states import noting
from lexiseg.scoring.store.blocks import StoredImage
from lexiseg.scoring.store.predict import PredictAll, PredictionTask

#: Predictions that wait for an earlier one: when there are more, they are handed on out of order.
_MOST_WAITING = 512


class PredictJob(ModelJob):
    """Predict images of a data set; the content of an outcome is the prediction.

    Args:
        load: As for ``ModelJob``.
        device: As there.
        task: What is asked for.
        seconds: As for ``ModelJob``.
        segmenter: As there.
    """

    name = "predicting"

    def __init__(
        self,
        load: Callable[..., Segmenter],
        device: str,
        task: PredictionTask,
        *,
        seconds: float | None = None,
        segmenter: Segmenter | None = None,
    ) -> None:
        super().__init__(load=load, device=device, seconds=seconds, segmenter=segmenter)
        self._task = task

    def name_classes(self, segmenter: Segmenter) -> ClassNames:
        """Embed the words of the task."""
        return self._task.name_classes(segmenter)

    def work(self, inputs: Iterable[Numbered]) -> Generator[Outcome, None, None]:
        """Predict images by their indices."""
        segmenter, class_names = self.open()
        for number, _ in inputs:
            found = self._task.predict(segmenter, class_names, number)
            if isinstance(found, str):
                yield Outcome(number=number, state="failed", message=found)
            else:
                yield Outcome(number=number, state="done", content=found)


def predicting(
    load: Callable[..., Segmenter],
    device: str,
    workers: Workers,
    *,
    segmenter: Segmenter,
    seconds: float | None = None,
    states_in: Path | None = None,
) -> PredictAll:
    """Return what predicts the images of a data set by workers, as ``predict_into`` takes it.

    Predictions come in the order of the images, so that a store has the same bytes whoever made it; where hundreds
    wait for one that takes very long, the others come first.

    Args:
        load: As for ``PredictJob``.
        device: As there.
        workers: Who does it.
        segmenter: The model, loaded in this process.
        seconds: As there.
        states_in: Folder where what became of each image is noted; None for nowhere.
    """

    def predict_all(task: PredictionTask, indices: Sequence[int]) -> Iterator[tuple[int, StoredImage | str]]:
        job = PredictJob(load, device, task, seconds=seconds, segmenter=segmenter)
        stems = task.dataset.stems
        with ExitStack() as stack:
            log = None
            if states_in is not None:
                how: dict[str, Any] = {"total": len(stems), "workers": workers.count}
                log = stack.enter_context(noting(states_in, command="predict", **how))
            numbered = ((index, None) for index in indices)
            outcomes = stack.enter_context(closing(do_job(job, numbered, workers)))
            for outcome in _in_order(outcomes, indices):
                if log is not None:
                    path = task.dataset.image_path(outcome.number)
                    log.note(outcome, stems[outcome.number], str(path or stems[outcome.number]))
                yield outcome.number, outcome.content if outcome.state == "done" else outcome.message

    return predict_all


def _in_order(outcomes: Iterable[Outcome], numbers: Iterable[int]) -> Iterator[Outcome]:
    """Bring outcomes into the order of their numbers, as far as few enough wait."""
    waiting: dict[int, Outcome] = {}
    wanted = iter(numbers)
    following = next(wanted, None)
    gone = set()
    for outcome in outcomes:
        waiting[outcome.number] = outcome
        if len(waiting) > _MOST_WAITING:
            first = next(iter(waiting))
            gone.add(first)
            yield waiting.pop(first)
        while following in waiting or following in gone:
            if following in gone:
                gone.discard(following)
            else:
                yield waiting.pop(following)
            following = next(wanted, None)
