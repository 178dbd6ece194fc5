import ipaddress

import pytest
from yarl import URL

from herbray.data.web.addresses import PrivateAddress, check_host, host_of, read_url
from herbray.data.web.failure import NotFetched


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "2001:db8::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:c0a8:1::"),
    ],
)
def test_addresses_that_are_not_public_are_refused(host):
    with pytest.raises(PrivateAddress, match="public internet"):
        check_host(host, ())
    check_host(host, [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])


@pytest.mark.parametrize("host", ["8.8.8.8", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "kew.org"])
def test_public_addresses_and_names_pass(host):
    check_host(host, ())


@pytest.mark.parametrize(
    "text",
    [
        *("", "K1.jpg", "ftp://h/x", "file:///etc/passwd", "javascript:1", "http://", "http:///x", "https://h:99999/x"),
        *("http://user:secret@h/x", "http://user@h/x", "http://h:x/", "http://[::1/x", "data:image/png;base64,", "//"),
        f"https://h/{'x' * 5000}",
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(NotFetched) as caught:
        read_url(text)
    assert (caught.value.reason, caught.value.is_passing) == ("address", False)
    assert "secret" not in str(caught.value)


def test_redirects_are_read_from_where_they_start():
    start = URL("https://a.org/x/1.jpg")
    assert str(read_url("../y/2.jpg#z", start)) == "https://a.org/y/2.jpg"
    assert host_of(read_url("//B.org./3.jpg", start)) == "b.org"
    for text in ("ftp://a.org/", "file:///etc/passwd", "https://u:p@a.org/"):
        with pytest.raises(NotFetched):
            read_url(text, start)
