"""The service with a leak, started as `u2net serve` is: the control of the test of memory."""

import sys

from u2net.cli import cli
from u2net.server import service

kept = []
make = service.Service._make


def leak(self, data, *rest):
    kept.append(bytearray(100_000))
    return make(self, data, *rest)


service.Service._make = leak
cli(["serve", *sys.argv[1:]])
