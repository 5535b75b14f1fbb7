//! The same rules for programs of i386, which x86-64 kernels run as well: they carry another
//! architecture and other numbers, so that a filter of x86-64 alone would kill them.
//!
//! Arguments are where those of x86-64 are, for all calls of the rules; only numbers differ.

use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpOp, SeccompFilter, TargetArch};

use super::{Rules, condition, rule, unconditional};

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386` (linux/audit.h).
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// The number on i386 of each call that has a rule; those of owners in their form with 32 bits.
const NUMBERS: [(i64, i64); 62] = [
    (libc::SYS_mount, 21),
    (libc::SYS_umount2, 52),
    (libc::SYS_pivot_root, 217),
    (libc::SYS_fsopen, 430),
    (libc::SYS_fsconfig, 431),
    (libc::SYS_fsmount, 432),
    (libc::SYS_fspick, 433),
    (libc::SYS_move_mount, 429),
    (libc::SYS_open_tree, 428),
    (libc::SYS_mount_setattr, 442),
    (libc::SYS_setns, 346),
    (libc::SYS_keyctl, 288),
    (libc::SYS_add_key, 286),
    (libc::SYS_request_key, 287),
    (libc::SYS_bpf, 357),
    (libc::SYS_perf_event_open, 336),
    (libc::SYS_userfaultfd, 374),
    (libc::SYS_open_by_handle_at, 342),
    (libc::SYS_init_module, 128),
    (libc::SYS_finit_module, 350),
    (libc::SYS_delete_module, 129),
    (libc::SYS_kexec_load, 283),
    (libc::SYS_reboot, 88),
    (libc::SYS_swapon, 87),
    (libc::SYS_swapoff, 115),
    (libc::SYS_acct, 51),
    (libc::SYS_quotactl, 131),
    (libc::SYS_quotactl_fd, 443),
    (libc::SYS_settimeofday, 79),
    (libc::SYS_clock_settime, 264),
    (libc::SYS_syslog, 103),
    (libc::SYS_vhangup, 111),
    (libc::SYS_sethostname, 74),
    (libc::SYS_setdomainname, 121),
    (libc::SYS_fanotify_init, 338),
    (libc::SYS_nfsservctl, 169),
    (libc::SYS_lookup_dcookie, 253),
    (libc::SYS_clone, 120),
    (libc::SYS_unshare, 310),
    (libc::SYS_personality, 136),
    (libc::SYS_ioctl, 54),
    (libc::SYS_socket, 359),
    (libc::SYS_socketpair, 360),
    (libc::SYS_clone3, 435),
    (libc::SYS_io_uring_setup, 425),
    (libc::SYS_io_uring_enter, 426),
    (libc::SYS_io_uring_register, 427),
    (libc::SYS_getgroups, 205),
    (libc::SYS_setgroups, 206),
    (libc::SYS_fchown, 207),
    (libc::SYS_fchownat, 298),
    (libc::SYS_chown, 212),
    (libc::SYS_lchown, 198),
    (libc::SYS_setuid, 213),
    (libc::SYS_setgid, 214),
    (libc::SYS_setreuid, 203),
    (libc::SYS_setregid, 204),
    (libc::SYS_setresuid, 208),
    (libc::SYS_setresgid, 210),
    (libc::SYS_mknodat, 297),
    (libc::SYS_mknod, 14),
    // There is no such call on i386.
    (libc::SYS_kexec_file_load, NONE),
];

const NONE: i64 = -1;

/// Calls of i386 alone that are refused as their like is, by name and number.
pub(in crate::sandbox) const REFUSED: [(&str, i64); 3] =
    [("umount", 22), ("stime", 25), ("clock_settime64", 404)];

/// Calls of i386 alone that do not exist for a guest: owners with 16 bits (`lchown`, `setuid`,
/// `setgid`, `setreuid`, `setregid`, `getgroups`, `setgroups`, `fchown`, `setfsuid`, `setfsgid`,
/// `setresuid`, `setresgid`, `chown`), for which programs have used the others since Linux 2.4,
/// and what only widens the attack surface (`uselib`, `vm86old`, `vm86`).
const ABSENT: [i64; 16] = [16, 23, 46, 70, 71, 80, 81, 95, 138, 139, 164, 170, 182, 86, 113, 166];

/// `socketcall`, whose arguments lie in memory, where no filter sees them. So no socket is made
/// through it, of whatever family: its calls 1 (`socket`) and 8 (`socketpair`).
const SOCKETCALL: i64 = 102;
const MAKING: [u64; 2] = [1, 8];

/// The program for the calls of i386 that answers them with `answer` as `rules` says of those of
/// x86-64; all others pass.
pub(super) fn program(answer: u32, rules: &Rules) -> io::Result<BpfProgram> {
    let mut own = Rules::new();
    for (call, conditions) in rules {
        let number = NUMBERS.iter().find(|(native, _)| native == call);
        let (_, number) = number.ok_or_else(|| {
            io::Error::other(format!("call {call} has a rule and no number on i386"))
        })?;
        if *number != NONE {
            own.insert(*number, conditions.clone());
        }
    }
    match i32::try_from(answer) {
        Ok(libc::EPERM) => own.extend(unconditional(&REFUSED.map(|(_, number)| number))),
        Ok(libc::ENOSYS) => own.extend(unconditional(&ABSENT)),
        Ok(libc::EAFNOSUPPORT) => {
            let making = MAKING.map(|call| rule([condition(0, SeccompCmpOp::Eq, call)?]));
            own.insert(SOCKETCALL, making.into_iter().collect::<io::Result<_>>()?);
        }
        _ => {}
    }
    let answer = SeccompAction::Errno(answer);
    let filter = SeccompFilter::new(own, SeccompAction::Allow, answer, TargetArch::x86_64);
    let program = filter.and_then(BpfProgram::try_from).map_err(io::Error::other)?;
    let mut program = others_pass(program)?;
    program[1].k = I386;
    Ok(program)
}

/// Lets calls of the other architecture pass: that one has programs of its own.
///
/// # Errors
/// A program that does not begin as those of `seccompiler` do: load the architecture, compare it,
/// kill where it is another.
pub(super) fn others_pass(mut program: BpfProgram) -> io::Result<BpfProgram> {
    let kill = u32::from(SeccompAction::KillProcess);
    match program.get_mut(1..3) {
        Some([compare, last]) if compare.k == X86_64 && last.k == kill => {
            last.k = SeccompAction::Allow.into();
            Ok(program)
        }
        _ => Err(io::Error::other("the filter begins otherwise than it should")),
    }
}

#[cfg(test)]
mod tests {
    use std::arch::asm;

    use crate::sandbox::native::filter::{Filter, ForeignIds, Programs};

    /// What a call of i386 is answered behind the filter: 0, or what the kernel said.
    fn answer(id: u32, foreign: ForeignIds, call: u32, arguments: [u32; 3]) -> i32 {
        let thread = std::thread::spawn(move || {
            let filter = Filter::new(id, foreign, Programs::WithI386);
            filter.and_then(|filter| filter.apply()).expect("a filter");
            let [a, b, c] = arguments;
            let result: i32;
            // SAFETY: the calls below are refused, or get null pointers and numbers that the
            // kernel refuses, before they could touch this process's memory. The compiler keeps
            // `rbx` for itself, so it is put back; the kernel may clear `r8` to `r11`.
            unsafe {
                asm!(
                    "xchg {b:r}, rbx",
                    "int 0x80",
                    "xchg {b:r}, rbx",
                    b = inout(reg) u64::from(a) => _,
                    inlateout("eax") call => result,
                    in("ecx") b, in("edx") c, in("esi") 0, in("edi") 0,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
            }
            if result < 0 { -result } else { 0 }
        });
        thread.join().expect("an answer")
    }

    #[test]
    fn calls_of_i386_get_the_answers_of_their_like() {
        if !crate::sandbox::native::runs_i386() {
            let required = std::env::var("PERESTROIKA_REQUIRE").unwrap_or_default();
            assert!(!required.contains("i386"), "this kernel runs no programs of i386");
            eprintln!("SKIPPED: this kernel runs no programs of i386");
            return;
        }
        let id = rustix::process::getuid().as_raw();
        let (other, keep) = (54_321, u32::MAX);
        let user = libc::CLONE_NEWUSER.unsigned_abs();
        let refused = [
            (20, [0, 0, 0], 0),
            (21, [0, 0, 0], libc::EPERM),
            (22, [0, 0, 0], libc::EPERM),
            (52, [0, 0, 0], libc::EPERM),
            (120, [user, 0, 0], libc::EPERM),
            (310, [user, 0, 0], libc::EPERM),
            (346, [0, 0, 0], libc::EPERM),
            (404, [0, 0, 0], libc::EPERM),
            (435, [0, 0, 0], libc::ENOSYS),
            (425, [0, 0, 0], libc::ENOSYS),
            (23, [other, 0, 0], libc::ENOSYS),
            (500, [0, 0, 0], libc::ENOSYS),
            (359, [40, 1, 0], libc::EAFNOSUPPORT),
            (359, [1, 1, 0], 0),
            (102, [1, 0, 0], libc::EAFNOSUPPORT),
            (102, [8, 0, 0], libc::EAFNOSUPPORT),
            (102, [2, 0, 0], libc::EFAULT),
            (136, [keep, 0, 0], 0),
            (136, [0x0040_0000, 0, 0], libc::EPERM),
            (213, [other, 0, 0], libc::EPERM),
            (207, [keep, keep, keep], libc::EBADF),
        ];
        for (call, arguments, wanted) in refused {
            let answer = answer(id, ForeignIds::Refused, call, arguments);
            assert_eq!(answer, wanted, "call {call} with {arguments:?}");
        }
        for (call, arguments, wanted) in
            [(213, [other, 0, 0], 0), (206, [0, 0, 0], 0), (21, [0, 0, 0], libc::EPERM)]
        {
            let answer = answer(id, ForeignIds::Succeed, call, arguments);
            assert_eq!(answer, wanted, "call {call} with {arguments:?}");
        }
    }
}
