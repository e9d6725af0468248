"""A fake of the package `spaces`: runs calls in this process, but treats arguments and results as ZeroGPU does.

Put on the path under the name `spaces`. Arguments and results are pickled, exceptions arrive as gradio's without their
message, and a call may be refused.
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

TORCH_CAME_FIRST = "torch" in sys.modules
decorated: list[Callable[..., Any]] = []
durations: list[int] = []
refusals: list[str] = []  # messages of the next calls


def gradio_error(sentence: str) -> Exception:
    from gradio.exceptions import Error  # takes seconds, and most tests do without

    return Error(sentence)


def GPU(*, duration: Callable[..., int]) -> Callable[..., Any]:
    def decorate(task: Callable[..., Any]) -> Callable[..., Any]:
        def run_remotely(*arguments: Any) -> Iterator[Any]:
            durations.append(duration(*arguments))
            if refusals:
                raise gradio_error(refusals.pop())
            results = task(*pickle.loads(pickle.dumps(arguments)))
            while True:
                try:
                    result = next(results)
                except StopIteration:
                    return
                except Exception as error:
                    raise gradio_error(type(error).__name__) from None
                yield pickle.loads(pickle.dumps(result))

        decorated.append(run_remotely)
        return run_remotely

    return decorate
