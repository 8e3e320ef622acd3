#!/bin/bash
# Train on several nodes under Slurm; a job that is stopped before its end goes on from its last checkpoint.
#
#   DATA=/shared/data RUN=/shared/run sbatch --nodes 4 deploy/train/slurm.sh [more of sentiscale train]
#
# DATA and RUN are on storage that all nodes mount. RANKS_PER_NODE (default 1) divides a node's cores. Needs
# `torchrun` and `sentiscale` on the PATH of the nodes: activate the environment before sbatch, or below.
#SBATCH --job-name=sentiscale
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sentiscale-%j.log
# --signal: 120 s before the time limit all tasks get SIGTERM. torchrun passes it on, the ranks save.
set -euo pipefail

: "${DATA:?say DATA=<prepared data> before sbatch}" "${RUN:?say RUN=<run directory> before sbatch}"
ranks=${RANKS_PER_NODE:-1}
cores=${SLURM_CPUS_PER_TASK:-1}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000)) # one for each job, so that two on a node do not meet

code=0 # --resume starts anew where there is no run yet
srun --kill-on-bad-exit=1 --cpus-per-task="$cores" \
    torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$ranks" --max-restarts "${MAX_RESTARTS:-0}" \
    --rdzv-backend c10d --rdzv-endpoint "$first:$port" --rdzv-id "$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}" \
    -m sentiscale train "$DATA" --out "$RUN" --threads-per-rank "$((cores / ranks))" --resume "$@" ||
    code=$?

# torchrun ends with 1 whatever the ranks end with; the record says whether they were interrupted.
if [ "$code" -ne 0 ] && grep -q '"status": "interrupted"' "$RUN/record.json"; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
