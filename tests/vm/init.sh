#!/usr/bin/busybox sh
# The first and only program of the test machine: mounts, modules, tests, verdict.
# Its kernel is told to have no cgroup v1 controller and to panic, which ends the machine, if this ends.
busybox=/usr/bin/busybox
export PATH=/usr/sbin:/usr/bin HOME=/root

if [ "$1" != rooted ]; then
	# The file system the kernel boots with cannot be pivoted away from; the same one, mounted again, can.
	$busybox mount -o bind / /mnt
	cd /mnt && $busybox mount -o move . / && exec $busybox chroot . /init rooted
fi

$busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
chmod 1777 /tmp
ip link set lo up
while read -r module; do insmod "$module" || echo "init: cannot insert $module"; done </modules

stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
. /environment
failed=
while read -r name directory program arguments; do
	echo "== $name"
	# shellcheck disable=SC2086 # the arguments are words
	(cd "$directory" && exec "$program" $arguments) || failed="$failed $name"
done </tests
echo "klet-vm: ${failed:+failed:}${failed:-passed}"
# The console's last bytes are out before the machine is.
sync
exec reboot -f
