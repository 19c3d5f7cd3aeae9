#!/usr/bin/env bash
# A Slurm cluster of this one machine, for benchmarks/slurm.py: Debian's slurmctld, slurmd, slurmdbd and munge, started by
# hand, without systemd or cgroups. As root:
#
#   apt-get install slurm-wlm slurmdbd munge mariadb-server
#   eval "$(benchmarks/slurm.sh start)"      # two partitions over one node: `low` is preempted by `high` and requeued
#   benchmarks/slurm.sh stop
set -euo pipefail

folder=${SLURM_FOLDER:-/tmp/chattpl-slurm}
node=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

configure() {
  mkdir -p "$folder"/{state,spool,log} /run/munge /run/mysqld
  touch "$folder/log/db"
  chown munge: /run/munge
  chown mysql: /run/mysqld
  cat >"$SLURM_CONF" <<END
ClusterName=chattpl
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=5,sched_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
MpiDefault=none
KillWait=30
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(free -m | awk '/^Mem:/ {print int($2 * 0.9)}') State=UNKNOWN
PartitionName=low Nodes=$node Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60 MaxTime=60 State=UP
PartitionName=high Nodes=$node PriorityTier=2 MaxTime=60 State=UP
END
  cat >"$folder/slurmdbd.conf" <<END
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageUser=root
StorageLoc=chattpl_slurm
LogFile=$folder/log/slurmdbd
PidFile=$folder/slurmdbd.pid
END
  chmod 600 "$folder/slurmdbd.conf"
}

wait_for() {
  for _ in $(seq 60); do
    "$@" >/dev/null 2>&1 && return
    sleep 1
  done
  echo "error: no answer to '$*'; the logs are in $folder/log" >&2
  exit 1
}

start() {
  configure
  [ -S /run/munge/munge.socket.2 ] || runuser -u munge -- munged
  [ -d "$folder/db/mysql" ] || mariadb-install-db --user=mysql --datadir="$folder/db" >"$folder/log/db" 2>&1
  mariadbd --user=mysql --datadir="$folder/db" --pid-file="$folder/db/mariadbd.pid" --skip-networking >>"$folder/log/db" 2>&1 &
  wait_for mariadb-admin ping
  slurmdbd
  wait_for sacctmgr --immediate show cluster
  sacctmgr --immediate add cluster chattpl >/dev/null || true # it may be known already
  slurmctld
  slurmd
  wait_for sinfo --noheader --states=idle --Format=nodes
  echo "export SLURM_CONF=$SLURM_CONF"
}

stop() {
  for name in slurmd slurmctld slurmdbd db/mariadbd; do
    if [ -f "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" || true; fi
  done
  runuser -u munge -- munged --stop || true
}

case ${1:-} in
  start | stop) "$1" ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" ;;
esac
