//! The system calls that a guest may make, and what the others answer.
//!
//! Whatever is not named here is allowed: isolation rests on the namespaces, and the filter
//! takes away what they do not cover, what widens the kernel's attack surface, and what would
//! look different from one machine to the next. One rule set per answer, as that is how
//! `seccompiler` filters; the kernel remembers which calls always pass, so they cost nothing.

#[cfg(target_arch = "x86_64")]
pub(in crate::sandbox) mod i386;

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// The answer "done", without doing anything.
const SUCCESS: u32 = 0;

/// `fchmodat2`, the last call of Linux 6.6. Newer ones do not exist for a guest, so that it
/// finds the same calls on every kernel.
const LAST_CALL: u32 = 452;

/// What the id calls answer for ids that the guest does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ForeignIds {
    /// Success, without doing it: packages are configured by somebody who may do anything.
    Succeed,
    /// EPERM, as for any ordinary user. Without the filter it would be EINVAL, as the id has no
    /// mapping, and fakeroot forgives EPERM only.
    Refused,
}

/// Whose numbers the calls of a guest carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// The machine's own; a call in the manner of another architecture ends the program.
    Native,
    /// Those of i386 as well, whose calls get the answers of their like.
    WithI386,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter, compiled.
pub struct Filter(Vec<BpfProgram>);

impl Filter {
    /// The filter of a guest whose only id is `id`.
    pub fn new(id: u32, foreign: ForeignIds, allowed: Programs) -> io::Result<Self> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
        let mut refused = refused()?;
        let mut succeed = unconditional(&[libc::SYS_getgroups]);
        let ids = id_calls(id)?;
        match foreign {
            ForeignIds::Refused => {
                refused.extend(ids);
                refused.extend(unconditional(&[libc::SYS_setgroups]));
            }
            ForeignIds::Succeed => {
                succeed.extend(ids);
                succeed.extend(unconditional(&[libc::SYS_setgroups]));
                succeed.extend(device_nodes()?);
            }
        }
        let sets = [
            (SUCCESS, succeed),
            (libc::EPERM.unsigned_abs(), refused),
            (libc::ENOSYS.unsigned_abs(), unconditional(&numbers_of(&ABSENT))),
            (libc::EAFNOSUPPORT.unsigned_abs(), families()?),
        ];
        let mut programs = vec![numbers()];
        for (answer, rules) in sets {
            let own = |rules: Rules| {
                let answer = SeccompAction::Errno(answer);
                let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch);
                filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
            };
            match allowed {
                Programs::Native => programs.push(own(rules)?),
                #[cfg(target_arch = "x86_64")]
                Programs::WithI386 => {
                    programs.push(i386::program(answer, &rules)?);
                    programs.push(i386::others_pass(own(rules)?)?);
                }
                #[cfg(not(target_arch = "x86_64"))]
                Programs::WithI386 => return Err(io::Error::other("i386 runs on x86-64 alone")),
            }
        }
        Ok(Self(programs))
    }

    /// Puts this process, and all that it starts, behind the filter. Its guest can count what it
    /// is behind: where an engine's filter is in force already, there is one less of ours.
    pub fn apply(&self) -> io::Result<()> {
        let programs = match (is_filtered(), self.0.as_slice()) {
            (true, [numbers, next, rest @ ..]) => {
                // Instead of allowing what has a meaning, it goes on to what the next one says.
                let numbers = &numbers[..numbers.len() - 1];
                let joined = [numbers, next].concat();
                [vec![joined], rest.to_vec()].concat()
            }
            _ => self.0.clone(),
        };
        for program in &programs {
            seccompiler::apply_filter(program).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// A system call, by its name in the kernel's own tables and its number on this machine.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct Call {
    constant: &'static str,
    number: i64,
}

impl Call {
    /// Its name.
    pub(in crate::sandbox) fn name(&self) -> &'static str {
        self.constant.trim_start_matches("SYS_")
    }

    /// Its number.
    pub(in crate::sandbox) fn number(&self) -> i64 {
        self.number
    }
}

/// Calls by their constants, so that name and number are of one origin.
macro_rules! calls {
    ($($constant:ident),* $(,)?) => {
        [$(Call { constant: stringify!($constant), number: libc::$constant }),*]
    };
}

/// Calls that do not exist for a guest. Programs take another way then: `clone3` would hide its
/// flags from the filter in memory, and io_uring does work that no filter sees.
pub(in crate::sandbox) const ABSENT: [Call; 4] =
    calls![SYS_clone3, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register];

/// Calls that a guest is made with, and that it is refused itself.
const MAKING: [Call; 7] = calls![
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_move_mount,
    SYS_open_tree,
    SYS_mount_setattr,
    SYS_sethostname,
];

/// Calls that nobody needs to make a guest, and that are refused whatever their arguments: other
/// ways to mount, other namespaces, the kernel's keys, programs, modules, clocks and swap,
/// handles that lead past a mount.
pub(in crate::sandbox) const REFUSED: [Call; 31] = calls![
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_setns,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_open_by_handle_at,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_syslog,
    SYS_vhangup,
    SYS_setdomainname,
    SYS_fanotify_init,
    SYS_nfsservctl,
    SYS_lookup_dcookie,
];

/// Flags with which `clone` makes a namespace. A guest is made with `unshare` alone.
pub(in crate::sandbox) const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Requests of `ioctl` that put input into a terminal in somebody else's name; a guest has no
/// terminal but its own.
pub(in crate::sandbox) const TERMINAL: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// Execution domains that change nothing but what `uname` says and the layout of addresses.
const PERSONALITIES: [u64; 8] =
    [0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, 0x6_0000, 0xffff_ffff];

/// Socket families that a network namespace covers: unix, inet, inet6, netlink, packet. Others
/// (vsock) reach the machine below, or are kernel surface (alg).
const FAMILIES: [u64; 5] = [1, 2, 10, 16, 17];

fn refused() -> io::Result<Rules> {
    let mut rules = unconditional(&numbers_of(&REFUSED));
    rules.extend(unconditional(&numbers_of(&MAKING)));
    // A namespace's flag can stand in any of these bits; CLONE_NEWTIME lies within the exit
    // signal of `clone`, which therefore cannot ask for it.
    let has = |flag: i32| {
        let flag = u64::from(flag.unsigned_abs());
        rule([condition(0, SeccompCmpOp::MaskedEq(flag), flag)?])
    };
    let asked: Vec<_> = NAMESPACES.into_iter().map(has).collect::<io::Result<_>>()?;
    rules.insert(libc::SYS_clone, asked.clone());
    let time = 0x80;
    let with_time = [asked, vec![rule([condition(0, SeccompCmpOp::MaskedEq(time), time)?])?]];
    rules.insert(libc::SYS_unshare, with_time.concat());
    rules.insert(libc::SYS_personality, vec![none_of(0, &PERSONALITIES)?]);
    rules.insert(
        libc::SYS_ioctl,
        TERMINAL
            .into_iter()
            .map(|request| rule([condition(1, SeccompCmpOp::Eq, request)?]))
            .collect::<io::Result<_>>()?,
    );
    Ok(rules)
}

fn families() -> io::Result<Rules> {
    let foreign = none_of(0, &FAMILIES)?;
    Ok([libc::SYS_socket, libc::SYS_socketpair]
        .into_iter()
        .map(|call| (call, vec![foreign.clone()]))
        .collect())
}

/// Every call that gives a file or a process another owner, when asked for a foreign one.
fn id_calls(id: u32) -> io::Result<Rules> {
    let mut calls = vec![
        (libc::SYS_fchown, &[1, 2][..]),
        (libc::SYS_fchownat, &[2, 3]),
        (libc::SYS_setuid, &[0]),
        (libc::SYS_setgid, &[0]),
        (libc::SYS_setreuid, &[0, 1]),
        (libc::SYS_setregid, &[0, 1]),
        (libc::SYS_setresuid, &[0, 1, 2]),
        (libc::SYS_setresgid, &[0, 1, 2]),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([(libc::SYS_chown, &[1, 2][..]), (libc::SYS_lchown, &[1, 2])]);
    let own = [u64::from(id), u64::from(u32::MAX)];
    calls
        .into_iter()
        .map(|(call, arguments)| {
            let foreign = arguments.iter().map(|argument| none_of(*argument, &own));
            Ok((call, foreign.collect::<io::Result<Vec<_>>>()?))
        })
        .collect()
}

/// Making device nodes. Pipes, sockets and plain files are made for real.
fn device_nodes() -> io::Result<Rules> {
    let mut calls = vec![(libc::SYS_mknodat, 2)];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_mknod, 1));
    let mask = SeccompCmpOp::MaskedEq(u64::from(libc::S_IFMT));
    calls
        .into_iter()
        .map(|(call, argument)| {
            let kinds = [libc::S_IFCHR, libc::S_IFBLK].into_iter();
            let rules = kinds
                .map(|kind| rule([condition(argument, mask.clone(), u64::from(kind))?]))
                .collect::<io::Result<_>>()?;
            Ok((call, rules))
        })
        .collect()
}

/// Whether this process is behind a filter (proc_pid_status(5)).
fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]))
}

/// Refuses what has no fixed meaning: calls newer than [`LAST_CALL`], and on x86-64 those of
/// the x32 form, which carry the same architecture but other numbers.
fn numbers() -> BpfProgram {
    let load_number = sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    let if_greater = sock_filter { code: 0x25, jt: 0, jf: 1, k: LAST_CALL };
    let answer = |k| sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let no_such_call = u32::from(SeccompAction::Errno(libc::ENOSYS.unsigned_abs()));
    vec![load_number, if_greater, answer(no_such_call), answer(SeccompAction::Allow.into())]
}

fn numbers_of(calls: &[Call]) -> Vec<i64> {
    calls.iter().map(Call::number).collect()
}

fn unconditional(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn none_of(argument: u8, values: &[u64]) -> io::Result<SeccompRule> {
    let conditions: Vec<_> = values
        .iter()
        .map(|value| condition(argument, SeccompCmpOp::Ne, *value))
        .collect::<io::Result<_>>()?;
    SeccompRule::new(conditions).map_err(io::Error::other)
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions.into()).map_err(io::Error::other)
}

/// A condition on the lower half of an argument: ids, flags and modes have 32 bits, and the
/// kernel ignores what is above.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::{Filter, ForeignIds, Programs};

    /// Makes a call behind the filter, and returns 0 or what the kernel answered. Filters hold
    /// for a thread, so each call gets its own.
    fn answer(id: u32, foreign: ForeignIds, call: i64, arguments: [u64; 4]) -> i32 {
        let thread = std::thread::spawn(move || {
            let filter = Filter::new(id, foreign, Programs::Native);
            filter.and_then(|filter| filter.apply()).expect("a filter");
            let [a, b, c, d] = arguments;
            // SAFETY: the calls below are refused, or get null pointers and numbers that the
            // kernel refuses, before they could touch this process's memory.
            match unsafe { libc::syscall(call, a, b, c, d) } {
                -1 => std::io::Error::last_os_error().raw_os_error().unwrap_or(-1),
                _ => 0,
            }
        });
        thread.join().expect("an answer")
    }

    #[track_caller]
    fn check(foreign: ForeignIds, cases: &[(i64, [u64; 4], i32)]) {
        // Somebody with the id of this test, so that `own` ids are real ones.
        let id = rustix::process::getuid().as_raw();
        for (call, arguments, wanted) in cases {
            let answer = answer(id, foreign, *call, *arguments);
            assert_eq!(answer, *wanted, "call {call} with {arguments:?}");
        }
    }

    /// No id of this test's.
    const OTHER: u64 = 54_321;
    /// "Leave it", as an argument of 32 bits.
    const KEEP: u64 = 0xffff_ffff;

    const BOTH: [(i64, [u64; 4], i32); 33] = [
        (libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0], libc::EPERM),
        (libc::SYS_unshare, [0x80, 0, 0, 0], libc::EPERM),
        (libc::SYS_unshare, [libc::CLONE_FS as u64, 0, 0, 0], 0),
        (libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as u64, 0, 0, 0], libc::EPERM),
        (libc::SYS_clone, [libc::CLONE_NEWNS as u64, 0, 0, 0], libc::EPERM),
        (libc::SYS_clone3, [0, 0, 0, 0], libc::ENOSYS),
        (libc::SYS_setns, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_mount, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_umount2, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_fsopen, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_open_tree, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_pivot_root, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_keyctl, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_bpf, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_perf_event_open, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_userfaultfd, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_io_uring_setup, [0, 0, 0, 0], libc::ENOSYS),
        (libc::SYS_open_by_handle_at, [0, 0, 0, 0], libc::EPERM),
        (libc::SYS_socket, [40, 1, 0, 0], libc::EAFNOSUPPORT),
        (libc::SYS_socket, [38, 5, 0, 0], libc::EAFNOSUPPORT),
        (libc::SYS_socket, [libc::AF_UNIX as u64, 1, 0, 0], 0),
        (libc::SYS_ioctl, [0, libc::TIOCSTI, 0, 0], libc::EPERM),
        // The kernel looks at the lower half only, and so must the filter.
        (libc::SYS_ioctl, [0, libc::TIOCSTI | 1 << 32, 0, 0], libc::EPERM),
        (libc::SYS_personality, [0xffff_ffff, 0, 0, 0], 0),
        (libc::SYS_personality, [0x0040_0000, 0, 0, 0], libc::EPERM),
        (libc::SYS_getgroups, [0, 0, 0, 0], 0),
        (libc::SYS_ptrace, [99_999, 0, 0, 0], libc::ESRCH),
        (libc::SYS_fchown, [KEEP, KEEP, KEEP, 0], libc::EBADF),
        (500, [0, 0, 0, 0], libc::ENOSYS),
        (0x4000_0000 | libc::SYS_getpid, [0, 0, 0, 0], libc::ENOSYS),
        (libc::SYS_setuid, [KEEP, 0, 0, 0], libc::EINVAL),
        (libc::SYS_setresuid, [KEEP, KEEP, KEEP, 0], 0),
        (libc::SYS_swapon, [0, 0, 0, 0], libc::EPERM),
    ];

    #[test]
    fn what_namespaces_do_not_cover_is_refused() {
        check(ForeignIds::Refused, &BOTH);
        check(ForeignIds::Succeed, &BOTH);
    }

    #[test]
    fn foreign_ids_are_refused_while_building() {
        let null = 0;
        check(
            ForeignIds::Refused,
            &[
                (libc::SYS_fchown, [KEEP, OTHER, KEEP, 0], libc::EPERM),
                (libc::SYS_fchown, [KEEP, KEEP, OTHER, 0], libc::EPERM),
                (libc::SYS_fchownat, [KEEP, null, OTHER, OTHER], libc::EPERM),
                (libc::SYS_setuid, [OTHER, 0, 0, 0], libc::EPERM),
                (libc::SYS_setresgid, [KEEP, OTHER, KEEP, 0], libc::EPERM),
                (libc::SYS_setgroups, [0, null, 0, 0], libc::EPERM),
                (libc::SYS_mknodat, [KEEP, null, u64::from(libc::S_IFIFO), 0], libc::EFAULT),
            ],
        );
    }

    #[test]
    fn foreign_ids_and_device_nodes_succeed_while_configuring() {
        let null = 0;
        check(
            ForeignIds::Succeed,
            &[
                (libc::SYS_fchown, [KEEP, OTHER, KEEP, 0], 0),
                (libc::SYS_fchownat, [KEEP, null, OTHER, OTHER], 0),
                (libc::SYS_setuid, [OTHER, 0, 0, 0], 0),
                (libc::SYS_setreuid, [KEEP, OTHER, 0, 0], 0),
                (libc::SYS_setgroups, [3, null, 0, 0], 0),
                (libc::SYS_mknodat, [KEEP, null, u64::from(libc::S_IFCHR | 0o600), 0], 0),
                (libc::SYS_mknodat, [KEEP, null, u64::from(libc::S_IFBLK), 0], 0),
                (libc::SYS_mknodat, [KEEP, null, u64::from(libc::S_IFIFO), 0], libc::EFAULT),
            ],
        );
    }
}
