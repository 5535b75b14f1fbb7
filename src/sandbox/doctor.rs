//! What this machine lacks for isolation, and how to give it.
//!
//! The same words are said by `perestroika doctor` beforehand and by a build that is refused.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::native::{self, Native};
use super::{
    Enforcement, Error, Executor, Guise, Limits, Observe, Request, Scratch, Stage, Verdict,
    contract,
};
use crate::base::HostPath;

/// A part of the isolation, as far as a machine can lack it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aspect {
    /// User namespaces for ordinary users.
    UserNamespaces,
    /// Mounts of one's own.
    Mounts,
    /// Overlay file systems.
    Overlay,
    /// A `/proc` of one's own.
    Proc,
    /// A network of one's own.
    Network,
    /// The system call filter.
    Seccomp,
    /// A control group around the guest.
    ControlGroup,
    /// Resource limits that the caller may set.
    Limits,
    /// Watches on the files of a root, for a build that is traced.
    Watches,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub name: &'static str,
    /// Whether builds can run as far as this is concerned.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to change, exactly; none where nothing needs to be.
    pub remedy: Option<String>,
}

/// The oldest kernel that has everything: overlayfs on memory needs its extended attributes.
const OLDEST: (u32, u32) = (6, 6);

/// So few namespaces of a kind that somebody must have meant to forbid them.
const FEW: u64 = 8;

/// Looks at this machine: its kernel, then a trial of each guest with everything a build gets.
/// `program` is this very program, and `scratch` an existing folder on the file system that
/// layers will be made on.
pub fn probe(program: &HostPath, scratch: &HostPath, enforcement: Enforcement) -> Vec<Finding> {
    let mut findings = vec![kernel(), user_namespaces(), container()];
    let executor = Native::new(program.clone());
    match tempfile::Builder::new().prefix(".doctor-").tempdir_in(scratch) {
        Ok(folder) => {
            for guest in [Guest::Build, Guest::Configure] {
                findings.push(trial(&executor, &HostPath::new(folder.path()), guest));
            }
        }
        Err(error) => findings.push(Finding {
            name: "scratch",
            ok: false,
            detail: format!("cannot make a folder in `{scratch}`: {error}"),
            remedy: Some(format!("make `{scratch}` writable, or name another store")),
        }),
    }
    findings.push(limits(executor, enforcement));
    findings
}

/// What to change on this machine so that this part can be had: the first thing that stands in
/// its way here, by its exact name.
pub fn remedy(aspect: Aspect) -> String {
    remedy_below(Path::new("/"), aspect)
}

fn remedy_below(root: &Path, aspect: Aspect) -> String {
    match (aspect, switched_off(root), contained(root)) {
        (Aspect::Limits | Aspect::ControlGroup | Aspect::Watches, ..) => needed(aspect).to_owned(),
        (_, Some(switch), _) => switch,
        (_, None, Some(engine)) => format!("{engine}; outside of one, {}", needed(aspect)),
        (_, None, None) => needed(aspect).to_owned(),
    }
}

/// What a part needs of any machine.
fn needed(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::UserNamespaces | Aspect::Mounts => {
            "the kernel needs CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_IPC_NS and \
             CONFIG_UTS_NS, and no security module may forbid their use to this program"
        }
        Aspect::Overlay => {
            "the kernel needs overlayfs (`modprobe overlay`), and the store must lie on a local \
             file system with extended attributes for users, such as ext4, xfs or btrfs, not \
             itself on an overlay: choose another with `--store`"
        }
        Aspect::Proc => "no part of `/proc` may be mounted over, as container engines do",
        Aspect::Network => {
            "loopback needs IPv6: `sysctl net.ipv6.conf.all.disable_ipv6=0` and \
             `sysctl net.ipv6.conf.default.disable_ipv6=0`, and no `ipv6.disable=1` on the \
             kernel's command line"
        }
        Aspect::Seccomp => "the kernel needs CONFIG_SECCOMP_FILTER",
        Aspect::ControlGroup => {
            "the program must be allowed to move processes of its own to groups below its own: \
             start it with `systemd-run --user --scope -p Delegate=yes`"
        }
        Aspect::Watches => {
            "one for each folder is needed: `sysctl fs.inotify.max_user_watches=524288` and \
             `sysctl fs.inotify.max_user_instances=1024`"
        }
        Aspect::Limits => {
            "raise the caller's hard limit, in `/etc/security/limits.conf` or, for a service, \
             with systemd's `Limit…=` settings"
        }
    }
}

/// The switch of the kernel that forbids namespaces of one's own here, if one does.
fn switched_off(root: &Path) -> Option<String> {
    let value = |name: &str| -> Option<u64> {
        let path = root.join("proc/sys").join(name.replace('.', "/"));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    if value("kernel.unprivileged_userns_clone") == Some(0) {
        return Some("run `sysctl kernel.unprivileged_userns_clone=1`".into());
    }
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let name = format!("user.max_{kind}_namespaces");
        if value(&name).is_some_and(|most| most < FEW) {
            return Some(format!("run `sysctl {name}=10000`"));
        }
    }
    if value("kernel.apparmor_restrict_unprivileged_userns") == Some(1) {
        return Some(
            "run `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or give this program \
             an AppArmor profile with `userns,` in it, such as \
             `profile perestroika /path/to/perestroika flags=(unconfined) { userns, }` in \
             `/etc/apparmor.d/perestroika`"
                .into(),
        );
    }
    None
}

/// What a container engine, if this runs inside one, must be told.
fn contained(root: &Path) -> Option<String> {
    engine(root).map(|engine| {
        format!(
            "this is inside a container ({engine}): start it with \
             `--security-opt seccomp=unconfined --security-opt apparmor=unconfined \
             --security-opt systempaths=unconfined`"
        )
    })
}

/// The container engine this runs inside, by the marks that engines leave.
fn engine(root: &Path) -> Option<&'static str> {
    let marks = [
        (".dockerenv", "Docker"),
        ("run/.containerenv", "Podman"),
        ("run/systemd/container", "systemd-nspawn or another that systemd knows"),
        ("var/run/secrets/kubernetes.io", "Kubernetes"),
    ];
    marks.into_iter().find(|(mark, _)| root.join(mark).exists()).map(|(_, engine)| engine)
}

fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let ok = version(release).is_some_and(|version| version >= OLDEST);
    let (major, minor) = OLDEST;
    Finding {
        name: "kernel",
        ok,
        detail: format!("Linux {release}"),
        remedy: (!ok).then(|| format!("boot Linux {major}.{minor} or later")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn user_namespaces() -> Finding {
    // Root of the initial namespace needs nobody's leave.
    let remedy = match native::is_initial_root() {
        true => None,
        false => switched_off(Path::new("/")),
    };
    let (uid, _) = native::owner();
    Finding {
        name: "user namespaces",
        ok: remedy.is_none(),
        detail: format!("builds belong to the host's id {uid}"),
        remedy,
    }
}

fn container() -> Finding {
    let detail = match engine(Path::new("/")) {
        Some(engine) => format!("inside one ({engine}): what it forbids shows below"),
        None => "not inside one, as far as can be seen".into(),
    };
    Finding { name: "container", ok: true, detail, remedy: None }
}

/// The two guests of the contract.
#[derive(Clone, Copy)]
pub(super) enum Guest {
    Build,
    Configure,
}

/// Runs a guest whose root is empty. If all of it could be set up, what is missing in the end is
/// the command.
pub(super) fn trial(executor: &dyn Executor, folder: &HostPath, guest: Guest) -> Finding {
    let name = match guest {
        Guest::Build => "guest for building",
        Guest::Configure => "guest for configuring",
    };
    let broken =
        |detail: String, remedy: Option<String>| Finding { name, ok: false, detail, remedy };
    let request = match request(folder, guest) {
        Ok(request) => request,
        Err(error) => return broken(format!("cannot make folders in `{folder}`: {error}"), None),
    };
    let outcome = executor.run(&request, &mut std::io::sink(), &AtomicBool::new(false));
    match outcome {
        Err(Error::Command { .. }) => Finding {
            name,
            ok: true,
            detail: "all namespaces, mounts, loopback and filter as the contract says".into(),
            remedy: None,
        },
        Err(Error::Isolation { operation, source, remedy }) => {
            broken(format!("cannot {operation}: {source}"), Some(remedy))
        }
        Err(error) => broken(error.to_string(), None),
        Ok(outcome) => broken(
            format!(
                "a command that does not exist ended as {:?}, not as {:?}",
                outcome.verdict,
                Verdict::Built
            ),
            None,
        ),
    }
}

fn request(folder: &HostPath, guest: Guest) -> std::io::Result<Request> {
    let (uid, gid) = native::owner();
    let make = |name: &str| {
        let path = folder.join(name);
        match fs::create_dir(path.as_path()) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if native::is_initial_root() {
            std::os::unix::fs::chown(path.as_path(), Some(uid), Some(gid))?;
        }
        Ok(path)
    };
    let guest_path = |text: &str| text.parse().map_err(std::io::Error::other);
    make("layer")?;
    Ok(Request {
        layers: vec![make("root")?],
        mounts: Vec::new(),
        argv: vec!["/none".into()],
        env: Default::default(),
        cwd: guest_path("/build")?,
        stage: match guest {
            Guest::Build => Stage::Build,
            Guest::Configure => {
                Stage::Configure { upper: make("layer/upper")?, work: make("layer/work")? }
            }
        },
        limits: Limits {
            wall: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            memory: 256 << 20,
            processes: 10,
            scratch: 1 << 20,
            inodes: 100,
            output: 1 << 10,
            cores: Vec::new(),
        },
        scratch: Scratch::Memory,
        collect: None,
        keep: None,
        guise: Guise::default(),
        observe: Observe::Nothing,
    })
}

fn limits(executor: Native, enforcement: Enforcement) -> Finding {
    let name = "limits";
    if let Err(Error::Limits { because, remedy }) = executor.enforcing(enforcement).check_limits() {
        let detail = format!("`require_limits` demands a control group: {because}");
        return Finding { name, ok: false, detail, remedy: Some(remedy) };
    }
    let mechanism = native::limits_mechanism();
    let demand = match enforcement {
        Enforcement::Best => "",
        Enforcement::ControlGroup => ", as `require_limits` demands",
    };
    let detail = format!("memory by {mechanism}{demand}, contract version {}", contract::CONTRACT);
    Finding { name, ok: true, detail, remedy: None }
}

#[cfg(test)]
mod tests {
    use super::{Aspect, remedy_below, version};

    #[track_caller]
    fn check(files: &[(&str, &str)], aspect: Aspect, words: &str) {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let remedy = remedy_below(root.path(), aspect);
        assert!(remedy.contains(words), "{remedy}");
    }

    #[test]
    fn a_remedy_names_what_stands_in_the_way() {
        let clone = ("proc/sys/kernel/unprivileged_userns_clone", "0\n");
        let most = ("proc/sys/user/max_user_namespaces", "0\n");
        let apparmor = ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        let good = [
            ("proc/sys/kernel/unprivileged_userns_clone", "1\n"),
            ("proc/sys/user/max_user_namespaces", "90000\n"),
            ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n"),
        ];
        let docker = (".dockerenv", "");
        let users = Aspect::UserNamespaces;
        check(&[clone], users, "sysctl kernel.unprivileged_userns_clone=1");
        check(&[most], users, "sysctl user.max_user_namespaces=");
        check(&[apparmor], Aspect::Mounts, "sysctl kernel.apparmor_restrict_unprivileged_userns=0");
        check(&[apparmor], users, "/etc/apparmor.d/");
        check(&[docker], Aspect::Proc, "systempaths=unconfined");
        check(&good, users, "CONFIG_USER_NS");
        check(&good, Aspect::Proc, "mounted over");
        check(&[docker], Aspect::Overlay, "--store");
        check(&good, Aspect::Overlay, "--store");
        check(&good, Aspect::Network, "net.ipv6.conf.all.disable_ipv6=0");
        check(&[clone], Aspect::Limits, "limits.conf");
    }

    #[test]
    fn a_kernel_release_has_a_version() {
        for (release, wanted) in [
            ("6.18.44-x", Some((6, 18))),
            ("6.6-rc1", Some((6, 6))),
            ("5.10.0-30-amd64", Some((5, 10))),
            ("strange", None),
        ] {
            assert_eq!(version(release), wanted, "{release}");
        }
    }
}
