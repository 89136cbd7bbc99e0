from ipaddress import ip_address

import pytest

from u2net.server.addresses import is_public

# Each is an address that a service must not be made to connect to, with why. After the IANA registries, and the ways
# in which IPv6 carries IPv4 addresses (RFC 4291, 6052, 3056, 4380, 5214, 8215).
NOT_PUBLIC = {
    "0.0.0.0": "this host",
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "10.255.255.255": "private, the last",
    "100.64.0.1": "shared by a provider's customers",
    "100.100.100.200": "a cloud's metadata",
    "100.127.255.255": "shared, the last",
    "127.0.0.1": "loopback",
    "127.1.2.3": "loopback",
    "127.255.255.255": "loopback, the last",
    "169.254.0.1": "link-local",
    "169.254.169.254": "clouds' metadata",
    "169.254.170.2": "a container's credentials",
    "172.16.0.1": "private",
    "172.31.255.255": "private, the last",
    "192.0.0.1": "IETF protocols",
    "192.0.0.8": "IPv4 dummy",
    "192.0.0.170": "NAT64 discovery",
    "192.0.0.192": "a cloud's metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relays",
    "192.168.0.1": "private",
    "192.168.255.255": "private, the last",
    "198.18.0.1": "benchmarks",
    "198.19.255.255": "benchmarks, the last",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast, the last",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "IPv4-compatible",
    "::127.0.0.1": "IPv4-compatible loopback",
    "::10.0.0.1": "IPv4-compatible private",
    "::8.8.8.8": "IPv4-compatible, withdrawn",
    "::ffff:127.0.0.1": "mapped loopback",
    "::ffff:10.0.0.1": "mapped private",
    "::ffff:169.254.169.254": "mapped metadata",
    "::ffff:100.64.0.1": "mapped shared",
    "::ffff:0:127.0.0.1": "translated (SIIT)",
    "64:ff9b::127.0.0.1": "NAT64 loopback",
    "64:ff9b::10.0.0.1": "NAT64 private",
    "64:ff9b::169.254.169.254": "NAT64 metadata",
    "64:ff9b:1::1": "local NAT64",
    "64:ff9b:1::8.8.8.8": "local NAT64",
    "64:ff9b:1:ffff::127.0.0.1": "local NAT64 loopback",
    "100::1": "discarded",
    "100:0:0:1::1": "dummy prefix",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:80ff:fffe": "Teredo of 127.0.0.1",
    "2001:2::1": "benchmarks",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHIDv2",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4 loopback",
    "2002:a00:1::": "6to4 private",
    "2002:a9fe:a9fe::": "6to4 metadata",
    "2002:c0a8:1::1": "6to4 private",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "2600::5efe:127.0.0.1": "ISATAP loopback",
    "2600::200:5efe:10.0.0.1": "ISATAP private",
    "4000::1": "not given out",
    "fc00::1": "unique local",
    "fd00:ec2::254": "a cloud's metadata",
    "fdff:ffff::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local with a zone",
    "2600::1%1": "a zone",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1"]
PUBLIC += ["2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused(address):
    assert not is_public(ip_address(address)), NOT_PUBLIC[address]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address):
    assert is_public(ip_address(address))
