"""Every verb of the command line, put together."""

import typer

from lowtide.cli import (
    costs,
    demo,
    doctor,
    drill,
    instances,
    jobs,
    local,
    parked,
    pool_verbs,
    pools,
    report,
    simulate,
    status,
    submit,
    why,
)

app = typer.Typer(
    name="lowtide",
    help="Runs batch and training jobs on EC2 spot instances, without a server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(pools.app, name="pools")
app.add_typer(jobs.app, name="jobs")
app.add_typer(parked.app, name="parked")
app.add_typer(instances.app, name="instances")
app.add_typer(local.app, name="local")
app.add_typer(drill.app, name="drill")
app.add_typer(simulate.app, name="simulate")
app.command("submit")(submit.submit)
app.command("status")(status.status)
app.command("why")(why.why)
app.command("report")(report.report)
app.command("costs")(costs.costs)
app.command("doctor")(doctor.doctor)
app.command("pause")(pool_verbs.pause_all)
app.command("resume")(pool_verbs.resume_all)
app.command("demo")(demo.demo)
