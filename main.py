"""`clusterflow ROLE`: builds one role out of its parts and runs it; read this first.

The way of a write, in the order a record travels:

    web/cluster/handlers.py  parses a request and submits a command      → serving/submit.py
    agents/clusters.py     turns commands, reports and ticks into events  → domain/cluster/decide.py decides
    agents/names.py        lets the first create of a name through        → domain/cluster/names.py decides
    streams/turns/turn.py        acknowledges outputs, then state, then offsets
    tables/view.py         shows the new state to every web process
    sinks/postgres.py      writes it to PostgreSQL
"""

import typer

from cli.roles import app as roles

cli = typer.Typer(
    name="clusterflow",
    help="A control plane for fleets of clusters, built as a stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(roles)

if __name__ == "__main__":
    cli()
