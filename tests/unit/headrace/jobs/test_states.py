"""What a job may become, whatever its answers and whenever it is delivered."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.jobs.states import (
    AGE_MAX_S,
    ATTEMPTS_MAX,
    ID_BYTES,
    LEASE_S,
    OVER,
    PAUSE_MAX_S,
    RECEIVES_MAX,
    RUN_MAX_S,
    SERVE_MAX_S,
    VISIBILITY_S,
    Again,
    Close,
    Job,
    JobState,
    Nothing,
    Start,
    Wait,
    accepted,
    begin,
    conclude,
    is_id,
    request_key,
    result_key,
    state_at,
)

NOW = 1_000_000.0


def fresh() -> Job:
    """A job that was accepted just now."""
    return accepted("acme", now=NOW, random_bytes=lambda count: bytes(range(count)))


def started(job: Job, *, now: float) -> Job:
    """The job after a delivery that starts it."""
    step = begin(job, now=now)
    assert isinstance(step, Start)
    return step.job


def test_bounds_fit_each_other() -> None:
    """A run ends within its time, its time within its lease, its lease before the message comes again."""
    assert SERVE_MAX_S < RUN_MAX_S < LEASE_S < VISIBILITY_S
    assert RECEIVES_MAX > ATTEMPTS_MAX


@given(st.lists(st.tuples(st.integers(0, 2**44), st.binary(min_size=ID_BYTES, max_size=ID_BYTES)), max_size=20))
def test_ids_sort_by_time_and_hold_all_of_the_chance(made: list[tuple[int, bytes]]) -> None:
    """Two ids differ where their moments or their chance differ, and sort as moments do, then as chance does."""

    def id_of(moment_ms: int, random: bytes) -> str:
        return accepted("acme", now=moment_ms / 1000, random_bytes=lambda count: random[:count]).job_id

    assert sorted(id_of(*each) for each in made) == [id_of(*each) for each in sorted(made)]
    assert len({id_of(*each) for each in made}) == len(set(made))


@given(st.binary(min_size=ID_BYTES, max_size=ID_BYTES))
def test_nothing_else_is_an_id(random: bytes) -> None:
    """An id is of characters that need no escape."""
    job = accepted("acme", now=NOW, random_bytes=lambda count: random[:count])
    assert is_id(job.job_id)
    assert not is_id(f"{job.job_id}x")
    assert not is_id(job.job_id[:-1])
    assert not is_id(f"../{job.job_id}")
    assert job.job_id in request_key("acme", job.job_id)
    assert result_key("acme", job.job_id) == f"tenants/acme/jobs/{job.job_id}.json"


def test_a_job_is_run_once_at_a_time_and_again_after_a_crash() -> None:
    """While the lease lasts a second delivery waits for it; after it the job is somebody else's."""
    running = started(fresh(), now=NOW)
    assert (running.state, running.attempts) == ("running", 1)
    assert begin(running, now=NOW + 1) == Wait(LEASE_S - 1)
    assert started(running, now=NOW + LEASE_S).attempts == 2


@pytest.mark.parametrize("state", sorted(OVER))
def test_what_is_over_stays_over(state: JobState) -> None:
    """A delivery of a job that is done, failed or expired changes nothing."""
    assert begin(replace(fresh(), state=state), now=NOW) == Nothing()


def test_an_old_job_is_not_run() -> None:
    """Beyond the bound on age it expires, and callers are told so even before anybody delivers it."""
    job = fresh()
    assert begin(job, now=NOW + AGE_MAX_S + 1) == Close(replace(job, state="expired"))
    assert state_at(job, now=NOW + AGE_MAX_S) == "queued"
    assert state_at(job, now=NOW + AGE_MAX_S + 1) == "expired"
    running = replace(started(job, now=NOW + AGE_MAX_S), code="x")
    assert state_at(running, now=NOW + AGE_MAX_S + 1) == "running"
    assert state_at(replace(job, state="done"), now=NOW + 2 * AGE_MAX_S) == "done"


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 413, 422, 500])
def test_an_answer_ends_the_job_whatever_its_status(status: int) -> None:
    """Only "not now" is asked again: an error of the caller is an answer too."""
    end = conclude(started(fresh(), now=NOW), status=status, now=NOW + 1, uniform=0.5)
    assert isinstance(end, Close)
    assert (end.job.state, end.job.status) == ("done", status)


@given(
    st.lists(
        st.tuples(st.sampled_from([429, 503, 504]), st.floats(0, 1, exclude_max=True), st.integers(0, 10_000)),
        min_size=ATTEMPTS_MAX,
        max_size=ATTEMPTS_MAX,
    )
)
def test_not_now_is_asked_again_a_bounded_number_of_times(answers: list[tuple[int, float, int]]) -> None:
    """Pauses are bounded and no shorter than the answer wanted; the last code is what the caller is told."""
    job, now = fresh(), NOW
    for status, uniform, retry_after_s in answers:
        running = started(job, now=now)
        end = conclude(
            running, status=status, code=f"code_{status}", retry_after_s=retry_after_s, now=now, uniform=uniform
        )
        assert end.job.code == f"code_{status}"
        if isinstance(end, Close):
            assert end.job.state == "failed"
            assert end.job.attempts == ATTEMPTS_MAX or now + PAUSE_MAX_S > NOW + AGE_MAX_S
            return
        assert min(retry_after_s, PAUSE_MAX_S) <= end.pause_s <= PAUSE_MAX_S
        job, now = end.job, now + end.pause_s
    pytest.fail("never given up")


def test_a_job_whose_runners_all_die_fails() -> None:
    """Crashes count as attempts: the job that kills its runner is not run for ever."""
    job, now = fresh(), NOW
    for _ in range(ATTEMPTS_MAX):
        job = started(job, now=now)
        now += LEASE_S
    end = begin(job, now=now)
    assert isinstance(end, Close)
    assert (end.job.state, end.job.code) == ("failed", "internal_error")


def test_outages_send_jobs_back_at_different_times() -> None:
    """Chance spreads the pauses over a factor of three."""
    running = started(fresh(), now=NOW)
    ends = [conclude(running, status=503, now=NOW, uniform=uniform) for uniform in (0.0, 0.999)]
    early, late = (end.pause_s for end in ends if isinstance(end, Again))
    assert late > 2.9 * early
