"""A camera on a network: WS-Discovery by the PyPI package WSDiscovery, and the clock of ONVIF.

    wsd_camera.py ADDRESS PORT PATH SCOPE...

Announces a NetworkVideoTransmitter at http://ADDRESS:PORT/PATH, but names 192.168.1.88 as its
host, as cameras do that do not know where they are. Answers GetSystemDateAndTime at PATH and 404
elsewhere; says "ready", then each request line.
"""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wsdiscovery import QName, Scope
from wsdiscovery.publishing import ThreadedWSPublishing

ADDRESS, PORT, PATH, *SCOPES = sys.argv[1:]
NETWORK = "http://www.onvif.org/ver10/network/wsdl"
DEVICE = "http://www.onvif.org/ver10/device/wsdl"
CLOCK = f"""<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:d="{DEVICE}"><s:Body>
<d:GetSystemDateAndTimeResponse><d:SystemDateAndTime/></d:GetSystemDateAndTimeResponse>
</s:Body></s:Envelope>""".encode()


def hook(failure):
    # The package answers an IPv4 probe by its IPv6 thread too, which ends of that.
    if not issubclass(failure.exc_type, socket.gaierror):
        threading.__excepthook__(failure)


threading.excepthook = hook


class Camera(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        good = self.path == PATH and b"GetSystemDateAndTime" in asked
        self.reply(200 if good else 404, CLOCK if good else b"")

    def do_GET(self):
        self.reply(404, b"")

    def reply(self, status, body):
        print(self.requestline, "AUTH" if self.headers.get("Authorization") else "", flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((ADDRESS, int(PORT)), Camera)
discovery = ThreadedWSPublishing()
discovery.start()
discovery.publishService(
    types=[QName(NETWORK, "NetworkVideoTransmitter"), QName(DEVICE, "Device")],
    scopes=[Scope(scope) for scope in SCOPES],
    xAddrs=[f"http://192.168.1.88:{PORT}{PATH}"],
)
print("ready", flush=True)
server.serve_forever()
