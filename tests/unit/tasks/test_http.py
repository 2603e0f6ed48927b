"""The http tasks before anything is sent: what is refused, and which addresses are open."""

from __future__ import annotations

import pytest

from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks import http
from tasks.addresses import check


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "ftp://example.com/x"}, "http:// or https://"),
        ({"url": "file:///etc/passwd"}, "http:// or https://"),
        ({"url": "/x"}, "http:// or https://"),
        ({"url": "http://"}, "name a host"),
        ({"url": "http://[::1"}, "no address"),
        ({"url": "http://me:secret@example.com/"}, "secret://NAME"),
        ({"url": "http://example.com/", "headers": {"Host": "inner"}}, "header 'host' cannot be given"),
        ({"url": "http://example.com/", "timeout_s": 0}, "'timeout_s'"),
        ({"url": "http://example.com/", "max_bytes": 1 << 40}, "'max_bytes'"),
        ({"url": "http://example.com/", "json": 1, "text": "x"}, "only one of"),
        ({"url": "http://example.com/", "base64": "!"}, "not base64"),
        ({"url": "http://127.0.0.1/"}, "FLYWHEEL_HTTP_ALLOW"),
        ({"ur": "x"}, "did you mean 'url'"),
    ],
)
def test_bad_input_is_refused_and_says_why(run, arguments, message):
    with pytest.raises(Permanent, match=message):
        run(http.request, **arguments)


def test_http_get_changes_nothing_by_its_methods(run):
    with pytest.raises(Permanent, match="'method'"):
        run(http.get, url="http://example.com/", method="POST")


PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
    "2002:a00:1::1", "fec0::1", "::7f00:1", "240.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_closed(address):
    with pytest.raises(Permanent, match="http_allow"):
        check("inner.example", address, ("10.1.0.0/16", "other.example"))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_what_is_public_is_open(address):
    check("example.com", address, ())


@pytest.mark.parametrize("place", ["inner.example", "*.example", "10.0.0.0/8", "10.0.0.1"])
def test_a_host_or_its_network_can_be_opened(place):
    check("INNER.example.", "10.0.0.1", (place,))
    check("inner.example", "::ffff:10.0.0.1", (place,))


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254"])
def test_metadata_addresses_stay_closed_whatever_is_named(address):
    with pytest.raises(Permanent, match="no setting opens it"):
        check("x.example", address, ("x.example", "169.254.0.0/16", "fd00::/8", "::/0"))


def test_effects_are_declared():
    declared = {task.name: task.task_type.effects for task in (http.get, http.request, http.download)}
    assert declared == {
        "http.get": Effects.NONE,
        "http.request": Effects.EXTERNAL,
        "http.download": Effects.IDEMPOTENT,
    }
