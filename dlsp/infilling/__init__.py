"""What a person asks for explicitly: a selection, many holes, a draft or a syntax error filled. Knows no protocol, and applies nothing."""

from dlsp.infilling.fill import fill, settled, still_true
from dlsp.infilling.task import Kind, Task, sentence

__all__ = ["Kind", "Task", "fill", "sentence", "settled", "still_true"]
