"""What a notice says, how it is signed, when it is tried again, and where it may be sent."""

import json
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.bounds import NOTIFY_TIMEOUT_S
from headrace.batches.states import Batch, Counts, Options, Problem, Source
from headrace.errors import InvalidRequest, StoreUnavailable
from headrace.fakes.batches import FakeBatchTable
from headrace.fakes.jobs import FakeJobRecords
from headrace.fakes.notices import FakePoster
from headrace.jobs.states import KEPT_S, Job
from headrace.notices import (
    BATCH_MAX,
    PAUSES_S,
    POST_TIMEOUT_S,
    SPREAD,
    TRIES_MAX,
    Teller,
    of_batch,
    of_job,
    pause_s,
    secret_of,
    show_secret,
    signed_headers,
)
from headrace.webhooks import URL_MAX_CHARS, is_allowed, parse_webhook

PEPPER = b"p" * 32
HOOK = "https://example.com/told"
NOW = 1_795_262_400.0
JOB = Job(
    "acme", "job_AAAAAAAAAAAAAAAAAAAAAA", NOW - 10, state="done", status=200, key_id="key-1", ended_at=NOW, webhook=HOOK
)
BATCH = Batch(
    "acme",
    "batch_AAAAAAAAAAAAAAAAAAAAAA",
    NOW - 100,
    Source("bucket", "tenants/acme/files/secret-name", "v", 1, "jsonl"),
    Options("sentiment", "/v1/classifications", webhook=HOOK, metadata=(("who", "secret"),)),
    caller=(("key_id", "secret"),),
    state="completed",
    counts=Counts(5, 3, 2, 1),
    problems=(Problem("shard_failed", "secret"),),
    ended_at=NOW,
    output_file_id="file_out",
)

# -- what is said -----------------------------------------------------------------------------------------------------


def test_a_job_that_ended_is_told_with_where_to_fetch_it() -> None:
    """Type, moment, state and path; the status is that of the answer, and only where there is one."""
    document = json.loads(of_job(JOB).body)
    assert document == {
        "type": "job.done",
        "timestamp": "2026-11-21T12:00:00.000Z",
        "data": {
            "id": JOB.job_id,
            "object": "job",
            "state": "done",
            "code": None,
            "status": 200,
            "created_at": NOW - 10,
            "ended_at": NOW,
            "expires_at": NOW - 10 + KEPT_S,
            "url": f"/v1/jobs/{JOB.job_id}",
        },
    }
    failed = json.loads(of_job(replace(JOB, state="failed", status=503, code="overloaded")).body)
    assert (failed["type"], failed["data"]["code"], failed["data"]["status"]) == ("job.failed", "overloaded", None)


def test_a_batch_that_ended_is_told_in_counts_and_ids() -> None:
    """Nothing of the file, its name, its caller or the caller's own metadata is in it."""
    body = of_batch(BATCH).body
    assert b"secret" not in body
    document = json.loads(body)
    assert document["type"] == "batch.completed"
    assert document["data"]["request_counts"] == {"total": 5, "completed": 3, "failed": 2, "degraded": 1}
    assert document["data"]["problems"] == ["shard_failed"]
    assert document["data"]["output_file_id"] == "file_out"
    assert document["data"]["url"] == f"/v1/batches/{BATCH.batch_id}"


def test_the_same_end_is_the_same_notice() -> None:
    """Id and bytes do not change between tries; another end, or a batch that was begun again, has another id."""
    assert of_job(JOB) == of_job(replace(JOB, told=True))
    assert of_job(JOB).body == of_job(replace(JOB, told=True)).body
    ids = {
        of_job(JOB).notice_id,
        of_job(replace(JOB, state="failed")).notice_id,
        of_batch(BATCH).notice_id,
        of_batch(replace(BATCH, redrives=1)).notice_id,
        of_batch(replace(BATCH, state="failed")).notice_id,
    }
    assert len(ids) == 5
    assert not any("." in notice_id for notice_id in ids)


# -- the signature ----------------------------------------------------------------------------------------------------


def test_the_signature_is_that_of_the_specification() -> None:
    """The vector that the specification's own libraries are tested with (standard-webhooks, `libraries/`)."""
    secret = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', now=1_614_265_330.9)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_receivers_libraries_take_secret_and_signature() -> None:
    """The reference library verifies what we sign with what the command prints, and no other tenant's secret."""
    notice = of_job(JOB)
    now = datetime.now(tz=UTC).timestamp()
    headers = signed_headers(secret_of(PEPPER, "acme"), notice.notice_id, notice.body, now=now)
    receiver = standardwebhooks.Webhook(show_secret(secret_of(PEPPER, "acme")))
    assert receiver.verify(notice.body, headers)["type"] == "job.done"
    stranger = standardwebhooks.Webhook(show_secret(secret_of(PEPPER, "other")))
    for wrong, body in ((stranger, notice.body), (receiver, notice.body + b" ")):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            wrong.verify(body, headers)


def test_secrets_differ_by_tenant_and_pepper() -> None:
    """32 bytes each, in the form that the scheme names; the API keys' own digests use the pepper otherwise."""
    secrets = {secret_of(pepper, tenant) for pepper in (PEPPER, b"q" * 32) for tenant in ("acme", "other")}
    assert len(secrets) == 4
    shown = show_secret(secret_of(PEPPER, "acme"))
    assert shown.startswith("whsec_")
    assert b64decode(shown.removeprefix("whsec_"), validate=True) == secret_of(PEPPER, "acme")
    assert len(secret_of(PEPPER, "acme")) == 32


# -- when it is tried again -------------------------------------------------------------------------------------------


def test_bounds_fit_each_other() -> None:
    """A batch of slow receivers ends in the function's time; all tries end while a job's answer is still kept."""
    assert BATCH_MAX * POST_TIMEOUT_S < NOTIFY_TIMEOUT_S
    assert sum(PAUSES_S) * (1 + SPREAD) + TRIES_MAX * POST_TIMEOUT_S < KEPT_S


@given(st.integers(1, TRIES_MAX), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_and_are_spread(tries: int, uniform: float) -> None:
    """Each pause is about its step, longer than the one before, and none follows the last try."""
    pause = pause_s(tries, uniform=uniform)
    if tries == TRIES_MAX:
        assert pause == 0
        return
    step = PAUSES_S[tries - 1]
    assert step * (1 - SPREAD) <= pause <= step * (1 + SPREAD)
    assert tries == 1 or pause > pause_s(tries - 1, uniform=uniform)


class World:
    """A teller over records in memory, and a receiver."""

    def __init__(self) -> None:
        self.jobs, self.batches, self.poster = FakeJobRecords(), FakeBatchTable(), FakePoster()
        self.jobs.records["acme", JOB.job_id] = JOB
        self.batches.batches["acme", BATCH.batch_id] = BATCH
        self.teller = Teller(
            jobs=self.jobs,
            batches=self.batches,
            poster=self.poster,
            pepper=lambda: PEPPER,
            wall=lambda: NOW + 5,
            uniform=lambda: 0.5,
        )


@pytest.fixture
def world() -> World:
    """One job and one batch that ended."""
    return World()


def test_the_receiver_gets_the_signed_notice(world: World) -> None:
    """Body, three headers, and the URL as the record has it; a second try is signed anew under the same id."""
    assert world.teller.tell("acme", "job", JOB.job_id, tries=1).pause_s is None
    assert world.teller.tell("acme", "batch", BATCH.batch_id, tries=1).outcome == "told"
    (job_hook, job_body, job_headers), (_, batch_body, batch_headers) = world.poster.posted
    assert job_hook == parse_webhook(HOOK)
    assert job_body == of_job(JOB).body
    assert batch_body == of_batch(BATCH).body
    assert job_headers == signed_headers(secret_of(PEPPER, "acme"), of_job(JOB).notice_id, job_body, now=NOW + 5)
    assert job_headers["webhook-id"] != batch_headers["webhook-id"]


@pytest.mark.parametrize(
    ("status", "outcome", "again"),
    [
        (200, "told", False),
        (204, "told", False),
        (299, "told", False),
        (410, "gone", False),
        (301, "status_301", True),
        (400, "status_400", True),
        (404, "status_404", True),
        (429, "status_429", True),
        (500, "status_500", True),
        (None, "unavailable", True),
    ],
)
def test_only_success_and_gone_end_it(world: World, status: int | None, outcome: str, *, again: bool) -> None:
    """Everything else comes again after a pause, a redirect too; after the last try the queue gives it up."""
    world.poster.status = status
    told = world.teller.tell("acme", "job", JOB.job_id, tries=2)
    assert (told.outcome, told.pause_s) == (outcome, PAUSES_S[1] if again else None)
    last = world.teller.tell("acme", "job", JOB.job_id, tries=TRIES_MAX)
    assert last.pause_s == (0.0 if again else None)


def test_what_has_no_end_or_no_webhook_is_not_told(world: World) -> None:
    """Unknown, forgotten, running (a batch that was begun again), or nobody asked: the message has done its work."""
    world.jobs.records["acme", "running"] = replace(JOB, state="running")
    world.jobs.records["acme", "silent"] = replace(JOB, webhook="")
    world.batches.batches["acme", "again"] = replace(BATCH, state="in_progress")
    world.batches.batches["acme", "silent"] = replace(BATCH, options=replace(BATCH.options, webhook=""))
    told = [world.teller.tell("acme", "job", job_id, tries=1) for job_id in ("running", "silent", "unknown")]
    told += [world.teller.tell("acme", "batch", batch_id, tries=1) for batch_id in ("again", "silent", "unknown")]
    told.append(world.teller.tell("other", "job", JOB.job_id, tries=1))
    assert {(each.outcome, each.pause_s) for each in told} == {("nothing_to_tell", None)}
    assert not world.poster.posted


def test_a_webhook_that_is_no_longer_allowed_is_not_asked(world: World) -> None:
    """What the laptop's setting let through is refused where that is not set."""
    world.jobs.records["acme", "own"] = replace(JOB, webhook="http://127.0.0.1:8000/")
    assert world.teller.tell("acme", "job", "own", tries=1).outcome == "refused_address"
    assert not world.poster.posted
    assert replace(world.teller, loopback=True).tell("acme", "job", "own", tries=1).outcome == "told"


def test_a_record_that_cannot_be_read_is_asked_for_again(world: World) -> None:
    """A store that is down ends nothing."""
    world.batches.down = True
    with pytest.raises(StoreUnavailable):
        world.teller.tell("acme", "batch", BATCH.batch_id, tries=1)


# -- where it may be sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://example.com", "example.com", "/"),
        ("https://Example.COM/a/b?c=d&e=%20", "example.com", "/a/b?c=d&e=%20"),
        ("https://example.com?x=1", "example.com", "/?x=1"),
        ("https://example.com:8443/", "example.com:8443", "/"),
        ("https://example.com:443/", "example.com", "/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://hooks.a_b.example/", "hooks.a_b.example", "/"),
        ("https://93.184.215.14/x", "93.184.215.14", "/x"),
        (
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443/",
            "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8443",
            "/",
        ),
    ],
)
def test_urls_of_public_places_are_taken(url: str, authority: str, target: str) -> None:
    """Host header and request target are what HTTP wants of them."""
    webhook = parse_webhook(url)
    assert (webhook.scheme, webhook.authority, webhook.target) == ("https", authority, target)


REFUSED = (
    *("", "example.com", "http://example.com/", "ftp://example.com/", "https://", "https:///x", "//example.com/"),
    *("https://user@example.com/", "https://user:pass@example.com/", "https://example.com/#part"),
    *("https://example.com/a b", "https://example.com/\r\nx: y", "https://example.com/\n", "https://exämple.com/"),
    *("https://example.com\\@127.0.0.1/", "https://example.com:22/", "https://example.com:70000/"),
    *("https://example.com:0/", "https://localhost/", "https://localhost:8443/", "https://a.localhost/"),
    *("https://intranet/", "https://db.internal/", "https://printer.local/", "https://example.com./"),
    *(
        "https://-a.example.com/",
        "https://a..example.com/",
        f"https://{'a' * 64}.com/",
        "https://" + "a." * 130 + "com/",
    ),
    *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/"),
    *("https://0/", "https://10.0.0.1/", "https://169.254.169.254/latest/", "https://192.168.1.1/", "https://a.0x7f/"),
    *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://[fd00::1]/", "https://[::]/"),
    *("https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://[1.2.3.4]/", "https://[x]/", "https://1:2/"),
    "https://example.com/" + "a" * URL_MAX_CHARS,
)


@pytest.mark.parametrize("url", REFUSED)
def test_other_urls_are_refused_at_the_door(url: str) -> None:
    """Another scheme, credentials, a fragment, odd ports and hosts, every spelling of a private address."""
    with pytest.raises(InvalidRequest) as refused:
        parse_webhook(url)
    assert refused.value.code == "invalid_webhook"
    assert not url or url not in refused.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://localhost:9000/", "http://[::1]:9000/"])
def test_the_laptop_may_tell_itself(url: str) -> None:
    """Loopback over http is for where the setting says so, and private networks are not part of it."""
    assert parse_webhook(url, loopback=True).scheme == "http"
    with pytest.raises(InvalidRequest):
        parse_webhook(url)
    for other in ("http://example.com/", "http://10.0.0.1:8080/", "https://10.0.0.1/", "http://localhost.evil.com/"):
        with pytest.raises(InvalidRequest):
            parse_webhook(other, loopback=True)


@given(st.text(max_size=40))
def test_no_text_makes_a_request_that_is_not_one(text: str) -> None:
    """Whatever is taken has a target without spaces, line ends or bytes beyond ASCII, and no second host."""
    for url in (text, f"https://example.com/{text}", f"https://{text}/"):
        try:
            webhook = parse_webhook(url)
        except InvalidRequest:
            continue
        line = f"POST {webhook.target} HTTP/1.1 {webhook.authority}"
        assert line.isascii()
        assert line.isprintable()
        assert len(line.split(" ")) == 4
        assert "@" not in webhook.authority


NEVER = (
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.255.0.1", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0"),
    *("fec0::1", "ff02::1", "ff0e::1", "fd00:ec2::254", "2606:4700::1111%eth0", "", "example.com", "1.2.3", "01.2.3.4"),
)
ALWAYS = (
    "1.1.1.1",
    "8.8.8.8",
    "52.95.110.1",
    "100.63.255.255",
    "100.128.0.1",
    "192.88.98.1",
    "2606:4700::1111",
    "2a00:1450::1",
)


@pytest.mark.parametrize("address", NEVER)
def test_addresses_that_are_not_public_are_never_connected_to(address: str) -> None:
    """Private, loopback, link-local, carriers' NAT, 6to4, NAT64, Teredo, mapped, reserved, multicast, or no address."""
    assert not is_allowed(address)


@pytest.mark.parametrize("address", ALWAYS)
def test_public_addresses_are(address: str) -> None:
    """Also those that are neighbours of a range that is not."""
    assert is_allowed(address)


def test_the_laptops_setting_opens_loopback_and_nothing_else() -> None:
    """Of everything that is refused otherwise, loopback alone is let through."""
    opened = {address for address in NEVER if is_allowed(address, loopback=True)}
    assert opened <= {"127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"}
    assert {"127.0.0.1", "::1"} <= opened


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_is_allowed_is_global_in_every_reading(address: Any) -> None:
    """No allowed address is private, local, multicast or reserved to Python, nor carries an IPv4 address inside."""
    if not is_allowed(str(address)):
        return
    assert address.is_global
    wrong = ("private", "loopback", "link_local", "multicast", "reserved", "unspecified")
    assert not [name for name in wrong if getattr(address, f"is_{name}")]
    if isinstance(address, IPv6Address):
        assert address.ipv4_mapped is None
        assert address.sixtofour is None
        assert address.teredo is None
    else:
        assert isinstance(address, IPv4Address)
