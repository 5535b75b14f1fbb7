/* Tries, one by one, what nothing that is built may do, and prints `BREACH name` for what worked,
 * else `refused name: why`. Outside a sandbox, as root, all of it works, so each can fail a test.
 *
 * What is there outside comes as arguments: a file, an engine's socket, the name of an abstract
 * socket, a TCP port of 127.0.0.1, a process, the numbers of a block device. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *secret, *engine, *name;
static int port;
static pid_t outside;
static dev_t disk;

/* Each gives a negative number and errno when it was refused. */

static int reads(const char *path) {
    char byte;
    int file = open(path, O_RDONLY | O_NONBLOCK);
    if (file < 0)
        return -1;
    ssize_t count = read(file, &byte, 1);
    close(file);
    return count > 0 ? 0 : (errno = count ? errno : ENODATA, -1);
}

/* Writes what is there, so that nothing changes where it works. */
static int writes(const char *path) {
    char text[4096];
    int file = open(path, O_RDWR);
    if (file < 0)
        return -1;
    ssize_t count = read(file, text, sizeof text);
    int written = count > 0 && lseek(file, 0, SEEK_SET) == 0 ? write(file, text, count) : -1;
    close(file);
    return written;
}

static int opens(const char *path, int how) {
    int file = open(path, how);
    if (file >= 0)
        close(file);
    return file;
}

static int talks(const struct sockaddr *address, socklen_t size) {
    int end = socket(address->sa_family, SOCK_STREAM, 0);
    int answer = end < 0 ? -1 : connect(end, address, size);
    if (end >= 0)
        close(end);
    return answer;
}

static int talks_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return talks((struct sockaddr *)&address, sizeof address);
}

/* In a process of its own, and with mounts and a host name of its own where those can be had:
 * whatever it changes is gone with it. */
static int alone(int (*attempt)(void)) {
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS | CLONE_NEWUTS) == 0)
            mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
        _exit(attempt() < 0 ? errno : 0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return errno ? -1 : 0;
}

/* network */
static int port_of_the_machine(void) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return talks((struct sockaddr *)&address, sizeof address);
}
static int abstract_socket(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    return talks((struct sockaddr *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}
static int interface_of_the_machine(void) {
    for (char line[512], *where; ;) {
        static FILE *devices;
        if (!devices && !(devices = fopen("/proc/net/dev", "r")))
            return -1;
        if (!fgets(line, sizeof line, devices))
            return errno = ENODEV, -1;
        if ((where = strchr(line, ':')) && !(where - line >= 2 && !strncmp(where - 2, "lo", 2)))
            return 0;
    }
}

/* files of the host */
static int secret_by_name(void) { return reads(secret); }
static int secret_through_first_process(void) {
    char path[4096];
    snprintf(path, sizeof path, "/proc/1/root%s", secret);
    return reads(path);
}
static int secret_above_the_root(void) {
    char path[8192] = "";
    for (int level = 0; level < 64; level++)
        strcat(path, "../");
    strcat(path, secret + 1);
    return chdir("/") == 0 ? reads(path) : -1;
}
static int secret_out_of_a_changed_root(void) {
    if (chdir("/") < 0 || chroot("/tmp") < 0)
        return -1;
    for (int level = 0; level < 64; level++)
        if (chdir("..") < 0)
            return -1;
    return chroot(".") < 0 ? -1 : reads(secret);
}
static int secret_by_handle(void) {
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    struct file_handle *handle = (void *)room;
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount, root = open("/", O_RDONLY | O_DIRECTORY);
    if (root < 0 || name_to_handle_at(AT_FDCWD, "/", handle, &mount, 0) < 0)
        return -1;
    return open_by_handle_at(root, handle, O_RDONLY);
}

/* the engine */
static int socket_of_the_engine(void) { return talks_to(engine); }
static int usual_sockets(void) {
    const char *usual[] = {"/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock",
                           "/run/containerd/containerd.sock", "/run/crio/crio.sock"};
    for (unsigned each = 0; each < sizeof usual / sizeof *usual; each++)
        if (access(usual[each], F_OK) == 0)
            return 0;
    return errno = ENOENT, -1;
}

/* mounting */
static int mount_memory(void) { return mount("none", "/tmp", "tmpfs", 0, 0); }
static int mount_processes(void) { return mount("proc", "/tmp", "proc", 0, 0); }
static int mount_groups(void) { return mount("none", "/tmp", "cgroup2", 0, 0); }
static int mount_again(void) { return mount("/", "/tmp", 0, MS_BIND | MS_REC, 0); }
static int mount_otherwise(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static int mount_a_copy(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* clone */); }
static int unmount(void) { return umount2("/proc", MNT_DETACH); }
static int own_namespaces(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS); }
static int own_namespaces_by_clone(void) {
    pid_t child = syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    return child;
}
static int join_first_process(void) {
    int theirs = open("/proc/1/ns/mnt", O_RDONLY);
    return theirs < 0 ? -1 : setns(theirs, CLONE_NEWNS);
}

/* devices */
static int make_and_read_disk(void) {
    const char *path = "/tmp/attempted-disk";
    if (mknod(path, S_IFBLK | 0600, disk) < 0)
        return -1;
    int got = reads(path);
    int why = errno;
    unlink(path);
    return errno = why, got;
}
static int read_memory(void) { return opens("/dev/mem", O_RDONLY); }
static int make_and_read_memory(void) {
    const char *path = "/tmp/attempted-memory";
    if (mknod(path, S_IFCHR | 0600, makedev(1, 1)) < 0)
        return -1;
    int got = opens(path, O_RDONLY);
    int why = errno;
    unlink(path);
    return errno = why, got;
}
static int kernel_log(void) { return klogctl(10 /* its size */, 0, 0); }
static int kernel_log_device(void) { return opens("/dev/kmsg", O_RDONLY | O_NONBLOCK); }
static int ports_of_the_processor(void) { return syscall(SYS_ioperm, 0x80, 1, 1); }

/* processes outside */
static int trace_outside(void) { return ptrace(PTRACE_SEIZE, outside, 0, 0); }
static int trace_first_process(void) { return ptrace(PTRACE_SEIZE, 1, 0, 0); }
static int read_outside(void) {
    char byte;
    unsigned long where;
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/maps", outside);
    FILE *maps = fopen(path, "r");
    if (!maps || !fgets(line, sizeof line, maps))
        return -1;
    where = strtoul(line, 0, 16);
    struct iovec here = {&byte, 1}, there = {(void *)where, 1};
    return process_vm_readv(outside, &here, 1, &there, 1, 0);
}
static int memory_of_first_process(void) { return opens("/proc/1/mem", O_RDWR); }
static int descriptor_of_first_process(void) {
    int process = syscall(SYS_pidfd_open, 1, 0);
    return process < 0 ? -1 : syscall(SYS_pidfd_getfd, process, 0, 0);
}
static int signal_outside(void) { return kill(outside, 0); }

/* keys of the kernel */
static int add_key(void) {
    return syscall(SYS_add_key, "user", "attempted", "x", 1, KEY_SPEC_PROCESS_KEYRING);
}
static int user_keyring(void) {
    return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1);
}
static int session_keyring(void) { return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0); }
static int list_of_keys(void) { return reads("/proc/keys"); }

/* settings of the kernel */
static int core_pattern(void) { return writes("/proc/sys/kernel/core_pattern"); }
static int module_loader(void) { return writes("/proc/sys/kernel/modprobe"); }
static int host_name(void) { return writes("/proc/sys/kernel/hostname"); }
static int host_name_by_call(void) { return sethostname("x", 1); }
static int swappiness(void) { return writes("/proc/sys/vm/swappiness"); }
static int process_numbers(void) { return writes("/proc/sys/kernel/pid_max"); }
static int system_request(void) { return opens("/proc/sysrq-trigger", O_WRONLY); }
static int interrupts(void) { return writes("/proc/irq/default_smp_affinity"); }
static int groups(void) {
    const char *folders[] = {"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs"};
    for (unsigned each = 0; each < sizeof folders / sizeof *folders; each++)
        if (opens(folders[each], O_WRONLY) >= 0)
            return 0;
    return -1;
}

/* programs and events of the kernel */
static int kernel_map(void) {
    union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map);
}
static int events(void) {
    struct perf_event_attr all = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof all, .config = PERF_COUNT_SW_CPU_CLOCK};
    return syscall(SYS_perf_event_open, &all, -1, 0, -1, 0);
}
static int page_faults(void) { return syscall(SYS_userfaultfd, 0); }
static int swap_off(void) {
    /* Who may is told that there is no such file. */
    return syscall(SYS_swapoff, "/none") < 0 && errno == ENOENT ? 0 : -1;
}
static int load_module(void) {
    /* Who may is told that these bytes are none. */
    return syscall(SYS_init_module, "x", 1, "") < 0 && errno == ENOEXEC ? 0 : -1;
}

#define OF(what) {#what, what}
static const struct {
    const char *name;
    int (*attempt)(void);
} attempts[] = {
    OF(port_of_the_machine), OF(abstract_socket), OF(interface_of_the_machine),
    OF(secret_by_name), OF(secret_through_first_process), OF(secret_above_the_root),
    OF(secret_out_of_a_changed_root), OF(secret_by_handle),
    OF(socket_of_the_engine), OF(usual_sockets),
    OF(mount_memory), OF(mount_processes), OF(mount_groups), OF(mount_again), OF(mount_otherwise),
    OF(mount_a_copy), OF(unmount), OF(own_namespaces), OF(own_namespaces_by_clone),
    OF(join_first_process),
    OF(make_and_read_disk), OF(read_memory), OF(make_and_read_memory), OF(kernel_log),
    OF(kernel_log_device), OF(ports_of_the_processor),
    OF(trace_outside), OF(trace_first_process), OF(read_outside), OF(memory_of_first_process),
    OF(descriptor_of_first_process), OF(signal_outside),
    OF(add_key), OF(user_keyring), OF(session_keyring), OF(list_of_keys),
    OF(core_pattern), OF(module_loader), OF(host_name), OF(host_name_by_call), OF(swappiness),
    OF(process_numbers), OF(system_request), OF(interrupts), OF(groups),
    OF(kernel_map), OF(events), OF(page_faults), OF(swap_off), OF(load_module),
};

int main(int count, char **words) {
    if (count != 8)
        return 2;
    secret = words[1], engine = words[2], name = words[3];
    port = atoi(words[4]), outside = atoi(words[5]);
    disk = makedev(atoi(words[6]), atoi(words[7]));
    for (unsigned each = 0; each < sizeof attempts / sizeof *attempts; each++) {
        fflush(stdout);
        if (alone(attempts[each].attempt) < 0)
            printf("refused %s: %s\n", attempts[each].name, strerror(errno));
        else
            printf("BREACH %s\n", attempts[each].name);
    }
    puts("all tried");
    return 0;
}
