//! The system calls that a container may make, as engines take it (Docker's seccomp profiles;
//! their words are those of the OCI runtime specification, "Linux seccomp").
//!
//! An engine's own profile forbids what the guest is made with: namespaces, mounts. So it gets
//! ours: everything is allowed but what nobody in the container needs. It is made from the list
//! of the guest's own filter, which lies below it and is stricter. Where both refuse a call the
//! kernel gives the answer of the inner one, the last that was put up, so a guest finds the same
//! in a container as without.

use std::io::{self, Write};

use crate::base::{Digest, HostPath, Json};
use crate::sandbox::native::filter::{self, Call};
use crate::sandbox::{Error, Result};

/// A profile for this kind of machine.
#[derive(Debug, Clone)]
pub struct Profile(String);

impl Profile {
    /// The profile of our containers.
    pub fn new() -> Self {
        let refused = filter::REFUSED.iter().map(Call::name).chain(OF_I386);
        let mut rules = vec![
            rule(refused, libc::EPERM, []),
            rule(filter::ABSENT.iter().map(Call::name), libc::ENOSYS, []),
        ];
        rules.extend(filter::NAMESPACES.map(|flag| {
            let flag = i64::from(flag);
            let has = condition(0, "SCMP_CMP_MASKED_EQ", flag, Some(flag));
            rule(["clone"], libc::EPERM, [has])
        }));
        rules.extend(filter::TERMINAL.map(|request| {
            let is = condition(1, "SCMP_CMP_EQ", request as i64, None);
            rule(["ioctl"], libc::EPERM, [is])
        }));
        let profile = Json::object([
            ("architectures", Json::array(ARCHITECTURES)),
            ("defaultAction", "SCMP_ACT_ALLOW".into()),
            ("syscalls", Json::Array(rules)),
        ]);
        Self(String::from_utf8_lossy(&profile.encode()).into_owned())
    }

    /// The security option of a container, for Docker, which takes the profile itself.
    pub fn option(&self) -> String {
        format!("seccomp={}", self.0)
    }

    /// The security option of a container for Podman, which takes the path of a file on its own
    /// machine: one in `folder`, named by its content, which is there afterwards. The folder is
    /// made if need be.
    pub fn option_in(&self, folder: &HostPath) -> Result<String> {
        let name = format!("seccomp-{:.16}.json", Digest::of(self.0.as_bytes()).to_string());
        let path = folder.join(name);
        if !std::fs::read(&path).is_ok_and(|text| text == self.0.as_bytes()) {
            self.write(folder, &path).map_err(|source| Error::System {
                operation: format!("write the seccomp profile `{path}`"),
                source,
            })?;
        }
        Ok(format!("seccomp={path}"))
    }

    fn write(&self, folder: &HostPath, path: &HostPath) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(self.0.as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Whose calls the profile is about. A program with calls of any other kind is killed; so i386 is
/// among them, whose programs some guests may run, and x32, which the guest's filter answers.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [&str; 1] = ["SCMP_ARCH_AARCH64"];
#[cfg(target_arch = "riscv64")]
const ARCHITECTURES: [&str; 1] = ["SCMP_ARCH_RISCV64"];

#[cfg(target_arch = "x86_64")]
const OF_I386: [&str; 3] = {
    let [(a, _), (b, _), (c, _)] = filter::i386::REFUSED;
    [a, b, c]
};
#[cfg(not(target_arch = "x86_64"))]
const OF_I386: [&str; 0] = [];

fn rule<'a, const N: usize>(
    names: impl IntoIterator<Item = &'a str>,
    answer: i32,
    conditions: [Json; N],
) -> Json {
    Json::object([
        ("action", "SCMP_ACT_ERRNO".into()),
        ("args", Json::Array(conditions.into())),
        ("errnoRet", i64::from(answer).into()),
        ("names", Json::array(names)),
    ])
}

/// A condition on an argument; `second` is what masked comparisons look for.
fn condition(argument: u32, operator: &str, value: i64, second: Option<i64>) -> Json {
    Json::object([
        ("index", argument.into()),
        ("op", operator.into()),
        ("value", value.into()),
        ("valueTwo", second.unwrap_or_default().into()),
    ])
}
