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

#[cfg(test)]
mod tests {
    use bollard::Docker;
    use bollard::errors::Error;
    use bollard::models::{ContainerCreateBody, HostConfig, ResourcesUlimits};
    use bollard::query_parameters::{
        CreateContainerOptions, RemoveContainerOptions, RemoveImageOptions, StartContainerOptions,
        WaitContainerOptions,
    };
    use futures_util::TryStreamExt;

    use super::Profile;
    use crate::base::HostPath;
    use crate::sandbox::docker::image::{Image, PROGRAM};
    use crate::sandbox::docker::trial::{code, engines, program};
    use crate::sandbox::native::filter;

    #[test]
    fn a_profile_refuses_what_a_guest_is_refused_but_what_makes_the_guest() {
        let option = Profile::new().option();
        let profile: serde_json::Value =
            serde_json::from_str(option.trim_start_matches("seccomp=")).expect("a profile");
        let rules = profile["syscalls"].as_array().expect("rules");
        let names = |answer: i32| -> Vec<&str> {
            let whole = |rule: &&serde_json::Value| {
                rule["errnoRet"] == answer && rule["args"].as_array().is_some_and(Vec::is_empty)
            };
            let names = rules.iter().filter(whole).filter_map(|rule| rule["names"].as_array());
            names.flatten().filter_map(|name| name.as_str()).collect()
        };
        assert_eq!(
            names(libc::ENOSYS),
            ["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"]
        );
        let refused = names(libc::EPERM);
        for call in ["keyctl", "bpf", "kexec_load", "userfaultfd", "setns", "fsopen", "syslog"] {
            assert!(refused.contains(&call), "{call} is allowed");
        }
        for call in ["mount", "umount2", "pivot_root", "move_mount", "open_tree", "unshare"] {
            assert!(!refused.contains(&call), "{call} is refused");
        }
    }

    #[test]
    fn the_file_of_a_profile_is_named_by_its_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = HostPath::new(folder.path().join("home"));
        let profile = Profile::new();
        let option = profile.option_in(&folder).expect("a file");
        let path = option.strip_prefix("seccomp=").expect("an option");
        let content = || std::fs::read_to_string(path).expect("a file");
        assert_eq!(format!("seccomp={}", content()), profile.option());
        std::fs::write(path, "{}").expect("a damaged file");
        assert_eq!(profile.option_in(&folder).expect("a file"), option);
        assert_eq!(format!("seccomp={}", content()), profile.option());
    }

    /// What the kernel answers in a container, by the words of engines for the calls: they leave
    /// out names that they do not know.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn containers_behind_the_profile_can_make_guests_and_little_else() {
        // What is allowed reaches the kernel, which does it or misses a path. It comes first, so
        // that the rest is asked with every capability, as processes that make guests have.
        let made = [
            (libc::SYS_unshare, libc::CLONE_NEWUSER as u32, 0),
            (libc::SYS_unshare, libc::CLONE_NEWNS as u32, 0),
            (libc::SYS_mount, 0, libc::EFAULT),
            (libc::SYS_umount2, 0, libc::EFAULT),
        ];
        let refused = filter::REFUSED.iter().map(|call| (call.number(), 0, libc::EPERM));
        let absent = filter::ABSENT.iter().map(|call| (call.number(), 0, libc::ENOSYS));
        let namespaces = filter::NAMESPACES.map(|flag| (libc::SYS_clone, flag as u32, libc::EPERM));
        let calls: Vec<_> =
            made.into_iter().chain(refused).chain(absent).chain(namespaces).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let folder = HostPath::new(folder.path());
        let file = folder.join("program");
        std::fs::write(&file, program(&[1], &code(&calls))).expect("a program");
        let image = Image::of(&file, &folder).expect("an image");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        for client in engines() {
            runtime.block_on(async {
                let version = client.version().await.expect("a version");
                let parts = version.components.unwrap_or_default();
                let podman = parts.iter().any(|part| part.name.contains("Podman"));
                let option = match podman {
                    true => Profile::new().option_in(&folder).expect("a file"),
                    false => Profile::new().option(),
                };
                let id = image.ensure(&client).await.expect("an image");
                let ended = run(&client, &id, option, podman).await;
                let removed = client.remove_image(&id, None::<RemoveImageOptions>, None).await;
                removed.expect("an image to remove");
                let wrong = usize::try_from(ended).unwrap_or(0).checked_sub(1);
                let wrong = wrong.and_then(|place| calls.get(place));
                assert_eq!(ended, 0, "{wrong:?}: call, argument and what should be its answer");
            });
        }
    }

    /// Runs a container of the image, as an ordinary user without any capability, and returns
    /// its exit code.
    async fn run(client: &Docker, image: &str, profile: String, podman: bool) -> i64 {
        let mut options = vec!["no-new-privileges".to_owned(), profile];
        if podman {
            options.push("unmask=ALL".into());
        }
        // Podman sets those that are not named, and may not be allowed to.
        let ulimits = [("nofile", 1024, 4096), ("nproc", 4096, 4096)].map(|(name, soft, hard)| {
            ResourcesUlimits { name: Some(name.into()), soft: Some(soft), hard: Some(hard) }
        });
        let host = HostConfig {
            network_mode: Some("none".into()),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(options),
            readonly_rootfs: Some(true),
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            ulimits: Some(ulimits.into()),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            user: Some("1001:1001".into()),
            entrypoint: Some(vec![PROGRAM.into()]),
            host_config: Some(host),
            ..Default::default()
        };
        let made = client.create_container(None::<CreateContainerOptions>, body).await;
        let id = made.expect("a container").id;
        let waited = async {
            client.start_container(&id, None::<StartContainerOptions>).await?;
            client.wait_container(&id, None::<WaitContainerOptions>).try_collect::<Vec<_>>().await
        };
        let ended = match waited.await {
            Ok(answers) => Ok(answers.first().map_or(-1, |answer| answer.status_code)),
            Err(Error::DockerContainerWaitError { code, .. }) => Ok(code),
            Err(error) => Err(error),
        };
        let force = RemoveContainerOptions { force: true, ..Default::default() };
        client.remove_container(&id, Some(force)).await.expect("a container to remove");
        ended.expect("an exit code")
    }
}
