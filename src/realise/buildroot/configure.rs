//! Running the root's own dpkg over a freshly unpacked layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Member;
use super::blame;
use super::error::{Error, system};
use super::folder::{Folder, Owner};
use super::order::{Dependencies, Step};
use crate::base::{GuestPath, HostPath};
use crate::sandbox::{
    Access, Executor, Guise, Limits, Mount, Observe, Request, Scratch, Stage, Verdict,
};
use crate::store::Store;

/// Where the guest finds the packages that dpkg unpacks itself, and what it runs.
pub(super) const PACKAGES: &str = "/run/packages";

/// What says that no service may be started while a root is made; it is not part of the root.
pub(super) const POLICY: &str = "usr/sbin/policy-rc.d";

/// Configuration is not a build: these bounds only end what runs away.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(3600),
    silence: Duration::from_secs(900),
    memory: 8 << 30,
    processes: 4096,
    scratch: 4 << 30,
    inodes: 1 << 20,
    output: 64 << 20,
    cores: Vec::new(),
};

/// What is handed to the guest besides its layers, in a folder of its own.
pub(super) struct Delivery(HostPath);

impl Delivery {
    /// Puts the package files that `steps` name, and the script that runs them, into `folder`.
    pub(super) fn prepare(
        folder: HostPath,
        store: &Store,
        members: &[Member],
        steps: &[Step],
        owner: Owner,
    ) -> Result<Self, Error> {
        let mut delivery = Folder::create(&folder, owner)?;
        for step in steps {
            let Step::Unpack(packages, _) = step else { continue };
            for &index in packages {
                let mut deb = store.open_object(&members[index].root.object)?;
                let name = file_name(&members[index]);
                let mut copy = delivery.file(&name)?;
                io::copy(&mut deb, &mut copy).map_err(system("write", folder.join(&name)))?;
                delivery.settle(&copy, &name, 0o644, 0)?;
            }
        }
        let mut file = delivery.file("configure")?;
        file.write_all(script(members, steps).as_bytes())
            .map_err(system("write", folder.join("configure")))?;
        delivery.settle(&file, "configure", 0o644, 0)?;
        Ok(Self(folder))
    }
}

/// The layer in the making: its packages' files, and where everything written to it goes.
pub(super) struct Halves {
    pub(super) farm: HostPath,
    pub(super) upper: HostPath,
    pub(super) work: HostPath,
}

/// Keeps services from being started (policy-rc.d of the invoke-rc.d interface): 101 is "no".
pub(super) fn deny_services(farm: &mut Folder) -> Result<(), Error> {
    let mut file = farm.file(POLICY)?;
    file.write_all(b"#!/bin/sh\nexit 101\n").map_err(system("write", POLICY))?;
    farm.settle(&file, POLICY, 0o755, 0)
}

/// Runs the delivered script in the guest, over `below` and the new layer; `configured` hears how
/// many packages are configured.
pub(super) fn run(
    executor: &dyn Executor,
    below: &[HostPath],
    halves: &Halves,
    delivery: &Delivery,
    cancel: &AtomicBool,
    configured: &dyn Fn(usize),
) -> Result<(), Error> {
    let mut layers = below.to_vec();
    layers.push(halves.farm.clone());
    let guest = |path: &str| path.parse::<GuestPath>().expect("a plain absolute path");
    let env = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
    ];
    let request = Request {
        layers,
        mounts: vec![Mount {
            source: delivery.0.clone(),
            target: guest(PACKAGES),
            access: Access::ReadOnly,
        }],
        argv: ["/bin/sh", "-e", &format!("{PACKAGES}/configure")].map(str::to_owned).into(),
        env: BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        cwd: guest("/"),
        stage: Stage::Configure { upper: halves.upper.clone(), work: halves.work.clone() },
        limits: LIMITS,
        scratch: Scratch::Memory,
        collect: None,
        keep: None,
        guise: Guise::default(),
        observe: Observe::Nothing,
    };
    let mut log = Log { configured, count: 0, line: Vec::new(), all: Vec::new() };
    let outcome = executor.run(&request, &mut log, cancel)?;
    let log = String::from_utf8_lossy(&log.all).into_owned();
    let verdict = match outcome.verdict {
        Verdict::Built => return Ok(()),
        Verdict::Cancelled => return Err(Error::Cancelled),
        Verdict::Failed(code) => return Err(blame::error(log, code, halves)),
        Verdict::Signalled(signal) => format!("dpkg was ended by signal {signal}"),
        Verdict::TimedOut => "it took too long".to_owned(),
        Verdict::Silent => "nothing was printed for too long".to_owned(),
        Verdict::OutOfMemory => "it needed too much memory".to_owned(),
        Verdict::OutOfSpace => "there was no space left".to_owned(),
        Verdict::OutOfOutput => "it printed too much".to_owned(),
    };
    Err(Error::Configure { verdict, log })
}

/// Fails unless every package of the layer is installed, as dpkg itself says.
pub(super) fn check(halves: &Halves) -> Result<(), Error> {
    let path = halves.upper.join(super::database::FOLDER).join("status");
    let status = fs::read_to_string(&path).map_err(system("read", &path))?;
    let mut package = "";
    let mut bad = String::new();
    for line in status.lines() {
        if let Some(name) = line.strip_prefix("Package: ") {
            package = name;
        }
        if line.starts_with("Status: ") && line != "Status: install ok installed" {
            let _ = writeln!(bad, "{package}: {line}");
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    let verdict = "some packages are not installed".to_owned();
    Err(Error::Configure { verdict, log: bad })
}

fn script(members: &[Member], steps: &[Step]) -> String {
    let mut script = String::from("umask 022\n");
    for step in steps {
        script.push_str("dpkg --force-unsafe-io");
        let how = match step {
            Step::Unpack(_, how) | Step::Configure(_, how) => *how,
            Step::Finish => Dependencies::Heeded,
        };
        if how == Dependencies::Forced {
            script.push_str(" --force-depends");
        }
        match step {
            Step::Unpack(packages, _) => {
                script.push_str(" --unpack");
                for &index in packages {
                    let _ = write!(script, " {PACKAGES}/{}", file_name(&members[index]));
                }
            }
            Step::Configure(packages, _) => {
                script.push_str(" --configure");
                for &index in packages {
                    let package = &members[index].root.package;
                    let _ = write!(script, " {}:{}", package.name, package.architecture);
                }
            }
            Step::Finish => script.push_str(" --configure --pending"),
        }
        script.push('\n');
    }
    script
}

/// Names and architectures hold nothing that a shell would take apart.
fn file_name(member: &Member) -> String {
    let package = &member.root.package;
    format!("{}_{}.deb", package.name, package.architecture)
}

/// Keeps the last part of what is printed, and counts what dpkg has configured.
struct Log<'a> {
    configured: &'a dyn Fn(usize),
    count: usize,
    line: Vec<u8>,
    all: Vec<u8>,
}

const KEPT: usize = 64 << 10;

impl Write for Log<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.all.extend_from_slice(bytes);
        if self.all.len() > 2 * KEPT {
            self.all.drain(..self.all.len() - KEPT);
        }
        for &byte in bytes {
            if byte == b'\n' || self.line.len() > 4000 {
                if self.line.starts_with(b"Setting up ") {
                    self.count += 1;
                    (self.configured)(self.count);
                }
                self.line.clear();
            } else {
                self.line.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new folder that belongs to the root's owner.
pub(super) fn folder(path: HostPath, owner: Owner) -> Result<HostPath, Error> {
    Folder::create(&path, owner)?;
    Ok(path)
}
