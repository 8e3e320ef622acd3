#!/bin/sh
# Workers on other hosts over ssh, for one command: they start with it and end with it.
#
#   deploy/dask/over_ssh.sh HOST... -- prepare reviews.ft.txt.gz --out /shared/data
#
# Needs on every host: the same sentiscale in the same place (SENTISCALE_BIN, default: where this host's
# `dask` is), the same shared folder, and ssh without a password. The scheduler runs here; SCHEDULER_HOST is
# how the others reach this host. THREADS is the number of tasks a host works on at once (default: its cores).
set -eu

usage="usage: $0 HOST... -- prepare INPUT... --out DATA"
hosts=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    hosts="$hosts $1"
    shift
done
if [ -z "$hosts" ] || [ $# -lt 2 ]; then
    echo "$usage" >&2
    exit 2
fi
shift

bin=${SENTISCALE_BIN:-$(dirname "$(command -v dask)")}
port=${SCHEDULER_PORT:-8786}
address=tcp://${SCHEDULER_HOST:-$(hostname -I | cut -d ' ' -f 1)}:$port
started=
trap 'kill $started 2>/dev/null || true; wait' EXIT
trap 'exit 130' INT TERM

again() { # start a command again whenever it ends: workers end when they lose their scheduler
    trap 'kill "$running" 2>/dev/null; exit' TERM
    while true; do
        "$@" </dev/null >/dev/null 2>&1 &
        running=$!
        wait "$running" || true
        sleep 1
    done
}

again "$bin/dask" scheduler --port "$port" --no-dashboard &
started=$!
for host in $hosts; do
    # -tt: when this ssh ends, the worker does, too
    again ssh -tt -o BatchMode=yes -o ServerAliveInterval=10 "$host" \
        "$bin/dask" worker "$address" --nthreads "${THREADS:-0}" --no-dashboard \
        --local-directory /tmp/sentiscale-dask &
    started="$started $!"
done

code=0
"$bin/sentiscale" "$@" --scheduler "$address" || code=$?
exit $code
