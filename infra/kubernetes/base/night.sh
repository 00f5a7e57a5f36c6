#!/usr/bin/env bash
# A night on the head: night.sh DEADLINE. Its own file, since what starts it passes through two shells on the way.
# Documents that failed (3) and a stop in time (4) are nights that went well; all else is to be seen as a failure.
set -u
# `ray job stop` tells the whole process group to go; the driver saves and commits first, and this must outlive it.
trap : TERM INT
cd /srv/longhaul || exit 1
python -m jobs.summarize /etc/longhaul/nightly.yaml "run.deadline=$1"
code=$?
case $code in
3 | 4) exit 0 ;;
*) exit "$code" ;;
esac
