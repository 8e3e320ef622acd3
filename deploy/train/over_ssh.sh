#!/bin/bash
# Train on a list of hosts over ssh: one torchrun on each; when one of them ends, all do.
#
#   deploy/train/over_ssh.sh HOST... -- train /shared/data --out /shared/run [more of sentiscale train]
#
# Needs on every host: the same sentiscale in the same place (SENTISCALE_BIN, default: where this host's
# `torchrun` is), this folder and the paths of the command under the same names, and ssh without a password.
# The first host is where ranks meet: the others must reach it by that name (or by MASTER_ADDR) at MASTER_PORT.
# RANKS_PER_HOST (default 1) divides a host's cores. Ctrl-C and SIGTERM save a checkpoint on the hosts.
set -euo pipefail

hosts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    hosts+=("$1")
    shift
done
if [ ${#hosts[@]} -eq 0 ] || [ $# -lt 2 ]; then
    echo "usage: $0 HOST... -- train DATA --out RUN" >&2
    exit 2
fi
shift

bin=${SENTISCALE_BIN:-$(dirname "$(command -v torchrun)")}
address=${MASTER_ADDR:-${hosts[0]#*@}}
patience=15 # seconds for the others to end by themselves when one has failed: they tell why

# Every ssh reads from a pipe that nobody writes to. When it is closed, or this script or the connection is gone,
# the shell on the other side reads its end, and asks torchrun to stop; that lets the ranks save.
folder=$(mktemp -d)
mkfifo "$folder/lifeline"
# shellcheck disable=SC2094
exec 9<>"$folder/lifeline" 8<"$folder/lifeline"
rm -r "$folder"
# shellcheck disable=SC2016 # expanded on the other side
remote='"$@" 3<&- </dev/null & torchrun=$!
    { read -r end; kill -TERM $torchrun; } <&3 2>/dev/null & reader=$!
    code=0; wait $torchrun || code=$?; kill $reader 2>/dev/null; exit $code'
interrupted=
trap 'interrupted=yes; exec 9>&-' INT TERM

started=()
for number in "${!hosts[@]}"; do
    command=("$bin/torchrun" --nnodes "${#hosts[@]}" --nproc-per-node "${RANKS_PER_HOST:-1}"
        --node-rank "$number" --master-addr "$address" --master-port "${MASTER_PORT:-29400}"
        -m sentiscale "$@")
    ssh -o BatchMode=yes -o ServerAliveInterval=10 "${hosts[number]}" \
        "cd $(printf %q "$PWD") && exec sh -c $(printf %q "$remote") sh $(printf '%q ' "${command[@]}") 3<&0" \
        <&8 8<&- 9>&- &
    started+=($!)
done

code=0
wait -n || code=$? # the first that ends, or a signal
for ((waited = 0; code != 0 && waited < patience; waited++)); do
    kill -0 "${started[@]}" 2>/dev/null || break
    sleep 1
done
[ "$code" -eq 0 ] || exec 9>&-
for ssh in "${started[@]}"; do
    ended=0
    wait "$ssh" || ended=$? # 127: it was the first
    [ "$code" -ne 0 ] || [ "$ended" -eq 127 ] || code=$ended
done
[ -z "$interrupted" ] || code=130
exit "$code"
