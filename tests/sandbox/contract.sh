# Prints all that a guest can see of the guest contract. What tells of the machine below (ids
# of the host, sizes of its devices, names of its kernel's options) is taken out.
PATH=/bin
section() { echo; echo "== $1"; }

section "first program"
tr '\0' '\n' </proc/$$/environ | sort
echo "in $(pwd), umask $(umask), personality $(cat /proc/self/personality)"

section "ids"
id
awk '{ print "maps", $1, $3 }' /proc/self/uid_map /proc/self/gid_map
cat /proc/self/setgroups
grep -E '^(Uid|Gid|Cap...|NoNewPrivs|Seccomp|Seccomp_filters|Sig(Blk|Ign|Cgt)|ShdPnd):' /proc/self/status

section "users"
cat /etc/passwd /etc/group

section "limits"
sed 's/ *$//' /proc/self/limits
echo "out of memory first: $(cat /proc/self/oom_score_adj)"
echo "control groups: $(sed 's/.*://' /proc/self/cgroup | sort -u)"

section "descriptors"
# Neither through a pipe nor into a file, which the shell itself would hold an end of.
ls /proc/$$/fd
readlink /proc/$$/fd/0
[ -p /proc/$$/fd/1 ] && [ /proc/$$/fd/1 -ef /proc/$$/fd/2 ] && echo "1 and 2 are one pipe"

section "processes"
for process in /proc/[0-9]*; do
    [ -r "$process/cmdline" ] || continue
    case ${process#/proc/} in
        1) echo "1 $(cat "$process/comm"): $(tr '\0' ' ' <"$process/cmdline")" ;;
        $$) echo "$$ sh" ;;
    esac
done
grep -E '^NS(pid|sid|pgid):' /proc/$$/status

section "folders"
for folder in / /build /dev /dev/pts /dev/shm /etc /proc /run /run/lock /sys /tmp /var /var/tmp; do
    stat -c '%n %F %a %u:%g' "$folder"
done
ls -A /sys /build /run /tmp /var/tmp /dev/shm
stat -c '%n %Y' /etc /etc/hosts /var
# While packages are configured this is the new layer's own folder.
[ "$(id -u)" = 0 ] || stat -c '%n %Y' /

section "devices"
for device in $(find /dev | sort); do
    if [ -h "$device" ]; then
        echo "$device -> $(readlink "$device")"
    else
        stat -c '%n %F %a %u:%g %t,%T' "$device"
    fi
done
head -c 4 /dev/zero | od -An -tx1
head -c 4 /dev/urandom | wc -c
echo full 2>&1 >/dev/full

section "mounts"
grep -vE '^[^ ]+ /proc/' /proc/mounts | sed -E '
    s/,(fsync=)?volatile//
    s/([ug]id=)[0-9]+/\1ID/g
    s/,(redirect_dir|uuid|xino|index|metacopy|inode64|inode32|huge)(=[a-z]+)?//g
    /^[^ ]+ \/dev\/[a-z]+ (devtmpfs|tmpfs|ext4|overlay) /{
        /\/dev\/shm /!s/^[^ ]+ ([^ ]+) [^ ]+ ([^ ]*noexec).*/device \1 \2/
    }'

section "closed parts of /proc"
for name in sys irq bus fs sysrq-trigger; do
    [ ! -e /proc/$name ] || grep -q "^proc /proc/$name proc ro," /proc/mounts || echo "$name is open"
done
for name in kcore keys key-users timer_list sched_debug acpi scsi; do
    [ ! -e /proc/$name ] || [ -z "$(ls -A /proc/$name | grep -v "^/proc/$name$")" ] || echo "$name has files"
    [ ! -f /proc/$name ] || echo "$name is a file"
    [ ! -c /proc/$name ] || [ "$(wc -c </proc/$name)" = 0 ] || echo "$name is open"
done

section "names"
hostname
cat /etc/hosts /etc/resolv.conf
wc -c /etc/resolv.conf

section "network"
ip addr | sed 's/ *$//'
ip route
ls /proc/sys/net/ipv4/conf

section "shared memory, semaphores, queues"
tail -n +2 -q /proc/sysvipc/*
