"""A camera with oddities: a proxy in front of rtsp_src.py that passes its stream on and misbehaves.

What it does wrong stands in the path, before the mount point: rtsp://127.0.0.1:PORT/ODDITY/MOUNT.

  plain        nothing
  silent       announces G.711 that never comes
  codec        announces a sound that nobody can decode, and sends none
  setup-N      announces G.711, and answers its SETUP with status N
  describe-N   answers DESCRIBE with status N
  video-N      answers every SETUP with status N
  data-N       announces metadata (ONVIF), and answers its SETUP with status N
  mute-S       the real sound ends S seconds after PLAY
  sha256       wants a login by Digest SHA-256 (admin and --password)
  sha256-basic the same, or Basic
  baseline     says that its picture is H.264 Baseline, whatever it is, and keeps the parameter sets that
               tell otherwise for the stream
  both         wants a login by Digest, SHA-256 or MD5, MD5 last
  moved        sends on (302) to /plain/MOUNT on its second port
  away         sends on to a host that is not it

Says `listening PORT`, then one line a request: `METHOD URL login|-` and what it answered itself.
"""
import argparse
import base64
import hashlib
import re
import socket
import threading
import time

PCMA = "m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:odd\r\n"
STRANGE = "m=audio 0 RTP/AVP 101\r\na=rtpmap:101 X-VENDOR-VOICE/16000\r\na=control:odd\r\n"
DATA = "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=control:odd\r\n"
lock = threading.Lock()


def say(text):
    with lock:
        print(text, flush=True)


def digest(name, user, realm, password, method, uri, nonce):
    def h(text):
        return hashlib.new(name, text.encode()).hexdigest()

    return h(f"{h(f'{user}:{realm}:{password}')}:{nonce}:{h(f'{method}:{uri}')}")


class Client:
    def __init__(self, conn, args, second):
        self.conn, self.args, self.second = conn, args, second
        self.up = socket.create_connection(("127.0.0.1", args.upstream))
        self.oddity = "plain"
        self.audio = None  # the channel of the real sound
        self.audio_control = None
        self.play_at = None
        self.session = None
        self.setups = {}  # CSeq -> url
        self.describes = set()
        self.logged_in = False
        self.out = threading.Lock()
        self.free = 10

    def send(self, data):
        with self.out:
            self.conn.sendall(data)

    def reply(self, cseq, status, headers=()):
        lines = [f"RTSP/1.0 {status} Odd", f"CSeq: {cseq}"]
        lines += [f"{k}: {v}" for k, v in headers]
        say(f"= {status}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def may(self, method, uri, auth, cseq):
        """Whether the request may pass; answers where it may not."""
        wanted = {
            "sha256": ["SHA-256"],
            "sha256-basic": ["Basic", "SHA-256"],
            "both": ["SHA-256", "MD5"],
        }.get(self.oddity)
        if wanted is None or method == "OPTIONS":
            return True
        if auth.startswith("Digest "):
            params = dict(re.findall(r'(\w+)="?([^",]*)"?', auth[7:]))
            name = {"SHA-256": "sha256"}.get(params.get("algorithm", "MD5"), "md5")
            right = digest(name, "admin", "odd", self.args.password, method, uri, "abc123")
            if params.get("response") == right and params.get("username") == "admin":
                return True
        if auth.startswith("Basic ") and "Basic" in wanted:
            if base64.b64decode(auth[6:]).decode() == f"admin:{self.args.password}":
                return True
        offers = []
        for way in wanted:
            if way == "Basic":
                offers.append(("WWW-Authenticate", 'Basic realm="odd"'))
            else:
                offers.append(
                    ("WWW-Authenticate", f'Digest realm="odd", nonce="abc123", algorithm={way}')
                )
        self.reply(cseq, 401, offers)
        return False

    def request(self, head):
        lines = head.split("\r\n")
        method, url, _ = lines[0].split(" ", 2)
        headers = dict(l.split(": ", 1) for l in lines[1:] if ": " in l)
        cseq = headers.get("CSeq", "0")
        auth = headers.get("Authorization", "")
        say(f"{method} {url} {auth.split(' ')[0] if auth else '-'}")
        match = re.match(r"rtsp://[^/]+/([^/]+)(/.*)$", url)
        if match:
            self.oddity, rest = match.group(1), match.group(2)
            inner = f"rtsp://127.0.0.1:{self.args.upstream}{rest}"
        else:
            rest, inner = "", url
        if not self.may(method, url, auth, cseq):
            return
        if method == "DESCRIBE" and self.oddity == "moved":
            here = f"rtsp://127.0.0.1:{self.second}/plain{rest}"
            return self.reply(cseq, 302, [("Location", here)])
        if method == "DESCRIBE" and self.oddity == "away":
            return self.reply(cseq, 302, [("Location", "rtsp://127.9.9.9:8554/elsewhere")])
        kind, _, status = self.oddity.partition("-")
        if (kind, method) in (("describe", "DESCRIBE"), ("video", "SETUP")):
            return self.reply(cseq, int(status))
        if method == "SETUP" and inner.endswith("/odd"):
            if kind in ("setup", "data"):
                return self.reply(cseq, int(status))
            transport = headers.get("Transport", "")
            given = [("Transport", transport)]
            if self.session:
                given.append(("Session", self.session))
            return self.reply(cseq, 200, given)
        if method == "SETUP" and self.audio_control and inner.endswith(self.audio_control):
            channels = re.search(r"interleaved=(\d+)", headers.get("Transport", ""))
            self.audio = int(channels.group(1)) if channels else None
        if method == "DESCRIBE":
            self.describes.add(cseq)
        if method == "PLAY":
            self.play_at = time.monotonic()
        kept = [l for l in lines[1:] if l and not l.startswith("Authorization: ")]
        self.up.sendall(("\r\n".join([f"{method} {inner} RTSP/1.0"] + kept) + "\r\n\r\n").encode())

    def from_client(self):
        data = b""
        try:
            while True:
                while data[:1] == b"$" and len(data) >= 4:
                    length = 4 + int.from_bytes(data[2:4], "big")
                    if len(data) < length:
                        break
                    if data[1] < self.free:
                        self.up.sendall(data[:length])
                    data = data[length:]
                if data[:1] != b"$" and b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    self.request(head.decode())
                    continue
                more = self.conn.recv(65536)
                if not more:
                    break
                data += more
        except OSError:
            pass
        finally:
            for s in (self.up, self.conn):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def answer(self, head, body):
        lines = head.split("\r\n")
        headers = dict(l.split(": ", 1) for l in lines[1:] if ": " in l)
        self.session = headers.get("Session", self.session)
        if headers.get("CSeq") in self.describes and body:
            text = body.decode()
            for part in re.split(r"(?m)^m=", text)[1:]:
                if part.startswith("audio"):
                    control = re.search(r"a=control:(\S+)", part)
                    self.audio_control = control and control.group(1).rsplit("/", 1)[-1]
            kind = self.oddity.partition("-")[0]
            if kind == "baseline":
                text = re.sub(r"sprop-parameter-sets=[^;\r\n]*;?", "", text)
                text = re.sub(r"profile-level-id=[0-9a-fA-F]{6}", "profile-level-id=42c01e", text)
            text += {"silent": PCMA, "codec": STRANGE, "setup": PCMA, "data": DATA}.get(kind, "")
            body = text.encode()
        out = []
        for line in lines:
            if line.startswith("Content-Length:"):
                line = f"Content-Length: {len(body)}"
            if line.startswith(("Content-Base:", "RTP-Info:")):
                here = f"rtsp://127.0.0.1:{self.conn.getsockname()[1]}/{self.oddity}/"
                line = line.replace(f"rtsp://127.0.0.1:{self.args.upstream}/", here)
            out.append(line)
        self.send("\r\n".join(out).encode() + b"\r\n\r\n" + body)

    def from_camera(self):
        data = b""
        try:
            while True:
                if data[:1] == b"$" and len(data) >= 4:
                    length = 4 + int.from_bytes(data[2:4], "big")
                    if len(data) >= length:
                        if not self.is_muted(data[1]):
                            self.send(data[:length])
                        data = data[length:]
                        continue
                elif data and data[:1] != b"$" and b"\r\n\r\n" in data:
                    head, _, rest = data.partition(b"\r\n\r\n")
                    found = re.search(rb"Content-Length: *(\d+)", head, re.I)
                    length = int(found.group(1)) if found else 0
                    if len(rest) >= length:
                        self.answer(head.decode(), rest[:length])
                        data = rest[length:]
                        continue
                more = self.up.recv(65536)
                if not more:
                    break
                data += more
        except OSError:
            pass
        finally:
            try:
                self.conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def is_muted(self, channel):
        kind, _, after = self.oddity.partition("-")
        if kind != "mute" or self.audio is None or channel not in (self.audio, self.audio + 1):
            return False
        return self.play_at is not None and time.monotonic() > self.play_at + float(after)


def serve(listener, args, second):
    while True:
        conn, _ = listener.accept()
        client = Client(conn, args, second)
        threading.Thread(target=client.from_client, daemon=True).start()
        threading.Thread(target=client.from_camera, daemon=True).start()


def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(16)
    return listener


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--password", default="")
    args = parser.parse_args()
    first, second = listen(args.port), listen(0)
    number = second.getsockname()[1]
    threading.Thread(target=serve, args=(second, args, number), daemon=True).start()
    say(f"listening {first.getsockname()[1]}")
    serve(first, args, number)


if __name__ == "__main__":
    main()
