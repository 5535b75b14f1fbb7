//! The outer wall: what a container is given, and what its engine says it really got.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState,
    ContainerStateStatusEnum as Status, HostConfig, HostConfigLogConfig, ResourcesUlimits,
};
use bollard::query_parameters::{
    AttachContainerOptions, ContainerArchiveInfoOptions, CreateContainerOptions,
    KillContainerOptions, RemoveContainerOptions, UploadToContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::engine::{Engine, Facts, Met, runtime};
use super::marks;
use super::places::Places;
use crate::sandbox::native::{self, Stream};
use crate::sandbox::{Error, Limits, Result, contract};

/// Bytes that the relay and the sandbox's own processes may use beside what the guest may.
const OWN_MEMORY: u64 = 64 << 20;

/// Processes and threads of the relay and of the sandbox beside those of the guest.
const OWN_PROCESSES: u32 = 8;

/// How long a container that has nothing left to do usually takes to end, at most.
const MOMENT: Duration = Duration::from_secs(1);

/// How often it is looked whether it did.
const GLANCE: Duration = Duration::from_millis(5);

/// Processes of all containers together, as the kernel counts those of one id.
const PROCESSES_OF_ALL: u64 = 32_768;

/// What a container is made for.
pub struct Plan<'a> {
    /// The tool image.
    pub image: &'a str,
    /// The security option that is the filter of system calls.
    pub profile: &'a str,
    /// Where everything lies.
    pub places: &'a Places,
    /// What it may use.
    pub limits: &'a Limits,
    /// Whose it is.
    pub labels: HashMap<String, String>,
    /// The argument of the program.
    pub argument: &'a str,
}

/// A container; removed, with everything in it killed, when dropped.
pub struct Container<'a> {
    engine: &'a Engine,
    met: &'a Met,
    id: String,
    removed: bool,
}

impl<'a> Container<'a> {
    /// Makes a container, which is not started.
    ///
    /// What it is denied: capabilities, new privileges, writing to its root, any network, the
    /// calls of the profile. What it is allowed beside an engine's usual, because the guest inside
    /// is made of it: all of `/proc` (the kernel lets nobody mount a fresh one while parts of the
    /// old one are covered; the guest's own has them covered again), mounts of its own (which
    /// AppArmor's usual profile forbids), and files of the store as they are (which SELinux'
    /// labels forbid).
    pub fn make(engine: &'a Engine, met: &'a Met, plan: Plan<'_>) -> Result<Self> {
        let body = body(&met.facts, plan);
        let name = marks::random()
            .map_err(|source| Error::System { operation: "name a container".into(), source })?;
        let name = Some(format!("perestroika-{name:.12}"));
        let named = CreateContainerOptions { name, ..CreateContainerOptions::default() };
        let made = engine.ask(
            || "make a container".to_owned(),
            met.client.create_container(Some(named), body),
        )?;
        Ok(Self { engine, met, id: made.id, removed: false })
    }

    /// What the engine says of it.
    pub fn inspect(&self) -> Result<ContainerInspectResponse> {
        self.engine.ask(
            || format!("tell of container {:.12}", self.id),
            self.met.client.inspect_container(&self.id, None),
        )
    }

    /// Whether there is a file at this path, as the engine sees it. It need not be started.
    pub fn has(&self, path: &str) -> Result<bool> {
        let options = ContainerArchiveInfoOptions { path: path.to_owned() };
        let found = runtime()?
            .block_on(self.met.client.get_container_archive_info(&self.id, Some(options)));
        match found {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                Ok(false)
            }
            Err(error) => {
                let operation = format!("look for `{path}` in container {:.12}", self.id);
                Err(self.engine.fault(&operation, error))
            }
        }
    }

    /// Makes folders in a volume that is mounted at `place`, which belong to whom it runs as: the
    /// root of a volume belongs to root. Those that others lie in come first.
    pub fn make_folders(&self, place: &str, folders: &[String]) -> Result<()> {
        let (uid, gid) = ids(&self.met.facts);
        let operation = || format!("make folders in a volume of container {:.12}", self.id);
        let mut archive = tar::Builder::new(Vec::new());
        for folder in folders {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_uid(uid.into());
            header.set_gid(gid.into());
            header.set_size(0);
            archive
                .append_data(&mut header, format!("{folder}/"), std::io::empty())
                .map_err(|source| Error::System { operation: operation(), source })?;
        }
        let archive = archive
            .into_inner()
            .map_err(|source| Error::System { operation: operation(), source })?;
        let options = UploadToContainerOptions { path: place.to_owned(), ..Default::default() };
        let body = bollard::body_full(archive.into());
        self.engine
            .ask(operation, self.met.client.upload_to_container(&self.id, Some(options), body))
    }

    /// Starts it. Returns the two directions of its stream.
    pub fn start(&self) -> Result<Stream> {
        let options = AttachContainerOptions {
            // None: keys mean nothing here.
            detach_keys: Some(String::new()),
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            logs: false,
        };
        let client = &self.met.client;
        let attached = self.engine.ask(
            || format!("attach to container {:.12}", self.id),
            client.attach_container(&self.id, Some(options)),
        )?;
        self.engine.ask(
            || format!("start container {:.12}", self.id),
            client.start_container(&self.id, None),
        )?;
        let runtime = runtime()?;
        let mut output = attached.output;
        let mut rest = bytes_of(LogOutput::Console { message: Default::default() });
        let from = Reader(move |buffer: &mut [u8]| {
            while rest.is_empty() {
                match runtime.block_on(output.next()) {
                    // What it says on standard error are the last words of a panic, which are
                    // no frame and end the stream as such.
                    Some(Ok(message)) => rest = bytes_of(message),
                    Some(Err(error)) => return Err(std::io::Error::other(error)),
                    None => return Ok(0),
                }
            }
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            rest.drain(..count);
            Ok(count)
        });
        let mut input = attached.input;
        let to = Writer(move |bytes: &[u8]| {
            runtime.block_on(async {
                input.write_all(bytes).await?;
                input.flush().await
            })
        });
        Ok(Stream { from: Box::new(from), to: Box::new(to) })
    }

    /// Kills everything in it, if the engine does so at once.
    pub fn kill(&self) {
        let client = &self.met.client;
        at_once(async {
            // A container that somebody paused would not notice.
            let _running = client.unpause_container(&self.id).await;
            let options = KillContainerOptions { signal: "KILL".to_owned() };
            client.kill_container(&self.id, Some(options)).await
        });
    }

    /// Waits for its end, and returns the state it ended in.
    pub fn end(&self) -> Result<ContainerState> {
        if self.met.facts.podman
            && let Some(state) = self.ended_soon()?
        {
            return Ok(state);
        }
        let operation = || format!("wait for container {:.12}", self.id);
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut ended = self.met.client.wait_container(&self.id, Some(options));
        let answer = runtime()?.block_on(ended.next());
        match answer {
            // An exit code that is not 0 is an error of this library's, and none of ours.
            None | Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => {}
            Some(Err(error)) => return Err(self.engine.fault(&operation(), error)),
        }
        Ok(self.inspect()?.state.unwrap_or_default())
    }

    /// The state it ended in, if it ends within a moment. Podman itself looks four times a second.
    fn ended_soon(&self) -> Result<Option<ContainerState>> {
        let until = Instant::now() + MOMENT;
        while Instant::now() < until {
            let state = self.inspect()?.state.unwrap_or_default();
            if matches!(state.status, Some(Status::EXITED | Status::DEAD)) {
                return Ok(Some(state));
            }
            thread::sleep(GLANCE);
        }
        Ok(None)
    }

    /// Removes it, with volumes that have no name.
    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        self.engine.ask(
            || format!("remove container {:.12}", self.id),
            self.met.client.remove_container(&self.id, Some(forced())),
        )
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // One that cannot be removed now is a leftover for the next run.
        if !self.removed {
            at_once(self.met.client.remove_container(&self.id, Some(forced())));
        }
    }
}

/// Has an engine do something whose answer changes nothing, and waits for it no longer than whoever
/// cancels would.
fn at_once<T>(deed: impl Future<Output = T>) {
    if let Ok(runtime) = runtime() {
        let _answer = runtime.block_on(async { tokio::time::timeout(MOMENT, deed).await });
    }
}

/// Removal whatever it is doing.
pub fn forced() -> RemoveContainerOptions {
    RemoveContainerOptions { v: true, force: true, link: false }
}

fn bytes_of(message: LogOutput) -> Vec<u8> {
    message.into_bytes().to_vec()
}

/// Something to read from, by a function.
struct Reader<F>(F);

impl<F: FnMut(&mut [u8]) -> std::io::Result<usize>> std::io::Read for Reader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        (self.0)(buffer)
    }
}

/// Something to write to, by a function that takes everything and hands it on.
struct Writer<F>(F);

impl<F: FnMut(&[u8]) -> std::io::Result<()>> std::io::Write for Writer<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The ids it runs as: those that everything of the store belongs to. An engine without root
/// knows its owner by 0.
pub fn ids(facts: &Facts) -> (u32, u32) {
    if facts.has("rootless") { (0, 0) } else { native::owner() }
}

/// The one capability that a container may keep, and its number in sets of them.
///
/// In a container of an engine without root our id is 0, and the kernel (since Linux 5.12) lets
/// nobody map that into a user namespace of its own who has not `CAP_SETFCAP`. All it allows is to
/// give files capabilities that hold in the engine's own user namespace, where new privileges are
/// denied.
pub fn kept(facts: &Facts) -> Option<(&'static str, u32)> {
    facts.has("rootless").then_some(("SETFCAP", 31))
}

fn body(facts: &Facts, plan: Plan<'_>) -> ContainerCreateBody {
    let Plan { image, profile, places, limits, labels, argument } = plan;
    let (uid, gid) = ids(facts);
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let memory = number(limits.memory.saturating_add(OWN_MEMORY));
    let cores: Vec<_> = limits.cores.iter().map(u32::to_string).collect();
    let options = [
        Some("no-new-privileges".to_owned()),
        Some(profile.to_owned()),
        facts.podman.then(|| "unmask=ALL".to_owned()),
        facts.has("apparmor").then(|| "apparmor=unconfined".to_owned()),
        facts.has("selinux").then(|| "label=disable".to_owned()),
    ];
    let log = HostConfigLogConfig { typ: Some("none".to_owned()), config: None };
    let host = HostConfig {
        mounts: Some(places.mounts.clone()),
        memory: facts.limits.0.then_some(memory),
        memory_swap: facts.limits.0.then_some(memory),
        pids_limit: facts.limits.1.then(|| i64::from(limits.processes + OWN_PROCESSES)),
        cpuset_cpus: (!cores.is_empty() && facts.limits.0).then(|| cores.join(",")),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: kept(facts).map(|(name, _)| vec![name.to_owned()]),
        security_opt: Some(options.into_iter().flatten().collect()),
        masked_paths: Some(Vec::new()),
        readonly_paths: Some(Vec::new()),
        readonly_rootfs: Some(true),
        network_mode: Some("none".to_owned()),
        // Where ids are shifted, files of the store would belong to nobody.
        userns_mode: facts.has("userns").then(|| "host".to_owned()),
        ulimits: Some(ulimits(facts)),
        log_config: Some(log),
        privileged: Some(false),
        auto_remove: Some(false),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/perestroika".to_owned(), argument.to_owned()]),
        cmd: Some(Vec::new()),
        env: Some(Vec::new()),
        user: Some(format!("{uid}:{gid}")),
        working_dir: Some("/".to_owned()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// Resource limits of a container's first process. Podman as root would otherwise set its own,
/// which can be more than it may.
fn ulimits(facts: &Facts) -> Vec<ResourcesUlimits> {
    let limit = |name: &str, most: u64| {
        let most = i64::try_from(most).ok();
        ResourcesUlimits { name: Some(name.to_owned()), soft: most, hard: most }
    };
    // As many as a guest gets at most.
    let files = contract::OPEN_FILES.1.map(|files| limit("nofile", files));
    let of_podman = facts.podman && !facts.has("rootless");
    files.into_iter().chain(of_podman.then(|| limit("nproc", PROCESSES_OF_ALL))).collect()
}

/// Whether the engine says that it was killed for want of memory.
pub fn out_of_memory(state: &ContainerState) -> bool {
    state.oom_killed == Some(true)
}

/// The error of a container that is over without a word.
pub fn lost(state: Option<&ContainerState>, words: &str) -> Error {
    let code = state.and_then(|state| state.exit_code);
    let code = code.map(|code| format!(": its container exited with {code}")).unwrap_or_default();
    let words = words.trim();
    Error::Lost(if words.is_empty() { code } else { format!("{code}: {words}") })
}
