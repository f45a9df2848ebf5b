#!/bin/bash
# The service under a real systemd in a throw-away container, which has this machine's /usr and the
# installed daemon over it. Exit 0 only if every check held.
# usage: container.sh PROGRAMS CHECKS [TIMEOUT=120]
#   PROGRAMS  folder with runtimed, runtimectl and sandbox-worker
#   CHECKS    the test program tests/tests/service.rs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?usage: container.sh PROGRAMS CHECKS [TIMEOUT]}")
checks=$(realpath "${2:?usage: container.sh PROGRAMS CHECKS [TIMEOUT]}")
limit=${3:-120}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{root/etc,root/ci,root/out,root/usr,over,out}
# What is not in /usr: links into it, and who this system says it is.
for name in bin sbin lib lib64; do
    [ ! -L "/$name" ] || cp -P "/$name" "$work/root/$name"
done
cp -L /etc/os-release "$work/root/etc/os-release"
# Without one it would be a first boot, which enables every unit in /usr.
echo 00000000000000000000000000000001 >"$work/root/etc/machine-id"

DESTDIR="$work/over" "$here/../install.sh" "$programs"
units="$work/over/usr/lib/systemd/system"
install -D -m 644 "$here/ci.service" "$units/ci.service"
install -D -m 755 "$checks" "$work/root/ci/service"
: >"$work/out/log"

# Landlock is not on the list of calls that the container manager allows by itself.
timeout -k 5 "$limit" systemd-nspawn --quiet --register=no --keep-unit --boot \
    --directory="$work/root" --overlay-ro="/usr:$work/over/usr:/usr" --private-network \
    --machine="runtimed-gate-$$" --console=pipe \
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
    --bind="$work/out:/out" \
    systemd.show_status=0 systemd.unit=ci.service systemd.setenv=SERVICE_GATE=container \
    systemd.setenv=GATE_LOG=/out/log </dev/null >"$work/out/console" 2>&1 || true
[ -s "$work/out/log" ] || cat "$work/out/console"
cat "$work/out/log"
grep -aq '^CI-EXIT=0$' "$work/out/log"
