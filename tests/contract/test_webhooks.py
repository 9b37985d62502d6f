"""Notices on the wire: a real receiver on this machine, names that lead where a test says, and the queue before it."""

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace.errors import AttemptFailed, AttemptTimedOut, InvalidAnswer, StoreUnavailable, TargetUnavailable
from headrace.fakes.batches import FakeBatchTable
from headrace.fakes.jobs import FakeJobRecords
from headrace.fakes.notices import FakeNotices, FakePoster
from headrace.jobs.states import Job
from headrace.notices import Notices, Poster, Teller, of_job, secret_of, signed_headers
from headrace.webhooks import Webhook, parse_webhook
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import client
from headrace_aws.notices_queue import Ended, NoticesQueue, read_message
from headrace_aws.webhooks import HEAD_BYTES_MAX, Webhooks, public_trust, resolve
from infra_local.queues import make_notice_queues

NAME = "hooks.example.com"
LOOPBACK = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENCE_S = 30.0
"""For answers that come; a busy machine is no outage."""
SHORT_S = 0.3
"""For answers that do not."""

Answer = Callable[[socket.socket], None]


def saying(data: bytes) -> Answer:
    """An answer of these bytes."""
    return lambda connection: connection.sendall(data)


@dataclass
class Receiver:
    """Whom notices are sent to: takes one request after another, and answers each as the test says."""

    answer: Answer = field(default=saying(OK))
    context: ssl.SSLContext | None = None
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen."""
        self._server = socket.create_server((LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        if self.context is not None:
            self.context.sni_callback = lambda _, name, __: self.names.append(name)

    def close(self) -> None:
        """Listen no more."""
        self.over.set()
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE_S):
            pass  # wakes the thread up
        self._thread.join(PATIENCE_S)
        self._server.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            if self.over.is_set():
                connection.close()
                return
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE_S)
                secured = self.context.wrap_socket(connection, server_side=True) if self.context else connection
                with secured:
                    self._hear(secured)
                    self.answer(secured)

    def _hear(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(4096)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        while len(body) < int(headers["content-length"]):
            body += connection.recv(4096)
        self.heard.append((first, headers, body))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver without TLS."""
    made = Receiver()
    yield made
    made.close()


@dataclass
class Names:
    """A resolver: names lead where they are said to, and every question is counted."""

    addresses: dict[str, list[str]] = field(default_factory=lambda: {NAME: [LOOPBACK]})
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: int) -> list[str]:
        """The addresses."""
        assert port
        self.asked.append(host)
        if host not in self.addresses:
            raise OSError("no such name")
        return self.addresses[host]


def webhooks(names: Names, *, loopback: bool = True, timeout_s: float = PATIENCE_S, trust: str = "") -> Webhooks:
    """The sender; `trust` is the one authority that it believes, in PEM."""
    return Webhooks(
        calls=BoundedCalls(),
        context=lambda: ssl.create_default_context(cadata=trust) if trust else public_trust(),
        resolve=names,
        loopback=loopback,
        timeout_s=timeout_s,
    )


def plain(receiver: Receiver, target: str = "/told") -> Webhook:
    """The receiver's address, without TLS: a name that no system knows."""
    return Webhook("http", NAME, receiver.port, target)


# -- what is sent, and what of the answer counts ----------------------------------------------------------------------


def test_a_notice_arrives_as_it_was_signed(receiver: Receiver) -> None:
    """Path and query, the name as Host, the headers of the scheme, and the body byte for byte."""
    names = Names()
    headers = signed_headers(b"secret", "id-1", b'{"a":"\xc3\xa9"}', now=1.0)
    status = webhooks(names).post(plain(receiver, "/told?x=%20"), b'{"a":"\xc3\xa9"}', headers=headers)
    ((first, heard, body),) = receiver.heard
    assert status == 200
    assert first == "POST /told?x=%20 HTTP/1.1"
    assert heard["host"] == f"{NAME}:{receiver.port}"
    assert heard["content-type"] == "application/json"
    assert {name: heard[name] for name in headers} == headers
    assert body == b'{"a":"\xc3\xa9"}'
    assert not {"authorization", "cookie", "x-api-key"} & set(heard)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.0 410 Gone\r\n\r\n", 410),
        (b"HTTP/1.1 500\r\n\r\n", 500),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", 202),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 200_000, 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a chunk", 200),
    ],
)
def test_the_final_status_is_all_that_counts(receiver: Receiver, answer: bytes, status: int) -> None:
    """Interim answers are passed over, and whatever the body is, large or broken, is thrown away."""
    receiver.answer = saying(answer)
    assert webhooks(Names()).post(plain(receiver), b"{}", headers={}) == status


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    """It could lead anywhere: it is an answer like any other, and nobody else is asked."""
    receiver.answer = saying(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\n\r\n")
    names = Names()
    assert webhooks(names).post(plain(receiver), b"{}", headers={}) == 302
    assert len(receiver.heard) == 1
    assert names.asked == [NAME]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2 * HEAD_BYTES_MAX,
    ],
)
def test_what_is_not_http_is_no_answer(receiver: Receiver, answer: bytes) -> None:
    """Another protocol, a head without an end, one that is too large: neither told nor gone."""
    receiver.answer = saying(answer)
    with pytest.raises((InvalidAnswer, TargetUnavailable)):
        webhooks(Names()).post(plain(receiver), b"{}", headers={})


def test_an_answer_that_does_not_come_in_time_is_given_up(receiver: Receiver) -> None:
    """Silence and a trickle alike: each byte of a trickle would start a read's time again."""

    def silence(_: socket.socket) -> None:
        receiver.over.wait(2 * SHORT_S)

    def trickle(connection: socket.socket) -> None:
        for byte in OK.replace(b"\r\n\r\n", b"\r\n" * 50):
            connection.send(bytes([byte]))
            if receiver.over.wait(SHORT_S / 5):
                return

    for answer in (silence, trickle):
        receiver.answer = answer
        with pytest.raises(AttemptTimedOut):
            webhooks(Names(), timeout_s=SHORT_S).post(plain(receiver), b"{}", headers={})


# -- where it is sent -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1%lo"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "2606:4700::1111"],
        [],
    ],
)
def test_a_name_that_leads_to_us_is_not_connected_to(receiver: Receiver, addresses: list[str]) -> None:
    """One address that is not public is enough, wherever it stands among others."""
    names = Names({NAME: addresses})
    with pytest.raises(TargetUnavailable, match="not public"):
        webhooks(names, loopback=False).post(plain(receiver), b"{}", headers={})
    assert not receiver.heard


def test_the_laptops_setting_opens_loopback_alone(receiver: Receiver) -> None:
    """With it, a name that also leads into a private network is still refused."""
    names = Names({NAME: [LOOPBACK, "10.0.0.1"]})
    with pytest.raises(TargetUnavailable, match="not public"):
        webhooks(names).post(plain(receiver), b"{}", headers={})
    assert not receiver.heard


def test_a_name_that_changes_its_mind_is_asked_once(receiver: Receiver) -> None:
    """The address that was checked is the one that is connected to: the system is never asked for the name again."""

    class Rebinding(Names):
        def __call__(self, host: str, port: int) -> list[str]:
            """Harmless at first."""
            super().__call__(host, port)
            return [LOOPBACK] if len(self.asked) == 1 else ["169.254.169.254"]

    names = Rebinding()
    assert webhooks(names).post(plain(receiver), b"{}", headers={}) == 200
    assert names.asked == [NAME]
    assert len(receiver.heard) == 1


def test_an_address_that_cannot_be_reached_is_followed_by_the_next(receiver: Receiver) -> None:
    """A name has several; a function that has no IPv6 meets those first."""
    names = Names({NAME: ["127.0.0.2", LOOPBACK]})
    assert webhooks(names).post(plain(receiver), b"{}", headers={}) == 200


def test_a_receiver_that_is_not_there_is_unavailable(receiver: Receiver) -> None:
    """No such name, and nobody who listens, are the same to us; no message names the address."""
    receiver.close()
    for names in (Names({}), Names()):
        with pytest.raises(TargetUnavailable) as refused:
            webhooks(names).post(plain(receiver), b"{}", headers={})
        assert NAME not in str(refused.value)
        assert LOOPBACK not in str(refused.value)


def test_the_systems_own_resolver_gives_each_address_once() -> None:
    """As texts; what is an address already leads to itself."""
    assert resolve(LOOPBACK, 443) == [LOOPBACK]


# -- whom it is sent to -----------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's side of TLS with a certificate for a name, and that certificate, which vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(tz=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context, pem.decode()


def test_tls_proves_the_name_although_the_address_is_pinned(tmp_path: Path) -> None:
    """The name is what the certificate must be for, and what the receiver is told (SNI), with the right Host."""
    context, trust = certificate(tmp_path, NAME)
    receiver = Receiver(context=context)
    try:
        webhook = parse_webhook(f"https://{NAME}:{receiver.port}/told")
        assert webhooks(Names(), trust=trust).post(webhook, b"{}", headers={}) == 200
        assert receiver.names == [NAME]
        assert receiver.heard[0][1]["host"] == f"{NAME}:{receiver.port}"
    finally:
        receiver.close()


@pytest.mark.parametrize("certified", ["other.example.com", NAME])
def test_a_receiver_that_proves_nothing_hears_nothing(tmp_path: Path, certified: str) -> None:
    """A certificate for another name, or one that nobody vouches for: the notice is not sent."""
    context, trust = certificate(tmp_path, certified)
    receiver = Receiver(context=context)
    try:
        webhook = parse_webhook(f"https://{NAME}:{receiver.port}/told")
        with pytest.raises(TargetUnavailable):
            webhooks(Names(), trust="" if certified == NAME else trust).post(webhook, b"{}", headers={})
        assert not receiver.heard
    finally:
        receiver.close()


# -- fakes and adapters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fake", "https"])
def test_posters_tell_the_status_or_fail(receiver: Receiver, kind: str) -> None:
    """Fake and sender alike: a status where there is an answer, an attempt that failed where there is none."""
    poster: Poster = FakePoster(status=503) if kind == "fake" else webhooks(Names())
    receiver.answer = saying(b"HTTP/1.1 503 Busy\r\n\r\n")
    assert poster.post(plain(receiver), b"{}", headers={}) == 503
    down: Poster = FakePoster(status=None) if kind == "fake" else webhooks(Names({}))
    with pytest.raises(AttemptFailed):
        down.post(plain(receiver), b"{}", headers={})


def test_an_end_is_told_from_its_record_to_its_receiver(receiver: Receiver) -> None:
    """The whole way: what the record says arrives, under a signature that the tenant's secret makes."""
    job = Job("acme", f"job_{'A' * 22}", 1.0, state="failed", code="overloaded", ended_at=2.0)
    records = FakeJobRecords()
    records.create(job)
    records.records["acme", job.job_id] = told = Job(
        **{name: getattr(job, name) for name in Job.__dataclass_fields__ if name != "webhook"},
        webhook=f"http://{LOOPBACK}:{receiver.port}/told",
    )
    teller = Teller(
        jobs=records,
        batches=FakeBatchTable(),
        poster=webhooks(Names({LOOPBACK: [LOOPBACK]})),
        pepper=lambda: b"p" * 32,
        wall=lambda: 3.0,
        uniform=lambda: 0.5,
        loopback=True,
    )
    assert teller.tell("acme", "job", job.job_id, tries=1).outcome == "told"
    ((_, headers, body),) = receiver.heard
    assert body == of_job(told).body
    expected = signed_headers(secret_of(b"p" * 32, "acme"), of_job(told).notice_id, body, now=3.0)
    assert {name: headers[name] for name in expected} == expected


def test_messages_hold_ids_alone(request: pytest.FixtureRequest) -> None:
    """What is sent is read again, can be put off, and the queue gives up what is never done with."""
    request.getfixturevalue("aws")
    sqs = client("sqs", read_timeout_s=2.0)
    make_notice_queues(sqs, queue="notices", dead_letters="dead")
    url = sqs.get_queue_url(QueueName="notices")["QueueUrl"]
    queue = NoticesQueue(url, calls=BoundedCalls())
    senders: list[Notices] = [queue, FakeNotices()]
    for sender in senders:
        sender.send("acme", "batch", "batch_1")
    for _ in range(2):
        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        assert read_message(message["Body"]) == Ended("acme", "batch", "batch_1")
        queue.postpone(message["ReceiptHandle"], seconds=0)
    down: list[Notices] = [NoticesQueue(f"{url}-missing", calls=BoundedCalls()), FakeNotices(down=True)]
    for sender in down:
        with pytest.raises(StoreUnavailable):
            sender.send("acme", "job", "job_1")


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", "null", '{"tenant": "a", "kind": "cat", "id": "x"}', '{"tenant": 1, "kind": "job", "id": "x"}'],
)
def test_another_message_is_none_of_ours(body: str) -> None:
    """What cannot be read is said to be that, without quoting it."""
    with pytest.raises(ValueError, match="not a notice's message"):
        read_message(body)
