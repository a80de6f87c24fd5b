from __future__ import annotations

import subprocess
import sys

import pytest
from django_q.testing import BrokerConformance


def test_promise_cannot_be_overridden():
    with pytest.raises(TypeError, match="test_packages_arrive_once"):

        class _Cheat(BrokerConformance):
            def test_packages_arrive_once(self):
                pass


def test_promise_cannot_be_removed():
    with pytest.raises(TypeError, match="not_promised"):

        class _Cheat(BrokerConformance):
            test_packages_arrive_once = None


def test_test_in_not_promised_may_fail(pytester_of_a_broker):
    result = pytester_of_a_broker(
        'not_promised = {"test_info_names_the_product": "it has no name"}', 'info = lambda self: ""'
    )
    assert "1 xfailed" in result


def test_test_in_not_promised_must_fail(pytester_of_a_broker):
    result = pytester_of_a_broker('not_promised = {"test_info_names_the_product": "it has no name"}')
    assert "XPASS(strict)" in result


def test_testing_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; import django_q.testing"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def pytester_of_a_broker(tmp_path):
    def run(suite: str, broker: str = "pass") -> str:
        (tmp_path / "test_it.py").write_text(
            "import pytest\n"
            "from django_q.brokers.memory import MemoryBroker\n"
            "from django_q.testing import BrokerConformance\n"
            f"class Mine(MemoryBroker):\n    {broker}\n"
            f"class TestMine(BrokerConformance):\n    {suite}\n"
            "    @pytest.fixture\n    def make_broker(self):\n        return Mine\n"
        )
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:valkey",
            "-k",
            "names_the_product",
        ]
        done = subprocess.run([*command, "test_it.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout

    return run
