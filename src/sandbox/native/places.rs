//! Where control groups may be made: in the caller's own group, beside it, or in one that the
//! user's service manager makes on request.
//!
//! Formats of `/proc/self/cgroup` and `mountinfo`: cgroups(7), proc_pid_mountinfo(5). Delegation
//! and why a group with processes of its own hands no controllers on: the kernel's
//! `cgroup-v2.rst`. The request to the service manager: org.freedesktop.systemd1(5).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Which interface a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// A folder per controller.
    One,
    /// One folder for all.
    Two,
}

/// Folders in which groups may be made: one for memory, one for processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub version: Version,
    pub memory: PathBuf,
    pub processes: PathBuf,
}

/// What is known of the groups that this process is in.
#[derive(Debug, Default)]
pub struct Groups {
    two: Option<Two>,
    one: Option<(PathBuf, PathBuf)>,
}

/// The group of version 2.
#[derive(Debug)]
struct Two {
    folder: PathBuf,
    /// What the whole machine can control by version 2.
    machine: Vec<String>,
    /// What can be controlled in the group itself.
    own: Vec<String>,
}

/// What a group must be able to hold down.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// The group, in a group of our own, that this program itself moves to.
const PROGRAM: &str = "program";

/// How long the service manager may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Groups {
    /// Looks at this process.
    pub fn of_this_process() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let controller = |name| own_folder(&own, &mounts, name);
        let two = controller("").map(|Own { mount, folder }| Two {
            machine: words(&mount.join("cgroup.controllers")),
            own: words(&folder.join("cgroup.controllers")),
            folder,
        });
        let one = controller("memory").zip(controller("pids"));
        Self { two, one: one.map(|(memory, pids)| (memory.folder, pids.folder)) }
    }

    /// Where a group might be made, the best first.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        if let Some(two) = &self.two {
            // A group with processes of its own cannot hand controllers on, so the one above it.
            for parent in two.folder.ancestors().take(2) {
                if missing(&words(&parent.join("cgroup.subtree_control"))).is_empty() {
                    let (memory, processes) = (parent.to_owned(), parent.to_owned());
                    places.push(Place { version: Version::Two, memory, processes });
                }
            }
        }
        if let Some((memory, processes)) = self.one.clone() {
            places.push(Place { version: Version::One, memory, processes });
        }
        places
    }

    /// Whether the machine can hold a group down by version 2 at all.
    fn two_can(&self) -> Option<&Two> {
        self.two.as_ref().filter(|two| missing(&two.machine).is_empty())
    }

    /// What to change so that a group can be had: exactly, for this caller.
    pub fn remedy(&self, user: u32) -> String {
        if let Some(two) = self.two_can() {
            let lacks = missing(&two.own);
            if lacks.is_empty() {
                return format!(
                    "start the program in a group of its own, with `systemd-run --user --scope -p \
                     Delegate=yes`; that, and asking for one by itself, needs the service manager \
                     of user {user} (`loginctl enable-linger {user}`, packages `systemd` and \
                     `dbus-user-session`, XDG_RUNTIME_DIR=/run/user/{user}); without systemd, \
                     `chown {user}` the folder `{0}` and the files `cgroup.procs` and \
                     `cgroup.subtree_control` in it",
                    two.folder.display()
                );
            }
            return format!(
                "`{}` must have the controllers {}: under systemd, `systemctl edit \
                 user@.service` with `[Service]` and `Delegate=cpu memory pids`, then log in anew",
                two.folder.display(),
                quoted(&lacks),
            );
        }
        match &self.one {
            Some((memory, processes)) => format!(
                "run `chown {user} {} {}` as root, or boot with \
                 `systemd.unified_cgroup_hierarchy=1`, so that users get groups of their own",
                memory.display(),
                processes.display()
            ),
            None => "mount the controllers with `mount -t cgroup2 cgroup2 /sys/fs/cgroup`; the \
                     kernel needs CONFIG_MEMCG and CONFIG_CGROUP_PIDS, and no \
                     `cgroup_disable=memory` on its command line"
                .to_owned(),
        }
    }

    /// What there is none to be had for, beside what was tried.
    pub fn lacks(&self) -> Vec<String> {
        match (&self.two, &self.one) {
            (None, None) => vec!["no control groups for memory and pids are mounted".to_owned()],
            (Some(two), None) => {
                let lacks = missing(&two.own);
                let folder = two.folder.display();
                if lacks.is_empty() {
                    vec![format!("`{folder}` is not delegated to this user")]
                } else {
                    vec![format!("`{folder}` lacks the controllers {}", quoted(&lacks))]
                }
            }
            (_, Some(_)) => Vec::new(),
        }
    }
}

/// Moves this program to where it may make groups: into a group below its own if that is
/// delegated to it alone, else into one that the user's service manager makes. Done once; the
/// answer is the same afterwards. Returns what stood in the way.
pub fn settle() -> Result<(), String> {
    static SETTLED: Mutex<Option<Result<(), String>>> = Mutex::new(None);
    let mut settled = SETTLED.lock().unwrap_or_else(PoisonError::into_inner);
    settled.get_or_insert_with(move_in).clone()
}

fn move_in() -> Result<(), String> {
    let groups = Groups::of_this_process();
    let Some(two) = groups.two_can() else {
        return Err("control groups of version 2 have no memory and pids controllers".to_owned());
    };
    if alone_in(&two.folder) && divide(&two.folder).is_ok() {
        return Ok(());
    }
    let before = two.folder.clone();
    ask_service_manager()?;
    let begun = Instant::now();
    loop {
        let now = Groups::of_this_process().two.map(|two| two.folder);
        if let Some(folder) = now.filter(|now| *now != before) {
            return divide(&folder)
                .map_err(|error| format!("cannot divide `{}`: {error}", folder.display()));
        }
        if begun.elapsed() > PATIENCE {
            return Err("the user's service manager made no group in time".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn alone_in(folder: &Path) -> bool {
    words(&folder.join("cgroup.procs")) == [std::process::id().to_string()]
}

/// Makes room below a group that holds this program alone: the program itself moves one down,
/// as only a group without processes may hand controllers on.
fn divide(folder: &Path) -> io::Result<()> {
    let below = folder.join(PROGRAM);
    match fs::create_dir(&below) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // 0 is whoever writes it.
    let moved = write(&below.join("cgroup.procs"), "0")
        .and_then(|()| write(&folder.join("cgroup.subtree_control"), "+memory +pids"));
    if moved.is_err() {
        let _where_it_was = write(&folder.join("cgroup.procs"), "0");
        let _gone = fs::remove_dir(&below);
    }
    moved
}

/// Asks for a scope around this process. The tool that is asked comes with systemd; a machine
/// without it has no service manager to ask.
fn ask_service_manager() -> Result<(), String> {
    let process = std::process::id().to_string();
    let name = format!("perestroika-{process}.scope");
    let mut call = Command::new("busctl");
    call.env_clear();
    for name in ["PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"] {
        call.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    let manager = "org.freedesktop.systemd1";
    let output = call
        .args(["--user", "--quiet", "--timeout=5", "call", manager, "/org/freedesktop/systemd1"])
        .args([&format!("{manager}.Manager"), "StartTransientUnit", "ssa(sv)a(sa(sv))"])
        .args([name.as_str(), "fail", "4"])
        .args(["Description", "s", "perestroika and its builds"])
        .args(["PIDs", "au", "1", &process])
        .args(["Delegate", "b", "true"])
        .args(["CollectMode", "s", "inactive-or-failed"])
        .arg("0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot ask the user's service manager by `busctl`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default().trim();
    Err(format!("the user's service manager gives no group: {said:.300}"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    fs::File::options().write(true).open(path)?.write_all(text.as_bytes())
}

fn words(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn missing(there: &[String]) -> Vec<&'static str> {
    CONTROLLERS.into_iter().filter(|name| !there.iter().any(|there| there == name)).collect()
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

/// Where a group of this process is mounted.
struct Own {
    mount: PathBuf,
    folder: PathBuf,
}

/// Where this process's group of a controller is mounted; the empty name is version 2.
fn own_folder(own: &str, mounts: &str, controller: &str) -> Option<Own> {
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let names = parts.next()?;
        names.split(',').any(|name| name == controller).then(|| parts.next()).flatten()
    })?;
    mounts.lines().find_map(|line| {
        let (place, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?;
        let options = file_system.nth(1)?;
        let wanted = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let below = match root {
            "/" => path,
            root => path.strip_prefix(root)?,
        };
        let mount = PathBuf::from(point);
        // Pushing an empty path would leave a slash behind, which hides the folder above.
        let folder = match below.trim_start_matches('/') {
            "" => mount.clone(),
            below => mount.join(below),
        };
        wanted.then_some(Own { mount, folder })
    })
}

#[cfg(test)]
mod tests {
    use super::{Groups, Two, own_folder};
    use std::path::{Path, PathBuf};

    #[test]
    fn a_group_is_found_where_its_controller_is_mounted() {
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/c\n0::/user.slice/x.scope\n";
        let mounts = "\
30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 20 0:27 /c /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu,cpuacct
32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        for (controller, folder) in [
            ("memory", Some("/sys/fs/cgroup/memory/a/b")),
            ("cpu", Some("/sys/fs/cgroup/cpu")),
            ("", Some("/sys/fs/cgroup/unified/user.slice/x.scope")),
            ("pids", None),
        ] {
            let found = own_folder(own, mounts, controller).map(|own| own.folder);
            assert_eq!(found.as_deref(), folder.map(Path::new), "{controller}");
        }
    }

    #[test]
    fn a_remedy_fits_what_is_mounted() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let two = |machine: &str, own: &str| {
            let folder = PathBuf::from("/sys/fs/cgroup/x");
            Some(Two { folder, machine: names(machine), own: names(own) })
        };
        let one = || Some((PathBuf::from("/m/x"), PathBuf::from("/p/x")));
        for (groups, remedy, lacks) in [
            (Groups::default(), "mount -t cgroup2", "are mounted"),
            (Groups { two: None, one: one() }, "`chown 7 /m/x /p/x`", ""),
            // Version 2 is mounted beside version 1, and controls nothing.
            (Groups { two: two("", ""), one: one() }, "`chown 7 /m/x /p/x`", ""),
            (
                Groups { two: two("cpu memory pids", "memory pids"), one: None },
                "systemd-run --user --scope -p Delegate=yes",
                "is not delegated to this user",
            ),
            (
                Groups { two: two("cpu memory pids", "pids"), one: None },
                "Delegate=cpu memory pids",
                "lacks the controllers `memory`",
            ),
        ] {
            let said = groups.remedy(7);
            assert!(said.contains(remedy), "{said}");
            assert_eq!(groups.lacks().is_empty(), lacks.is_empty(), "{groups:?}");
            assert!(groups.lacks().join(", ").contains(lacks), "{:?}", groups.lacks());
        }
    }
}
