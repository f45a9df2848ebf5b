#!/bin/bash
# The service under a real systemd in a virtual machine: Debian's kernel, cgroup version 2, its
# memory limits. Exit 0 only if every check held.
# usage: vm.sh [PROGRAMS CHECKS [TIMEOUT=900]]
#   PROGRAMS  folder with runtimed, runtimectl and sandbox-worker, optimised: the machine is slow
#   CHECKS    the test program tests/tests/service.rs
#   Without them both are built. GATE_CACHE is where the machine is kept, by default target/gate.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
if [ $# = 0 ]; then
    cd "$here/../.."
    cargo build --release --locked
    checks=$(cargo test --release -p system-tests --test service --no-run --locked 2>&1 |
        sed -n 's/.*Executable .*(\(.*\))$/\1/p')
    set -- "$target/release" "$checks"
fi
programs=$(realpath "$1")
checks=$(realpath "${2:?usage: vm.sh [PROGRAMS CHECKS [TIMEOUT]]}")
limit=${3:-900}
cache=${GATE_CACHE:-$target/gate}
made() { cmp -s "$here/vm-image.sh" "$cache/made-by"; }

lacking=
need() { command -v "$1" >/dev/null || lacking="$lacking $2"; }
need qemu-system-x86_64 qemu-system-x86
need cpio cpio
if ! made; then
    need mmdebstrap mmdebstrap
    need mke2fs e2fsprogs
fi
if [ -n "$lacking" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $lacking
fi
made || "$here/vm-image.sh" "$cache"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
payload=$work/tree/payload
mkdir -p "$payload"
DESTDIR="$payload" "$here/../install.sh" "$programs"
install -D -m 644 "$here/ci.service" "$payload/usr/lib/systemd/system/ci.service"
install -D -m 755 "$checks" "$payload/ci/service"
strip --strip-debug "$payload/ci/service" 2>/dev/null || true
(cd "$work/tree" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/payload"
cat "$cache/initrd" "$work/payload" >"$work/initrd"

# Emulated: /dev/kvm may be there and hang all the same.
timeout -k 5 "$limit" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -M q35,sata=off,usb=off \
    -m 2048 -smp 2 -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -kernel "$cache/kernel" -initrd "$work/initrd" \
    -drive "file=$cache/disk,if=virtio,format=raw,snapshot=on" -device virtio-rng-pci \
    -append "console=ttyS0 panic=-1 rw quiet loglevel=3 mitigations=off tsc=reliable \
random.trust_cpu=on systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 \
systemd.unit=ci.service systemd.setenv=SERVICE_GATE=vm systemd.setenv=GATE_LOG=/dev/ttyS0" \
    </dev/null 2>&1 | tr -d '\r' | tee "$work/log" || true
grep -aq '^CI-EXIT=0$' "$work/log"
