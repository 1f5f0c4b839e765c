"""``lexiseg serve``: a page and an endpoint on this machine."""

import ipaddress
from dataclasses import dataclass
from typing import Annotated

import tyro

from lexiseg.cli.options import Device, Licence, MethodChanges, ModelName, Trust, load_segmenter, option
from lexiseg.core.errors import InputError, MissingPackageError, OutputError


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve a page on this machine: drop photographs, type words, see why, correct, download.

    An image is encoded once and asked again at once. Programs ask the same server; /api lists how. Nothing is asked of any
    other host, nothing is written. Without --host only this machine can reach it, and there are no passwords: give another
    address only on a network that you trust, or behind a proxy that asks for one.
    """

    model: ModelName = "mini"
    set_: MethodChanges = ()
    trust: Trust = False
    licence: Licence = "any"
    device: Device = "auto"
    host: Annotated[
        str,
        tyro.conf.arg(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is every network of this machine."),
    ] = "127.0.0.1"
    port: Annotated[int, tyro.conf.arg(metavar="N", help="Port; 0 takes one that is free.")] = 8377
    allow_host: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        option(
            "NAME",
            "A name that the server is asked by, such as that of a proxy; may be given several times. Others are refused, but "
            "for localhost and addresses in numbers.",
        ),
    ] = ()
    memory_mb: Annotated[
        int, tyro.conf.arg(metavar="MB", help="Memory for images that are kept with their features.")
    ] = 2048
    max_upload_mb: Annotated[int, tyro.conf.arg(metavar="MB", help="Largest file that is taken.")] = 32
    max_megapixels: Annotated[
        int, tyro.conf.arg(metavar="N", help="Largest image, in millions of pixels.")
    ] = 40

    def run(self) -> int:
        """Serve until Ctrl-C; return the exit code."""
        import socket

        try:
            import uvicorn

            from lexiseg.app.web import build_app
        except ImportError as error:
            if error.name not in ("uvicorn", "fastapi", "starlette", "pydantic"):
                raise
            raise MissingPackageError.of(error.name, doing="starting a server", extra="app") from error
        from lexiseg.app.limits import Limits

        if not 0 <= self.port <= 65535:
            raise InputError(
                doing="reading the options",
                found=f"--port {self.port}",
                expected="0 to 65535",
                fix="Leave it out for 8377.",
            )
        limits = Limits(
            memory_mb=self.memory_mb, max_upload_mb=self.max_upload_mb, max_megapixels=self.max_megapixels
        )
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            listening = socket.create_server((self.host, self.port), family=family, backlog=256)
        except OSError as error:
            raise OutputError(
                doing=f"listening on {self.host}, port {self.port}",
                found=str(error.strerror or error),
                expected="an address of this machine and a port that no other program has",
                fix="Choose another port: --port 0 takes one that is free.",
            ) from error
        with listening:
            segmenter = load_segmenter(
                self.model, self.device, self.set_, trust=self.trust, licence=self.licence
            )
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"Serving {segmenter.name} at http://{shown}:{port} (Ctrl-C stops it)", flush=True)
            if not ipaddress.ip_address(host).is_loopback:
                print("note: whoever reaches this address can use it; there are no passwords", flush=True)
            app = build_app(segmenter, limits, (*self.allow_host, self.host))
            config = uvicorn.Config(
                app, log_level="warning", limit_concurrency=512, timeout_keep_alive=15, server_header=False
            )
            uvicorn.Server(config).run(sockets=[listening])
        return 0
