"""What `in_another_module` calls; no workflow itself."""

# ruff: noqa
import random
import urllib.request


def rate() -> float:
    return float(urllib.request.urlopen("https://rates").read())  # DUR106


class Price:
    def __init__(self, net: float) -> None:
        self.net = net

    def with_tax(self) -> float:
        return self.net * random.uniform(1.1, 1.2)  # DUR103


def nobody_calls_this() -> float:
    return random.random()
