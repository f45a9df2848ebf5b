#!/bin/sh
# Puts the programs and units in place, below DESTDIR if it is set.
# usage: systemd/install.sh [PROGRAMS=target/release]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
programs=${1:-$here/../target/release}
to=${DESTDIR:-}

install -D -m 755 "$programs/runtimed" "$to/usr/bin/runtimed"
install -D -m 755 "$programs/runtimectl" "$to/usr/bin/runtimectl"
install -D -m 755 "$programs/sandbox-worker" "$to/usr/libexec/runtimed/sandbox-worker"
for unit in runtimed.service runtimed.socket runtimed-bus.socket; do
    install -D -m 644 "$here/$unit" "$to/usr/lib/systemd/system/$unit"
done
install -D -m 644 "$here/sysusers.d/runtimed.conf" "$to/usr/lib/sysusers.d/runtimed.conf"
install -D -m 644 "$here/tmpfiles.d/runtimed.conf" "$to/usr/lib/tmpfiles.d/runtimed.conf"
