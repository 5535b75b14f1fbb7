//! Limits by a control group, where one can be had: memory and processes, as the kernel counts
//! them. Where it can be made is found in [`super::places`].

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::places::{self, Groups, Place, Version};

/// A control group made for one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    version: Version,
    memory: PathBuf,
    processes: PathBuf,
    /// Bytes of memory, and how many processes.
    limits: (u64, u32),
}

/// Why there is no control group.
#[derive(Debug)]
pub struct Missing {
    /// What was tried, and what came of it.
    pub because: String,
    /// What to change, exactly.
    pub remedy: String,
}

impl Group {
    /// Makes one with these limits: where the program is, or else where it may move to.
    pub fn make(memory: u64, processes: u32) -> Result<Self, Missing> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let groups = Groups::of_this_process();
        let mut because = Vec::new();
        if let Some(group) = Self::make_in(groups.places(), &name, memory, processes, &mut because)
        {
            return Ok(group);
        }
        match places::settle() {
            Ok(()) => {
                let places = Groups::of_this_process().places();
                if let Some(group) = Self::make_in(places, &name, memory, processes, &mut because) {
                    return Ok(group);
                }
            }
            Err(why) => because.push(why),
        }
        because.extend(groups.lacks());
        let remedy = groups.remedy(rustix::process::geteuid().as_raw());
        Err(Missing { because: because.join("; "), remedy })
    }

    fn make_in(
        places: Vec<Place>,
        name: &str,
        memory: u64,
        processes: u32,
        because: &mut Vec<String>,
    ) -> Option<Self> {
        static SWEPT: Mutex<bool> = Mutex::new(false);
        for place in places {
            if let Ok(mut swept) = SWEPT.lock()
                && !std::mem::replace(&mut *swept, true)
            {
                sweep(&place.memory);
                sweep(&place.processes);
            }
            let group = Self {
                version: place.version,
                memory: place.memory.join(name),
                processes: place.processes.join(name),
                limits: (memory, processes),
            };
            match group.set_up() {
                Ok(()) => return Some(group),
                Err((folder, error)) => {
                    let parent = folder.parent().unwrap_or(folder);
                    because.push(format!("no group in `{}`: {error}", parent.display()));
                }
            }
            group.remove();
        }
        None
    }

    /// Opens what the sandbox needs of it, before it gives up the right to.
    pub fn hold(&self) -> io::Result<Hold> {
        let (limit, events, peak) = match self.version {
            Version::One => {
                ("memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes")
            }
            Version::Two => ("memory.max", "memory.events", "memory.peak"),
        };
        // A process that moves its one thread itself need not wait for every other processor, as
        // one that is moved whole must: that takes longer than all else of a sandbox.
        let door = match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        };
        let open = |folder: &Path| File::options().read(true).write(true).open(folder.join(door));
        let mut doors = vec![open(&self.memory)?];
        if self.processes != self.memory {
            doors.push(open(&self.processes)?);
        }
        Ok(Hold {
            version: self.version,
            limits: self.limits,
            doors,
            memory: File::open(self.memory.join(limit))?,
            processes: File::open(self.processes.join("pids.max"))?,
            events: File::open(self.memory.join(events))?,
            peak: File::open(self.memory.join(peak)).ok(),
        })
    }

    /// Which interface it has.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Removes it, once nothing runs in it.
    pub fn remove(&self) {
        let _gone = fs::remove_dir(&self.memory);
        let _gone = fs::remove_dir(&self.processes);
    }

    fn set_up(&self) -> Result<(), (&Path, io::Error)> {
        let (memory, processes) = self.limits;
        for folder in [&self.memory, &self.processes] {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err((folder, error));
                }
                _ => {}
            }
        }
        let set = |folder: &'_ Path, name: &str, value: String| {
            File::options().write(true).open(folder.join(name))?.write_all(value.as_bytes())
        };
        // Process 1 of the guest counts as well.
        set(&self.processes, "pids.max", (processes + 1).to_string())
            .map_err(|error| (self.processes.as_path(), error))?;
        let limited = match self.version {
            Version::One => {
                let limited = set(&self.memory, "memory.limit_in_bytes", memory.to_string());
                // Only where swap is counted at all.
                let _absent = set(&self.memory, "memory.memsw.limit_in_bytes", memory.to_string());
                limited
            }
            Version::Two => {
                let _absent = set(&self.memory, "memory.swap.max", "0".to_owned());
                set(&self.memory, "memory.max", memory.to_string())
                    .and_then(|()| set(&self.memory, "memory.oom.group", "1".to_owned()))
            }
        };
        limited.and_then(|()| self.hold().map(drop)).map_err(|error| (self.memory.as_path(), error))
    }
}

/// The name of what limits memory: by a group of this version, or without one.
pub fn mechanism(group: Option<Version>) -> &'static str {
    match group {
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
    version: Version,
    limits: (u64, u32),
    doors: Vec<File>,
    memory: File,
    processes: File,
    events: File,
    peak: Option<File>,
}

impl Hold {
    /// Moves the calling process in, which must have one thread.
    pub fn enter(&self) -> io::Result<()> {
        self.doors.iter().try_for_each(|mut door| door.write_all(b"0"))
    }

    /// Whether a process is in the group and the group has its limits, as the kernel tells.
    pub fn confirms(&self, process: Pid) -> bool {
        let number = process.as_raw_nonzero().to_string();
        let inside = |door: &File| {
            read(door).is_ok_and(|text| text.lines().any(|process| process == number))
        };
        let limit = |file: &File| -> Option<u64> { read(file).ok()?.trim().parse().ok() };
        let (memory, processes) = self.limits;
        // The kernel counts in pages, the largest of which are of 64 KiB.
        self.doors.iter().all(inside)
            && limit(&self.memory).is_some_and(|limit| limit <= memory && memory - limit < 1 << 16)
            && limit(&self.processes) == Some(u64::from(processes) + 1)
    }

    /// Which interface it has.
    pub fn version(&self) -> Version {
        self.version
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
