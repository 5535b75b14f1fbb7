//! What every command in a sandbox can rely on.

use crate::modes;
use crate::tiny::{Tiny, run};
use perestroika::base::HostPath;
use perestroika::sandbox::{Enforcement, Receipt, Request, Verdict, doctor, native};

in_every_mode_and_by_users! {
    fn a_command_prints_and_ends_with_its_code() {
        let tiny = Tiny::new();
        for (script, verdict) in [
            ("echo out; echo err >&2", Verdict::Built),
            ("echo out; echo err >&2; exit 7", Verdict::Failed(7)),
            ("echo out; echo err >&2; kill -TERM $$", Verdict::Signalled(15)),
        ] {
            let (outcome, log) = run(&tiny.build(script));
            let outcome = outcome.expect("a run");
            assert_eq!((outcome.verdict, &*log), (verdict, "out\nerr\n"), "{script}");
        }
    }

    fn what_is_configured_becomes_a_layer() {
        let tiny = Tiny::new();
        let script = "id -u; rm -r /usr/share/old && mkdir /usr/share/old && ls -A /usr/share/old
            echo new >/etc/new; chown 5:7 /etc/new && mknod /etc/device c 1 3 && stat -c %u:%g /etc/new";
        let (outcome, log) = run(&tiny.configure(script));
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built, "{log}");
        assert_eq!(log, "0\n0:0\n");
        let new = std::fs::read_to_string(tiny.path("layer/upper/etc/new")).expect("a file");
        assert_eq!(new, "new\n");
    }
}

// About this machine and the native executor; `container` has the like of engines.
natively! {
    fn a_machine_that_runs_builds_is_found_healthy() {
        let tiny = Tiny::new();
        let program = HostPath::new(modes::program());
        let findings = doctor::probe(&program, &tiny.make("scratch"), Enforcement::Best);
        let ill: Vec<_> = findings.iter().filter(|finding| !finding.ok).collect();
        assert!(ill.is_empty(), "{ill:#?}");
        let left = std::fs::read_dir(tiny.path("scratch")).expect("a folder").count();
        assert_eq!((findings.len(), left), (6, 0));
    }

    fn what_was_in_force_is_in_the_receipt() {
        let outcome = run(&Tiny::new().build(":")).0.expect("a run");
        let Receipt(facts) = outcome.receipt;
        let fact = |name: &str| facts.get(name).map(String::as_str);
        assert_eq!(fact("executor"), Some("native"));
        assert_eq!(fact("namespaces"), Some("user mount pid ipc uts net cgroup"));
        assert_eq!(fact("memory limit"), Some(native::limits_mechanism()));
    }
}

/// What is forbidden is forbidden to a user namespace of the test's own, so the machine stays as
/// it is.
#[test]
fn nothing_runs_where_isolation_cannot_be_had() {
    let name = "basics::nothing_runs_where_isolation_cannot_be_had";
    modes::in_other_mode(
        name,
        "no namespaces",
        &[
            "unshare",
            "-r",
            "sh",
            "-c",
            "echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"",
            "-",
        ],
        || {
            let tiny = Tiny::new();
            let (outcome, log) = run(&tiny.build("echo ran"));
            let error = outcome.expect_err("a refusal").to_string();
            assert!(error.contains("sysctl user.max_user_namespaces="), "{error}");
            assert_eq!(log, "");
            let program = HostPath::new(modes::program());
            let findings = doctor::probe(&program, &tiny.make("scratch"), Enforcement::Best);
            let remedies = findings.iter().filter(|finding| !finding.ok);
            let remedies: Vec<_> = remedies.filter_map(|found| found.remedy.as_deref()).collect();
            assert_eq!(remedies.len(), 3);
            assert!(remedies.iter().all(|remedy| error.ends_with(remedy)), "{remedies:?}");
        },
    );
    modes::in_other_mode(name, "few files", &["prlimit", "--nofile=1024:1024"], || {
        let (outcome, log) = run(&Tiny::new().build("echo ran"));
        let error = outcome.expect_err("a refusal").to_string();
        assert!(error.contains("limit of open files") && error.contains("limits.conf"), "{error}");
        assert_eq!(log, "");
    });
}

in_every_mode! {
    fn a_command_runs_on_the_processors_it_is_given() {
        let tiny = Tiny::new();
        let mut request = tiny.build("nproc; grep Cpus_allowed_list /proc/self/status");
        request.limits.cores = vec![0];
        let (outcome, log) = run(&request);
        assert_eq!(outcome.expect("a run").verdict, Verdict::Built);
        assert_eq!(log, "1\nCpus_allowed_list:\t0\n");
    }

    fn the_working_folder_is_made() {
        let tiny = Tiny::new();
        let cwd = "/build/reproducible-path/x-1.0".parse().expect("a guest path");
        let request = Request { cwd, ..tiny.build("pwd; echo x >x; cat x") };
        assert_eq!(run(&request).1, "/build/reproducible-path/x-1.0\nx\n");
    }
}
