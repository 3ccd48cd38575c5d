"""A real mail relay on loopback that keeps what it is sent, and answers with what a test wants."""

import email
import socketserver
import threading
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from typing import Self


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """One message with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.data, policy=policy.SMTP)


class SmtpReceiver:
    """Speaks as much of RFC 5321 as a client needs; `replies` replace the usual ones, by verb."""

    def __init__(self, *, port: int = 0) -> None:
        self.replies: dict[str, str] = {}
        self.received: list[ReceivedMail] = []
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 test")
                sender, recipients = "", []
                while line := self.rfile.readline().decode():
                    verb, words = line.split()[0].upper(), line.strip()
                    reply = receiver.replies.get(verb, "354 go" if verb == "DATA" else "250 ok")
                    if verb == "MAIL":
                        sender = words.partition("<")[2].partition(">")[0]
                    elif verb == "RCPT":
                        recipients.append(words.partition("<")[2].partition(">")[0])
                    self._say(reply)
                    if verb == "DATA" and reply.startswith("3"):
                        mail = ReceivedMail(sender, tuple(recipients), self._data())
                        receiver.received.append(mail)
                        self._say(receiver.replies.get(".", "250 taken"))

            def _say(self, reply: str) -> None:
                self.wfile.write(f"{reply}\r\n".encode())

            def _data(self) -> bytes:
                lines: list[bytes] = []
                while (line := self.rfile.readline()) != b".\r\n":
                    lines.append(line.removeprefix(b"."))
                return b"".join(lines)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def subjects(self) -> list[str]:
        """Subjects in the order in which they came."""
        return [one.message["Subject"] for one in self.received]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
