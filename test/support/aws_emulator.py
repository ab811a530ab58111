"""AWS emulator of the tests: moto behind one lock.

Stock moto serves requests side by side without locks, so that of several conditional writes more than one can win. Here one
request runs at a time, which makes S3's and DynamoDB's conditions as atomic as they are in AWS. Glue's UpdateTable heeds the
VersionId that it is given, which moto ignores and Iceberg's commits rely on.

Listens on a free port of this machine, prints `READY <port>` and ends when its standard input closes, so that a test run
that is killed leaves nothing behind. With an address as its argument, `0.0.0.0:4566`, it listens there and stays: that is how
infra/docker runs it.
"""

import io
import logging
import os
import socket
import sys
import threading

from moto.core.exceptions import JsonRESTError
from moto.glue.responses import GlueResponse
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


def one_at_a_time(application):
    lock = threading.Lock()

    def serve(environ, start_response):
        # The body is read before the lock is taken: a slow client must not hold up the others.
        stream = environ["wsgi.input"]
        if environ.get("wsgi.input_terminated"):
            body = stream.read()
        else:
            body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input_terminated"] = True
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with lock:
            answer = application(environ, start_response)
            try:
                return [b"".join(answer)]
            finally:
                if hasattr(answer, "close"):
                    answer.close()

    return serve


def with_version_check(update_table):
    def checked(response):
        wanted = response.parameters.get("VersionId")
        if wanted is not None:
            database, name = response.parameters["DatabaseName"], response.parameters["TableInput"]["Name"]
            present = response.glue_backend.get_table(database, name)._current_version
            if str(present) != str(wanted):
                message = f"Update table failed due to concurrent modifications: version {wanted} is expected, {present} is there"
                raise JsonRESTError("ConcurrentModificationException", message)
        return update_table(response)

    return checked


def end_with_stdin():
    sys.stdin.buffer.read()
    os._exit(0)


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, _, wanted = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0").rpartition(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(wanted)))
    listener.listen(128)
    port = listener.getsockname()[1]
    os.environ["MOTO_PORT"] = str(port)

    GlueResponse.update_table = with_version_check(GlueResponse.update_table)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        host,
        port,
        one_at_a_time(application),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=listener.fileno(),
    )
    if len(sys.argv) == 1:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    print("READY", port, flush=True)
    server.serve_forever()


main()
