#!/bin/bash
# The machine of the VM gate, made once: kernel, first file system and disk, of Debian's packages.
# usage: vm-image.sh FOLDER    (as root; FOLDER gets `kernel`, `initrd` and `disk`)
set -euo pipefail
folder=${1:?usage: vm-image.sh FOLDER}
. /etc/os-release
mkdir -p "$folder"
work=$(mktemp -d "$folder/making-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

# The same release as here, from the same sources: what was built here runs there. Its mounts are seen
# by itself only, and gone with it.
sources=/etc/apt/sources.list.d/debian.sources
[ -s "$sources" ] || sources=/etc/apt/sources.list
unshare --mount mmdebstrap --quiet --mode=root --variant=minbase --aptopt='Acquire::Languages "none"' \
    --include=systemd,systemd-sysv,udev,kmod,procps,busybox-static,linux-image-cloud-amd64 \
    "${VERSION_CODENAME:?this is no release of Debian}" "$root" - <"$sources"
echo runtimed-gate >"$root/etc/hostname"
# Without one it would be a first boot, which enables every unit in /usr.
echo 00000000000000000000000000000001 >"$root/etc/machine-id"
cp "$root"/boot/vmlinuz-* "$work/kernel"

# The kernel has ext4 built in and the disk's driver as modules.
version=$(basename "$root"/lib/modules/*)
mkdir -p "$work"/first/{bin,dev,proc,sys,disk,modules}
cp "$root/bin/busybox" "$work/first/bin/busybox"
modules=$(for driver in virtio_pci virtio_blk; do
    chroot "$root" modprobe -S "$version" --show-depends "$driver"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
order=
for file in $modules; do
    name=$(basename "${file%%.ko*}")
    case $file in
        *.xz) chroot "$root" busybox xzcat "$file" ;;
        *) cat "$root$file" ;;
    esac >"$work/first/modules/$name.ko"
    order="$order $name"
done
cat >"$work/first/init" <<INIT
#!/bin/busybox sh
busybox() { /bin/busybox "\$@"; }
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
for name in$order; do busybox insmod "/modules/\$name.ko"; done
tries=0
until [ -b /dev/vda ] || [ "\$tries" = 100 ]; do busybox sleep 0.1; tries=\$((tries + 1)); done
busybox mount -t ext4 /dev/vda /disk || { echo GATE-NO-DISK; busybox poweroff -f; }
# What the gate added: the disk is a copy that is thrown away.
busybox cp -a /payload/. /disk/
busybox umount /proc /sys
busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk /lib/systemd/systemd
INIT
chmod +x "$work/first/init"
(cd "$work/first" && find . | cpio --quiet -o -H newc) >"$work/initrd"

# Room for a daemon that wants some; what is not written takes none here.
mke2fs -q -t ext4 -d "$root" -O ^has_journal "$work/disk" 2G
mv "$work/kernel" "$work/initrd" "$work/disk" "$folder/"
# The machine is made again when this changes.
cp "$0" "$folder/made-by"
