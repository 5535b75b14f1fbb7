//! The outer wall as it really is: what the engine says of a container, and what the kernel tells
//! from inside.

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, Mount, MountType};

use super::container::{ids, kept};
use super::engine::{Engine, Facts};
use crate::sandbox::native::Hello;
use crate::sandbox::{Error, Result};

/// What of the wall is really there, as the engine says and as the kernel tells the relay; an
/// error if any of it is weaker than asked.
pub fn confirm(
    engine: &Engine,
    facts: &Facts,
    inspected: &ContainerInspectResponse,
    hello: &Hello,
    planned: &[Mount],
) -> Result<BTreeMap<String, String>> {
    let host = inspected.host_config.clone().unwrap_or_default();
    let (uid, gid) = ids(facts);
    let (kept_name, kept_set) = kept(facts).map_or(("none", 0), |(name, bit)| (name, 1 << bit));
    let added = host.cap_add.iter().flatten();
    let none_added = added.clone().all(|name| name.trim_start_matches("CAP_") == kept_name);
    let nothing = |set: &String| u64::from_str_radix(set, 16).is_ok_and(|set| set & !kept_set == 0);
    let outside = hello.interfaces.iter().find(|name| *name != "lo");
    let weaker = [
        (host.privileged == Some(true), "it is privileged".to_owned()),
        (!none_added, format!("it has added capabilities: {}", words(&host.cap_add))),
        (!nothing_else(inspected, planned), "more is mounted in it than was asked for".to_owned()),
        (
            !hello.capabilities.iter().all(nothing),
            format!("it has capabilities: {}", hello.capabilities.join(" ")),
        ),
        (!hello.no_new_privileges, "it can gain privileges".to_owned()),
        (hello.seccomp != 2, "nothing filters its system calls".to_owned()),
        (!hello.read_only, "its root can be written".to_owned()),
        (outside.is_some(), format!("it has a network: {}", outside.map_or("", |name| name))),
        (
            (hello.uid, hello.gid) != (uid, gid),
            format!("it runs as {}:{}, not as {uid}:{gid}", hello.uid, hello.gid),
        ),
        (
            hello.owner.is_some_and(|owner| owner != hello.uid),
            format!(
                "the store's files are those of {} to it, and it runs as {} (an engine without \
                 root must run as the user that the store belongs to)",
                hello.owner.unwrap_or_default(),
                hello.uid
            ),
        ),
    ];
    if let Some((_, what)) = weaker.into_iter().find(|(is_weaker, _)| *is_weaker) {
        let because = format!("{what}; the engine is configured so, or ignores what it is told");
        return Err(engine.refuses("isolate a container as it was asked".into(), because));
    }
    // What it says that it limits, where the kernel does not tell otherwise.
    let memory = host.memory.filter(|most| {
        let most = u64::try_from(*most).unwrap_or_default();
        hello.memory.is_none_or(|real| real <= most)
    });
    let told = |number: Option<i64>| match number {
        Some(number) if number > 0 => number.to_string(),
        _ => "none".to_owned(),
    };
    let cores = host.cpuset_cpus.filter(|cores| !cores.is_empty());
    Ok([
        ("executor", "docker".to_owned()),
        ("outer engine", format!("{} {}", facts.product, facts.version)),
        ("outer kernel", facts.kernel.clone()),
        ("outer runtime", facts.runtime.clone()),
        ("outer image", inspected.image.clone().unwrap_or_default()),
        ("outer ids", format!("{}:{}", hello.uid, hello.gid)),
        ("outer capabilities", kept_name.to_owned()),
        ("outer privileges", "no new ones".to_owned()),
        ("outer seccomp", "on".to_owned()),
        ("outer root", "read-only".to_owned()),
        ("outer network", "none".to_owned()),
        ("outer memory limit", told(memory)),
        ("outer process limit", told(host.pids_limit)),
        ("outer processors", cores.unwrap_or_else(|| "all".to_owned())),
    ]
    .map(|(name, fact)| (name.to_owned(), fact))
    .into())
}

fn words(list: &Option<Vec<String>>) -> String {
    list.as_deref().unwrap_or_default().join(" ")
}

/// Whether everything that is mounted in a container was asked for.
fn nothing_else(inspected: &ContainerInspectResponse, planned: &[Mount]) -> bool {
    inspected.mounts.iter().flatten().all(|found| {
        planned.iter().any(|mount| {
            // A volume has a name, and lies where the engine likes.
            let volume = mount.typ == Some(MountType::VOLUME);
            let same =
                if volume { found.name == mount.source } else { found.source == mount.source };
            same && found.destination == mount.target
        })
    })
}

/// Fails if the engine does not hold a container to its limits by a control group.
pub fn limited(outer: &BTreeMap<String, String>) -> Result<()> {
    let lacks: Vec<_> = [("outer memory limit", "memory"), ("outer process limit", "processes")]
        .into_iter()
        .filter(|(name, _)| outer.get(*name).is_none_or(|limit| limit == "none"))
        .map(|(_, what)| what)
        .collect();
    if lacks.is_empty() { Ok(()) } else { Err(unlimited(&lacks)) }
}

/// The error of an engine that sets no limits.
pub fn unlimited(lacks: &[&str]) -> Error {
    Error::Limits {
        because: format!("the container engine sets no limit of {}", lacks.join(" and ")),
        remedy: remedy_of_limits(),
    }
}

/// What an engine that sets no limits lacks.
pub fn remedy_of_limits() -> String {
    "an engine without root needs control groups of version 2 that are delegated to its user; run \
     one as root"
        .to_owned()
}
