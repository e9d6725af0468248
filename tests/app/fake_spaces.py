"""What stands for the package `spaces` in tests: lends nothing, but treats calls and answers as ZeroGPU does.

Put on the path under the name `spaces`. Arguments and answers are pickled, exceptions arrive as gradio's without their
sentence, and a call may be refused.
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

TORCH_CAME_FIRST = "torch" in sys.modules
decorated: list[Callable[..., Any]] = []
asked: list[int] = []
refuses: list[str] = []  # sentences for the next calls


def gradio_error(sentence: str) -> Exception:
    from gradio.exceptions import Error  # takes seconds, and most tests do without

    return Error(sentence)


def GPU(*, duration: Callable[..., int]) -> Callable[..., Any]:
    def decorate(task: Callable[..., Any]) -> Callable[..., Any]:
        def lent(*arguments: Any) -> Iterator[Any]:
            asked.append(duration(*arguments))
            if refuses:
                raise gradio_error(refuses.pop())
            answers = task(*pickle.loads(pickle.dumps(arguments)))
            while True:
                try:
                    answer = next(answers)
                except StopIteration:
                    return
                except Exception as error:
                    raise gradio_error(type(error).__name__) from None
                yield pickle.loads(pickle.dumps(answer))

        decorated.append(lent)
        return lent

    return decorate
