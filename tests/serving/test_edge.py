"""The edge on a real port: who is let in, and what becomes of requests that no caller of good will sends."""

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from serving import protocol
from serving.edge import Guard
from serving.keys import KeyFile
from serving.metrics import exposition
from serving.routes import ENDPOINTS
from tests.serving.live import is_whole, make_guard, read_all, serving

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def guard(tmp_path):
    return make_guard(tmp_path)


@pytest.fixture
def live(application, guard):
    with serving(application, guard) as one:
        yield one
        assert one.is_alive()


def answers(found: bytes) -> list[tuple[int, dict]]:
    """Status and body of each answer on a connection, all of them JSON."""
    parsed = []
    while found:
        head, _, rest = found.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert lines[0].startswith(b"http/1.1 ")
        assert b"content-type: application/json" in lines, head
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        parsed.append((int(lines[0].split()[1]), json.loads(rest[:length])))
        found = rest[length:]
    return parsed


def post(body: bytes, *headers: bytes, path: bytes = b"/recommend") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: a", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CLOSE = b"connection: close"
GOOD = b'{"user_id": "somebody"}'


@pytest.mark.parametrize(
    "request_bytes, status, message",
    [
        (b"nonsense\r\n\r\n", 400, "this is not HTTP that can be read"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60, 400, "not HTTP"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "not HTTP"),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "the address cannot be read"),
        (b"GET http:// HTTP/1.1\r\nhost: a\r\n\r\n", 400, ""),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414, "the address is too long"),
        (b"GET /services HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n", 431, "at most 200 headers"),
        (b"GET /services HTTP/1.1\r\na: " + b"b" * 100_000 + b"\r\n\r\n", 431, "the headers are too long"),
        (post(b"", b"content-length: 7"), 400, "not HTTP"),
        (b"POST /recommend HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400, "not HTTP"),
        (b"POST /recommend HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400, "not HTTP"),
        (
            b"POST /recommend HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
            400,
            "",
        ),
        (b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404, "there is no such path"),
        (b"BREW /recommend HTTP/1.1\r\nhost: a\r\n\r\n", 400, "not HTTP"),
        (b"OPTIONS /recommend HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405, "another method"),
        (b"PUT /recommend HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405, "another method"),
        (b"TRACE /services HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405, "another method"),
        (b"POST /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405, "/livez takes GET alone"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404, "there is no such path"),
        (b"GET /schema.json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404, "there is no such path"),
        (b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nconnection: close\r\n\r\n", 404, "there is no such path"),
        (b"GET /users/%ED%A0%80/profile HTTP/1.1\r\nconnection: close\r\n\r\n", 404, "nothing is known"),
        (b"GET /users/%00/profile HTTP/1.1\r\nconnection: close\r\n\r\n", 404, "nothing is known"),
        (b"GET /decisions/%FF%00 HTTP/1.1\r\nconnection: close\r\n\r\n", 404, "there is no decision"),
        (post(GOOD, CLOSE, b"content-encoding: gzip"), 415, "without Content-Encoding"),
        (post(GOOD, CLOSE, b"content-type: multipart/form-data; boundary=x"), 415, "must be JSON"),
        (post(GOOD.decode().encode("utf-16"), CLOSE), 400, "body must be JSON"),
        (post(b'{"user_id": "\\ud800"}', CLOSE), 400, "body must be JSON"),
        (post(b'{"user_id": "a\\u0000b"}', CLOSE), 400, "user_id: must not hold NUL"),
        (post(b'{"user_id": "a", "n": NaN}', CLOSE), 400, "n"),
        (post(b'{"user_id": "a", "n": -Infinity}', CLOSE), 400, "n"),
        (post(b'{"user_id": "a", "n": 1e400}', CLOSE), 400, "n"),
        (post(b'{"user_id": "a", "n": ' + b"9" * 5000 + b"}", CLOSE), 400, "n"),
        (post(b'{"user_id": ' + b"[" * 100_000, CLOSE), 400, "body must be JSON"),
        (post(b'{"a":' * 100_000, CLOSE), 400, "body must be JSON"),
        (post(b'{"events": [' + b'{"value":' * 5000 + b"}]}", CLOSE, path=b"/events"), 400, "JSON"),
        (post(b"x" * (2**20 + 1), CLOSE), 413, "at most 1048576 bytes"),
    ],
)
def test_what_no_caller_of_good_will_sends_is_refused_in_words(live, request_bytes, status, message):
    ((found, body),) = answers(live.send(request_bytes))
    assert (found, list(body)) == (status, ["error"])
    assert message in body["error"]


def test_a_body_of_200_megabytes_is_refused_and_not_kept(live):
    size, sent = 200 * 2**20, 0
    with live.connect() as connection:
        head = b"POST /events HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head)
        before = resident_bytes()
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        while sent < size:
            connection.sendall(chunk)
            sent += 65536
        grown = resident_bytes() - before
        connection.sendall(b"0\r\n\r\n")
        connection.shutdown(1)
        ((status, body),) = answers(read_all(connection))
    assert (status, "at most 1048576 bytes" in body["error"]) == (413, True)
    assert grown < 32 * 2**20


def resident_bytes():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def test_pipelined_requests_are_answered_in_their_order(live, user_id):
    bodies = [json.dumps({"user_id": f"u{number}"}).encode() for number in range(30)]
    found = answers(live.send(b"".join(post(body) for body in bodies) + post(b"{", CLOSE)))
    assert [body.get("user_id") for _, body in found[:30]] == [f"u{number}" for number in range(30)]
    assert found[30][0] == 400


def test_a_request_that_does_not_end_is_ended(live, monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_S", 0.2)
    for begun in (
        b"",
        b"POST /recommend HTT",
        b"POST /recommend HTTP/1.1\r\nhost: a\r\n",
        b"POST /recommend HTTP/1.1\r\ncontent-length: 20\r\n\r\n{",
        b"POST /recommend HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ):
        with live.connect() as connection:
            connection.sendall(begun)
            ((status, body),) = answers(read_all(connection))
            assert (status, body) == (408, {"error": "the request must come within 0 seconds"})
    assert live.guard.line.n_working == 0


def test_a_byte_at_a_time_is_no_way_around_that(live, monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_S", 0.3)
    with live.connect() as connection:
        try:
            for byte in b"POST /recommend HTTP/1.1\r\nx: " + b"y" * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        except ConnectionError:
            pass
        else:
            raise AssertionError("the connection outlived its time")


def test_slow_callers_keep_nobody_waiting(live):
    with ThreadPoolExecutor(40) as pool:
        slow = list(pool.map(lambda _: live.connect(), range(40)))
    for connection in slow:
        connection.sendall(b"POST /recommend HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n{")
    assert httpx.post(f"{live.url}/recommend", content=GOOD).status_code == 200
    assert live.guard.line.n_working == 0
    for connection in slow:
        connection.close()


def test_too_many_connections_are_told_so(live, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 3)
    kept = [live.connect() for _ in range(3)]
    for connection in kept:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    found = live.send(b"")
    assert b"retry-after: 1" in found
    assert answers(found) == [(503, {"error": "too many connections are open: come again later"})]
    for connection in kept:
        connection.close()


def test_head_has_the_headers_alone(live):
    response = httpx.head(f"{live.url}/services")
    assert (response.status_code, response.content) == (200, b"")
    assert httpx.head(f"{live.url}/readyz").status_code == 200
    assert httpx.head(f"{live.url}/recommend").status_code == 405


def test_a_websocket_is_no_way_in(live):
    upgrade = b"GET /services HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    with live.connect() as connection:
        connection.sendall(upgrade)
        assert b'{"services"' in connection.recv(65536)


PATHS = [(one.method, one.path.format(user_id="u", decision_id="d")) for one in ENDPOINTS]
PATHS += [("GET", path) for path in ("/docs.json", "/metrics", "/healthz", "/schema.json", "/", "/no-such")]


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def test_with_keys_every_route_but_health_wants_one(application, tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    shop, dash = file.add("shop", False, NOW), file.add("dash", True, NOW)
    wrong = [{}, bearer("pwk_wrong"), bearer(shop[:-1]), {"authorization": f"Basic {shop}"}]
    with serving(application, make_guard(tmp_path)) as live, httpx.Client(base_url=live.url) as client:
        for path in ("/livez", "/readyz"):
            assert client.get(path).status_code == 200
        for method, path in PATHS:
            for headers in wrong:
                refused = client.request(method, path, headers=headers)
                assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
                assert "Authorization: Bearer KEY" in refused.json()["error"]
            told = client.request(method, path, headers=bearer(dash)).status_code
            assert told not in (401, 500) and (told == 403) == (method != "GET")
            assert client.request(method, path, headers=bearer(shop)).status_code in (200, 400, 404)
        assert client.get("/services", headers={"authorization": f"bearer  {shop}"}).status_code == 200


def test_a_key_that_is_revoked_opens_nothing_a_moment_later(application, tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    shop, other = file.add("shop", False, NOW), file.add("other", False, NOW)
    with serving(application, make_guard(tmp_path)) as live, httpx.Client(base_url=live.url) as client:
        assert client.get("/services", headers=bearer(shop)).status_code == 200
        file.revoke("shop")
        while client.get("/services", headers=bearer(shop)).status_code == 200:
            time.sleep(0.05)
        assert client.get("/services", headers=bearer(shop)).status_code == 401
        assert client.get("/services", headers=bearer(other)).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "::", "example.org", ""])
def test_an_address_that_others_can_reach_needs_a_key(tmp_path, host):
    with pytest.raises(ValueError, match=r"can be reached by others .* holds no key. Add one with: perkwise"):
        make_guard(tmp_path, host=host)
    KeyFile(tmp_path / "keys.json").add("shop", False, NOW)
    assert make_guard(tmp_path, host=host).keys.required


def test_each_key_has_a_rate_of_its_own(application, tmp_path):
    file = KeyFile(tmp_path / "keys.json")
    shop, other = file.add("shop", False, NOW), file.add("other", False, NOW)
    guard = make_guard(tmp_path, requests_per_second=5)
    with serving(application, guard) as live, httpx.Client(base_url=live.url) as client:
        found = [client.get("/services", headers=bearer(shop)) for _ in range(30)]
        refused = [one for one in found if one.status_code == 429]
        assert len(refused) >= 15 and found[0].status_code == 200
        assert all(one.headers["retry-after"] == "1" for one in refused)
        assert refused[0].json() == {"error": "more requests a second than this key may send: slow down"}
        assert client.get("/services", headers=bearer(other)).status_code == 200


def test_more_than_can_wait_are_refused_with_when_to_come_again(application, tmp_path):
    guard = make_guard(tmp_path, max_waiting=2)
    with serving(application, guard) as live:
        barrier = threading.Barrier(24)

        def ask(number):
            with httpx.Client(base_url=live.url) as client:
                client.get("/livez")
                barrier.wait()
                rows = [{"user_id": f"u{number}-{row}"} for row in range(60)]
                return client.post("/recommend_batch", json={"requests": rows}, timeout=60)

        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(ask, range(24)))
        statuses = {one.status_code for one in found}
        assert statuses == {200, 429}
        for one in found:
            if one.status_code == 429:
                assert one.headers["retry-after"] == "1" and "come again later" in one.json()["error"]
        assert live.is_alive()


def refused_in_overload():
    line = b'perkwise_refused_total{reason="overload"} '
    return sum(float(one.removeprefix(line)) for one in exposition().splitlines() if one.startswith(line))


def test_where_nobody_may_wait_work_is_refused_on_a_connection_that_stays(application, tmp_path, user_id):
    body = json.dumps({"user_id": user_id}).encode()
    n_before = refused_in_overload()
    with serving(application, make_guard(tmp_path, max_waiting=0)) as live:
        get = b"GET /services HTTP/1.1\r\nhost: a\r\n\r\n"
        in_parts = post(body, b"transfer-encoding: chunked").replace(
            b"content-length: %d\r\n" % len(body), b""
        )
        chunked = in_parts[: -len(body)] + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        last = post(body, b"connection: close")
        parts = [post(body), get, post(b"x" * 100_000), chunked, last]
        found = []
        with live.connect() as connection:
            for part in parts[:-1]:
                connection.sendall(part)
                answer = b""
                while not is_whole(answer):
                    answer += connection.recv(65536)
                found += answers(answer)
                assert (b"retry-after: 1" in answer) == (found[-1][0] == 429)
            connection.sendall(last)
            found += answers(read_all(connection))  # to the end: it is closed
    assert [status for status, _ in found] == [429, 200, 429, 429, 429]
    assert found[0][1] == {"error": "more is asked than can be answered: come again later"}
    assert refused_in_overload() == n_before + 4


def test_where_nobody_may_wait_whoever_asks_first_is_refused_before_the_body(application, tmp_path):
    with serving(application, make_guard(tmp_path, max_waiting=0)) as live, live.connect() as connection:
        connection.sendall(post(b"{}", b"expect: 100-continue")[:-2])
        assert connection.recv(65536).startswith(b"HTTP/1.1 429 ")


def test_when_draining_readiness_ends_first_and_all_else_is_answered(live):
    live.guard.is_draining = True
    ready = httpx.get(f"{live.url}/readyz")
    assert (ready.status_code, ready.json()) == (503, {"error": "the service is about to end"})
    assert httpx.get(f"{live.url}/livez").status_code == 200
    assert httpx.post(f"{live.url}/recommend", content=GOOD).status_code == 200


N_CANARIES = 1000


def test_no_canary_is_in_a_log_a_metric_or_an_answer_to_others(application, tmp_path, caplog, clock):
    """Ids, keys and texts of good and bad calls, then every byte of logs and metrics is searched."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="perkwise")
    file = KeyFile(tmp_path / "keys.json")
    key = file.add("shop", False, NOW)
    guard = make_guard(tmp_path)
    canaries = [f"canary{number:04d}x" for number in range(N_CANARIES)]
    each = iter(canaries)
    at = datetime.fromtimestamp(clock.now_us / 1e6 - 60, UTC).isoformat()
    with serving(application, guard) as live, httpx.Client(base_url=live.url, headers=bearer(key)) as client:
        for number in range(N_CANARIES // 8):
            one, two, three, four, five, six, seven, eight = (next(each) for _ in range(8))
            client.post("/recommend", json={"user_id": one, "request_id": two, "scenario": three})
            client.post("/recommend", json={"user_id": [four], four: four})
            row = {"event_id": five, "user_id": one, "event": "used", "at": at}
            client.post("/events", json={"events": [row, {**row, "at": six}, {**row, "service_id": six}]})
            client.get(f"/users/{one}/profile")
            client.get("/services", headers=bearer(seven))
            client.post("/recommend", content=f'{{"user_id": "{eight}"', headers={"x-note": eight})
            client.get(f"/decisions/{eight}", params={"q": eight})
            client.request("BREW", f"/{eight}")
            if number % 5 == 0:
                client.delete(f"/users/{one}")
                client.delete(f"/users/{two}")
        metrics = client.get("/metrics").text
        others = client.get("/services").text + client.get("/docs.json").text
        application.database.close()
        assert client.post("/recommend", json={"user_id": canaries[0]}).status_code >= 500
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in ours)
    assert logged.count("decided") >= N_CANARIES // 8 and "RuntimeError" in logged
    for searched in (metrics, others, logged, exposition().decode(), file.path.read_text()):
        assert "canary" not in searched and key not in searched
    assert next(each, None) is None


def test_a_guard_names_where_its_keys_are(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path / "keys.json")):
        Guard(KeyFile(tmp_path / "keys.json"), "0.0.0.0", 0, 1, 1, 1024)
