//! The few system calls that the libraries do not wrap.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use crate::sandbox::Kernel;

/// Which side of a fork this is.
pub enum Fork {
    /// The parent, with the child's id.
    Parent(Pid),
    /// The child.
    Child,
}

/// Forks this process, which must have one thread only.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the callers are the sandbox's own processes, which never start a thread, so the
    // child finds no lock held by somebody who is not there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::other("fork answered no process id")),
    }
}

/// Moves this process, which must have one thread only, into new namespaces.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no file descriptor table is unshared, which is what can break others' invariants.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no arguments point anywhere; the callers hold no descriptor from `first` on.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes descriptor `to` mean what `from` does; it survives an exec.
pub fn redirect(from: impl AsFd, to: i32) -> io::Result<()> {
    // SAFETY: dup2 touches the descriptor table only; `to` is one of the three standard ones,
    // which nothing owns.
    match unsafe { libc::dup2(from.as_fd().as_raw_fd(), to) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Attributes for [`set_mount_attributes`].
#[derive(Clone, Copy)]
pub struct MountAttributes(pub u64);

impl MountAttributes {
    /// Read-only.
    pub const READ_ONLY: Self = Self(0x1);
    /// Set-id bits mean nothing.
    pub const NO_SUID: Self = Self(0x2);
    /// Device nodes mean nothing.
    pub const NO_DEVICES: Self = Self(0x4);
    /// Nothing can be executed.
    pub const NO_EXEC: Self = Self(0x8);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Adds attributes to the mount that `mount` is the root of. Unlike a remount this clears none,
/// so what a less privileged namespace may not clear is no obstacle.
pub fn set_mount_attributes(mount: impl AsFd, attributes: MountAttributes) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        attr_set: u64,
        attr_clr: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr { attr_set: attributes.0, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a literal, and the structure outlives the call and has the size given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of this network namespace up; the kernel then gives it its
/// addresses.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a whole `ifreq` and outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Names this UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of one string.
    match unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives every signal its default meaning, as ignored ones would survive an exec.
pub fn default_signals() {
    // The library's own call would refuse the two signals it keeps for itself, which are
    // ignored in the children of some programs all the same.
    #[repr(C)]
    #[derive(Default)]
    struct KernelAction {
        handler: usize,
        flags: usize,
        restorer: usize,
        mask: u64,
    }
    let default = KernelAction::default();
    for signal in 1..=64 {
        // SAFETY: only default dispositions are set, from a structure of the kernel's layout
        // that outlives the call. SIGKILL and SIGSTOP are refused, which is harmless.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const default,
                std::ptr::null_mut::<KernelAction>(),
                size_of::<u64>(),
            );
        }
    }
    // SAFETY: all zero is a valid set, which `sigemptyset` then makes empty.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Lets every other process of the machine go first, for processor and disk: nice 19, and the idle
/// class of ioprio_set(2). It holds for this thread and for all that it starts from now on, guests
/// included.
pub fn step_back() -> io::Result<()> {
    const WHO_PROCESS: libc::c_long = 1;
    const IDLE: libc::c_long = 3 << 13;
    rustix::process::setpriority_process(None, 19)?;
    // SAFETY: no pointers.
    match unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as libc::c_long, IDLE) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The plain execution domain, whatever the caller of the program had set, but for what it says
/// of the kernel.
pub fn personality(kernel: Kernel) -> io::Result<()> {
    let domain = match kernel {
        Kernel::Own => 0,
        Kernel::Older => libc::UNAME26,
    };
    // SAFETY: no pointers.
    match unsafe { libc::personality(domain as libc::c_ulong) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes every capability out of the bounding set but those of `keep` (a bit each).
pub fn bound_capabilities(keep: u64) -> io::Result<()> {
    for capability in 0..64 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: no pointers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            // The first number that the kernel does not know ends the list.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Waits for this child to end, and returns the processor time that it and everything it waited
/// for took.
pub fn wait(child: Pid) -> io::Result<Duration> {
    let mut status = 0;
    // SAFETY: all zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both places outlive the call.
        let answer = unsafe {
            libc::wait4(child.as_raw_nonzero().get(), &raw mut status, 0, &raw mut usage)
        };
        if answer >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.max(0).unsigned_abs())
            + Duration::from_micros(time.tv_usec.max(0).unsigned_abs())
    };
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

/// Ends this process now, without running anything of its parent's that a fork copied.
pub fn exit(code: i32) -> ! {
    // SAFETY: `_exit` never returns and runs no handlers.
    unsafe { libc::_exit(code) }
}

/// Replaces this process by a program. Only returns if that failed.
pub fn execute(program: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> io::Error {
    let end = std::ptr::null();
    let arguments: Vec<_> = arguments.iter().map(|text| text.as_ptr()).chain([end]).collect();
    let environment: Vec<_> = environment.iter().map(|text| text.as_ptr()).chain([end]).collect();
    // SAFETY: both lists end with a null pointer, and all texts outlive the call.
    unsafe {
        libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

/// Whether the kernel also runs programs of i386: it tells so by having this switch of theirs
/// (proc_sys_abi).
pub fn runs_i386() -> bool {
    cfg!(target_arch = "x86_64") && std::path::Path::new("/proc/sys/abi/vsyscall32").exists()
}
