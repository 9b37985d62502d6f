"""Background work: it never holds a request up, whatever it does."""

from threading import Event

from headrace_aws.background import TASKS_MAX, BackgroundThreads


def _failing() -> None:
    raise ZeroDivisionError


def test_tasks_run_and_may_fail() -> None:
    """A task that raises takes nothing with it."""
    background, done = BackgroundThreads(), Event()
    assert background.submit(_failing)
    assert background.submit(done.set)
    assert done.wait(10)


def test_too_many_tasks_are_dropped_and_said_so() -> None:
    """A store that hangs collects a bounded number of tasks; afterwards there is room again."""
    background, release = BackgroundThreads(), Event()
    taken = sum(background.submit(lambda: release.wait(30) and None) for _ in range(TASKS_MAX + 5))
    assert taken == TASKS_MAX
    release.set()
    done = Event()
    for _ in range(1000):
        if background.submit(done.set):
            break
        Event().wait(0.005)
    assert done.wait(10)
