//! Whether limits are enforced as demanded: by a control group, or by whatever can be had. Of the
//! native executor alone: in a container the engine has made the group.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use crate::modes;
use crate::tiny::{Tiny, run};
use perestroika::base::HostPath;
use perestroika::sandbox::native::Native;
use perestroika::sandbox::{Enforcement, Error, Executor, Receipt, Verdict, doctor, native};

/// What came of a run that demands a control group, and what it printed.
fn demand(tiny: &Tiny, script: &str) -> (Result<(Verdict, Receipt), Error>, String) {
    let mut log = Vec::new();
    let executor =
        Native::new(HostPath::new(modes::program())).enforcing(Enforcement::ControlGroup);
    let outcome = executor.run(&tiny.build(script), &mut log, &AtomicBool::new(false));
    let outcome = outcome.map(|outcome| (outcome.verdict, outcome.receipt));
    (outcome, String::from_utf8_lossy(&log).into_owned())
}

fn limits_of(tiny: &Tiny) -> doctor::Finding {
    let program = HostPath::new(modes::program());
    let demanded = Enforcement::ControlGroup;
    let findings = doctor::probe(&program, &tiny.make("scratch"), demanded);
    findings.into_iter().find(|finding| finding.name == "limits").expect("a finding")
}

natively! {
    fn a_control_group_that_is_demanded_is_there_or_nothing_runs() {
        let tiny = Tiny::new();
        let there = native::limits_mechanism();
        let (outcome, log) = demand(&tiny, "echo ran");
        let finding = limits_of(&tiny);
        match outcome {
            Ok((verdict, Receipt(facts))) => {
                assert!(there.starts_with("cgroup v"), "{there}");
                assert_eq!((verdict, &*log), (Verdict::Built, "ran\n"));
                assert_eq!(facts["limits required"], "cgroup");
                assert_eq!(facts["memory limit"], there);
                assert_eq!(facts["process limit"], format!("{there}, RLIMIT_NPROC"));
                assert!(finding.ok && finding.detail.contains(there), "{finding:?}");
            }
            Err(error) => {
                assert_eq!((there, &*log), ("supervisor", ""));
                let Error::Limits { because, remedy } = &error else { panic!("{error}") };
                assert!(error.to_string().ends_with(remedy.as_str()), "{error}");
                assert!(finding.detail.ends_with(because.as_str()), "{finding:?}");
                assert_eq!((finding.ok, &finding.remedy), (false, &Some(remedy.clone())));
            }
        }
    }

    fn without_a_demand_the_best_is_taken_and_named() {
        let (outcome, _) = run(&Tiny::new().build(":"));
        let Receipt(facts) = outcome.expect("a run").receipt;
        assert_eq!(facts["limits required"], "none");
        assert_eq!(facts["memory limit"], native::limits_mechanism());
    }
}

/// The controllers of version 1, if both are mounted by themselves where they always are, and
/// this is the initial namespace's root, who may make groups in them.
fn first_version() -> bool {
    let there = |controller: &str| {
        fs::metadata(format!("/sys/fs/cgroup/{controller}/cgroup.procs")).is_ok()
    };
    there("memory") && there("pids")
}

#[test]
fn with_version_1_root_has_a_group() {
    let name = "enforcement::with_version_1_root_has_a_group";
    if !first_version() || !rustix::process::geteuid().is_root() {
        return modes::left_out(name, "version 1 is not mounted, or this is not root");
    }
    let (outcome, log) = demand(&Tiny::new(), "echo ran");
    let (verdict, Receipt(facts)) = outcome.expect("a run");
    assert_eq!((verdict, &*log), (Verdict::Built, "ran\n"));
    assert_eq!(facts["memory limit"], "cgroup v1");
}

#[test]
fn with_version_1_a_user_is_told_which_folders_to_hand_over() {
    let name = "enforcement::with_version_1_a_user_is_told_which_folders_to_hand_over";
    if !first_version() {
        return modes::left_out(name, "version 1 is not mounted");
    }
    modes::in_other_mode(name, "user", &[], || {
        let (outcome, log) = demand(&Tiny::new(), "echo ran");
        let error = outcome.expect_err("a refusal").to_string();
        assert_eq!(log, "");
        for words in ["no group in `/", "ermission denied", "`chown ", "/memory", "/pids"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    });
}

/// The release, the store and the configuration are the user's own; nothing is fetched, as the
/// refusal comes before anything else.
#[test]
fn a_build_is_refused_where_the_flag_or_the_configuration_demands_what_is_not_there() {
    if !first_version() {
        let name = "enforcement::a_build_is_refused";
        return modes::left_out(name, "version 1 is not mounted");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("for everybody");
    let program = modes::reachable(&modes::program(), folder.path());
    let single = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/single");
    let copied = Command::new("cp").arg("-R").args([single, at("single")]).status();
    assert!(copied.expect("coreutils").success());
    // Of whoever builds it in the repository.
    let _ = fs::remove_dir_all(at("single/out"));
    fs::create_dir_all(at("strict/perestroika")).expect("a folder");
    fs::create_dir(at("none")).expect("a folder");
    fs::write(at("strict/perestroika/config.toml"), "require_limits = \"cgroup\"\n")
        .expect("a file");
    for (configuration, flags) in
        [("none", &["--require-limits", "cgroup"][..]), ("strict", &[][..])]
    {
        let user = modes::become_user();
        let output = Command::new(user[0])
            .args(&user[1..])
            .arg(&program)
            .arg("--store")
            .args([at("store"), "build".into(), at("single")])
            .arg("--offline")
            .args(flags)
            .env("XDG_CONFIG_HOME", at(configuration))
            .env_remove("XDG_RUNTIME_DIR")
            .output()
            .expect("util-linux");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("a control group must hold builds to their limits"), "{said}");
        assert!(said.contains("`chown "), "{said}");
        assert!(!at("single/out").exists());
    }
}
