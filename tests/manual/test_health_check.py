"""The health check of the manual's chapter 1.15.7, as printed, but for the port and an import of the author."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

import pytest

from tests.acceptance.site import eventually
from tests.services.ports import free_port

HEALTH_CHECK = """
from http.server import BaseHTTPRequestHandler, HTTPServer
import os
import django
# Set the correct path to you settings module
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "my.settings.path")
# All django stuff has to come after the setup:
django.setup()
from django_q.monitor import Stat
from django_q.conf import Conf
# Set host and port settings
hostName = "localhost"
serverPort = int(os.environ["PORT"])

class HealthCheckServer(BaseHTTPRequestHandler):
    def do_GET(self):
        # Count the clusters and their status
        happy_clusters = 0
        total_clusters = 0
        for stat in Stat.get_all():
            total_clusters += 1
            if stat.status in [Conf.IDLE, Conf.WORKING]:
                happy_clusters += 1
        # Return 200 response if there is at least 1 cluster running,
        # and make sure all running clusters are happy
        if total_clusters and happy_clusters == total_clusters:
            response_code = 200
        else:
            response_code = 500
        self.send_response(response_code)
        self.send_header("Content-type", "text/html")
        self.end_headers()
        self.wfile.write(
            bytes("<html><head><title>Django-Q Heath Check</title></head>", "utf-8")
        )
        self.wfile.write(
            bytes(f"Health check returned {response_code} response", "utf-8")
        )
        self.wfile.write(
            bytes(
                f"{happy_clusters} of {total_clusters} cluster(s) are happy</html>",
                "utf-8",
            )
        )

if __name__ == "__main__":
    webServer = HTTPServer((hostName, serverPort), HealthCheckServer)
    print("Server started at http://%s:%s" % (hostName, serverPort))
    try:
        webServer.serve_forever()
    except KeyboardInterrupt:
        pass
    webServer.server_close()
    print("Server stopped.")
"""


def test_1_15_7_http_health_check(site):
    if site.kind == "sync":
        pytest.skip("needs a cluster")
    (site.folder / "worker_hc.py").write_text(HEALTH_CHECK)
    port = str(free_port())
    server = subprocess.Popen(
        [sys.executable, "worker_hc.py"],
        cwd=site.folder,
        env=site.environment | {"PORT": port},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def asked():
        try:
            with direct.open(f"http://localhost:{port}", timeout=5) as response:
                return response.read().decode()
        except OSError as error:
            return repr(error)

    try:
        assert eventually(lambda: "1 of 1 cluster(s) are happy" in asked(), within=20, why=asked)
    finally:
        server.terminate()
        server.wait(10)
