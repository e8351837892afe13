# SPDX-License-Identifier: MIT
"""A leakprof serve for tests: started, asked, ended."""
import http.client
import re
import signal
import socket
import subprocess

from harness import *


class Serving:
    """leakprof serve, and what it answers."""

    def __init__(self, *arguments, listen="127.0.0.1:0", interval="0", user=(), stdin=None):
        self.process = subprocess.Popen([*user, LEAKPROF, "serve", "--listen", listen, "--interval", interval,
                                         *map(str, arguments)], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, cwd=FOLDER)
        self.launched = "--" in arguments
        self.said = self.process.stderr.readline()
        port = re.search(r"http://[^/]*:(\d+)/", self.said)
        self.port = int(port.group(1)) if port else None
        self.path = None if port else listen[len("unix:"):]

    def __enter__(self):
        check("serving" in self.said, self.said + self.process.stderr.read() if self.process.poll() else self.said)
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None and not self.launched:
            equal(self.end(), 0, "exit code of serve: " + self.process.stderr.read())
        self.end()

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def socket(self):
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=30)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(self.path)
        return client

    def ask(self, path, method="GET", headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.sock = self.socket()
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), body

    def text(self, path, status=200):
        got, headers, body = self.ask(path)
        equal(got, status, path + ": " + body[:200].decode(errors="replace"))
        return body.decode()

    def metrics(self):
        return dict(re.findall(r"^(\w+(?:{.*})?) (\S+)$", re.sub(r'pid="\d+",?', "", self.text("/metrics")), re.M))

    def collections(self):
        return int(self.metrics()["leakprof_collections_total{}"])

    def url(self, path):
        return "http://127.0.0.1:%d%s" % (self.port, path)
