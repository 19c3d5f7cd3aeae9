"""Tasks. One of one's own is a subclass of `Task` anywhere on the Python path, and one YAML file that names it."""

from chattpl.tasks.base import Grade, Sample, Task

__all__ = ["Grade", "Sample", "Task"]
