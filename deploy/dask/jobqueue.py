"""Workers as jobs of a batch system, for one command: they are queued with it and cancelled after it.

    pip install dask-jobqueue
    python deploy/dask/jobqueue.py --jobs 4 --cores 16 --memory 32GB --walltime 02:00:00 --queue batch \\
        -- prepare reviews.ft.txt.gz --out /shared/data

Run it where jobs can be submitted and can connect back to, in a job of its own if it takes long. The command
begins with the first job; one that ends (wall time, a node that fails) is replaced and its tasks done again.
`--system` takes the other batch systems of dask-jobqueue as well; `local` runs the jobs on this machine, to
try it out. `--show` prints the job script and submits nothing.
"""

import argparse
import importlib
import subprocess
import sys

SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "local": "local.LocalCluster",
}


def main() -> int:
    """Start the jobs, run the command, cancel the jobs; the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, default="slurm")
    parser.add_argument("--jobs", type=int, default=2, help="how many there are at a time")
    parser.add_argument("--cores", type=int, default=8, help="of a job: tasks it works on at once")
    parser.add_argument("--memory", default="16GB", help="of a job")
    parser.add_argument("--walltime", default="01:00:00", help="of a job")
    parser.add_argument("--queue", help="queue or partition")
    parser.add_argument("--prologue", action="append", default=[], help="first line of the job script")
    parser.add_argument("--show", action="store_true", help="print the job script")
    parser.add_argument("command", nargs="+", help="after --: prepare INPUT... --out DATA")
    arguments = parser.parse_args()
    with start(arguments) as cluster:
        if arguments.show:
            sys.stdout.write(cluster.job_script())
            return 0
        # Rather than scale(): jobs that end are replaced.
        cluster.adapt(minimum_jobs=arguments.jobs, maximum_jobs=arguments.jobs)
        command = [sys.executable, "-m", "sentiscale", *arguments.command]
        return subprocess.run([*command, "--scheduler", cluster.scheduler_address], check=False).returncode


def start(arguments: argparse.Namespace):
    """A scheduler in this process, and how its jobs are to be."""
    module, _, name = f"dask_jobqueue.{SYSTEMS[arguments.system]}".rpartition(".")
    options = {"queue": arguments.queue, "walltime": arguments.walltime}
    return getattr(importlib.import_module(module), name)(
        cores=arguments.cores,
        processes=1,  # the compiled code releases the interpreter: threads are enough, and share memory
        memory=arguments.memory,
        job_script_prologue=arguments.prologue,
        python=sys.executable,
        **({} if arguments.system == "local" else options),
    )


if __name__ == "__main__":
    sys.exit(main())
