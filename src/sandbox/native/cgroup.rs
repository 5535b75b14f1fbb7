//! Limits by a control group, where one can be had: memory and processes, as the kernel counts
//! them.
//!
//! A group is made beside or below the one that the calling program is in, if that is allowed;
//! nothing of the program itself is moved. Format of `/proc/self/cgroup` and `mountinfo`:
//! cgroups(7), proc_pid_mountinfo(5).

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// Which interface a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// A folder per controller.
    One,
    /// One folder for all.
    Two,
}

/// A control group made for one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    version: Version,
    memory: PathBuf,
    processes: PathBuf,
}

impl Group {
    /// Makes one with these limits, or none where that is not allowed.
    pub fn make(memory: u64, processes: u32) -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Mutex<bool> = Mutex::new(false);
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        for (version, memory_parent, processes_parent) in places(&own, &mounts) {
            if let Ok(mut swept) = SWEPT.lock()
                && !std::mem::replace(&mut *swept, true)
            {
                sweep(&memory_parent);
                sweep(&processes_parent);
            }
            let group = Self {
                version,
                memory: memory_parent.join(&name),
                processes: processes_parent.join(&name),
            };
            if group.set_up(memory, processes).is_ok() {
                return Some(group);
            }
            group.remove();
        }
        None
    }

    /// Opens what the sandbox needs of it, before it gives up the right to.
    pub fn hold(&self) -> io::Result<Hold> {
        let (events, peak) = match self.version {
            Version::One => ("memory.oom_control", "memory.max_usage_in_bytes"),
            Version::Two => ("memory.events", "memory.peak"),
        };
        let procs = |folder: &Path| File::options().write(true).open(folder.join("cgroup.procs"));
        let mut doors = vec![procs(&self.memory)?];
        if self.processes != self.memory {
            doors.push(procs(&self.processes)?);
        }
        let events = File::open(self.memory.join(events))?;
        Ok(Hold { doors, events, peak: File::open(self.memory.join(peak)).ok() })
    }

    /// Removes it, once nothing runs in it.
    pub fn remove(&self) {
        let _gone = fs::remove_dir(&self.memory);
        let _gone = fs::remove_dir(&self.processes);
    }

    fn set_up(&self, memory: u64, processes: u32) -> io::Result<()> {
        for folder in [&self.memory, &self.processes] {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        let set = |folder: &Path, name: &str, value: String| {
            File::options().write(true).open(folder.join(name))?.write_all(value.as_bytes())
        };
        // Process 1 of the guest counts as well.
        set(&self.processes, "pids.max", (processes + 1).to_string())?;
        match self.version {
            Version::One => {
                set(&self.memory, "memory.limit_in_bytes", memory.to_string())?;
                // Only where swap is counted at all.
                let _absent = set(&self.memory, "memory.memsw.limit_in_bytes", memory.to_string());
            }
            Version::Two => {
                set(&self.memory, "memory.max", memory.to_string())?;
                set(&self.memory, "memory.oom.group", "1".to_owned())?;
                let _absent = set(&self.memory, "memory.swap.max", "0".to_owned());
            }
        }
        self.hold().map(drop)
    }
}

/// The name of what limits memory, with this group or without one.
pub fn mechanism(group: Option<&Group>) -> &'static str {
    match group.map(|group| group.version) {
        Some(Version::One) => "cgroup v1",
        Some(Version::Two) => "cgroup v2",
        None => "supervisor",
    }
}

const PREFIX: &str = "perestroika-";

/// Removes groups that a killed program left behind. One that is in use cannot be removed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _in_use = fs::remove_dir(entry.path());
        }
    }
}

/// Open files of a group.
pub struct Hold {
    doors: Vec<File>,
    events: File,
    peak: Option<File>,
}

impl Hold {
    /// Moves a process in.
    pub fn admit(&self, process: Pid) -> io::Result<()> {
        let text = process.as_raw_nonzero().to_string();
        self.doors.iter().try_for_each(|mut door| door.write_all(text.as_bytes()))
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub fn ran_out(&self) -> bool {
        let text = read(&self.events).unwrap_or_default();
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count != "0")
    }

    /// The largest use of memory, in bytes.
    pub fn largest(&self) -> Option<u64> {
        read(self.peak.as_ref()?).ok()?.trim().parse().ok()
    }
}

fn read(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Folders in which a group for memory and one for processes may be made, the best first.
fn places(own: &str, mounts: &str) -> Vec<(Version, PathBuf, PathBuf)> {
    let mut places = Vec::new();
    if let Some(folder) = own_folder(own, mounts, "") {
        // A group with processes of its own cannot hand controllers on, so the one above it.
        for parent in folder.ancestors().take(2) {
            let handed = fs::read_to_string(parent.join("cgroup.subtree_control"));
            let handed = handed.unwrap_or_default();
            let has = |name| handed.split_whitespace().any(|controller| controller == name);
            if has("memory") && has("pids") {
                places.push((Version::Two, parent.to_owned(), parent.to_owned()));
            }
        }
    }
    let controller = |name| own_folder(own, mounts, name);
    if let (Some(memory), Some(processes)) = (controller("memory"), controller("pids")) {
        places.push((Version::One, memory, processes));
    }
    places
}

/// Where this process's group of a controller is mounted; the empty name is version 2.
fn own_folder(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
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
        wanted.then(|| Path::new(point).join(below.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::own_folder;
    use std::path::Path;

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
            ("cpu", Some("/sys/fs/cgroup/cpu/")),
            ("", Some("/sys/fs/cgroup/unified/user.slice/x.scope")),
            ("pids", None),
        ] {
            let found = own_folder(own, mounts, controller);
            assert_eq!(found.as_deref(), folder.map(Path::new), "{controller}");
        }
    }
}
