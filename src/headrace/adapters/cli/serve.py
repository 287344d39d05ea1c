"""`headrace serve`: the workspace over HTTP and gRPC until somebody stops it."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.adapters.cli.commands import Commands
from headrace.adapters.cli.options import config_file, config_option


@click.command(short_help="Serve the workspace over HTTP and gRPC.")
@config_option
@click.option("--host", help="Address to listen on.  [default: api.host of the configuration]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: api.port]")
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="Port of the gRPC door; 0 leaves it out.  [default: api.grpc_port, else 8001 if it is free]",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes that share the port.  [default: api.workers]")
@click.pass_obj
def serve(
    commands: Commands,
    config: Path | None,
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    workers: int | None,
) -> int:
    """Load what the workspace declares and serve it over HTTP, and over gRPC where `headrace[grpc]` is installed.

    Stops on Ctrl-C or SIGTERM: it stops being ready, answers what it has accepted, and exits with 0.
    With several workers, each loads all models, and one that dies is started again.
    Bound to another address than this machine's own, it demands a token (see `auth` in the configuration).

    \b
    Examples:
      headrace serve
      headrace serve --port 9000 --grpc-port 9001
      headrace serve --workers 2
      headrace serve --config shop/config/main.yaml --host 0.0.0.0
    """
    return commands.serve(config_file(config), host=host, port=port, workers=workers, grpc_port=grpc_port)
