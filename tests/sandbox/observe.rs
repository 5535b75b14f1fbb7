//! Noting which files of the layers a command opens.

use std::fs;
use std::os::unix::fs::symlink;

use perestroika::base::HostPath;
use perestroika::sandbox::{Observe, Observed, Request, Verdict};

use crate::tiny::{Tiny, run};

/// What a script opens in a root that holds these files beside busybox.
fn observed(files: &[(&str, &str)], script: &str) -> (Observed, String) {
    let tiny = Tiny::new();
    let root = tiny.path("root");
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    symlink("share/old", root.join("usr/link")).expect("a link");
    symlink("../share/old/file", root.join("usr/share/way")).expect("a link");
    tiny.hand_over(&root);
    let request = Request { observe: Observe::Opens, ..tiny.build(script) };
    let (outcome, log) = run(&request);
    let outcome = outcome.expect("a run");
    assert_eq!(outcome.verdict, Verdict::Built, "{log}");
    assert_eq!(outcome.receipt.0.get("observed").map(String::as_str), Some("opened files"));
    (outcome.observed.expect("what was opened"), log)
}

#[track_caller]
fn check(script: &str, wanted: &[&str]) {
    let files =
        [("usr/share/new/a", "a\n"), ("usr/share/new/b", "b\n"), ("usr/run", "#!/bin/sh\n")];
    let (observed, log) = observed(&files, script);
    assert!(observed.whole);
    // The program that runs the script itself.
    let others: Vec<&str> =
        observed.files.iter().map(String::as_str).filter(|file| *file != "/bin/busybox").collect();
    assert_eq!(others, wanted, "{script}: {log}");
}

in_every_mode! {
    fn only_files_of_the_layers_that_are_really_opened_are_noted() {
        check("echo x >/build/x; cat /build/x /etc/hosts /proc/self/status /dev/null", &[
            "/etc/hosts",
        ]);
        check("stat -c %s /usr/share/new/a; ls -R /usr; test -r /usr/share/new/b", &[]);
        check("cat /usr/share/none /usr/share/new/c; echo x >/usr/share/new/a; true", &[]);
        check("cat /usr/share/new/a /usr/share/new/a; cat /usr/share/new/b", &[
            "/usr/share/new/a",
            "/usr/share/new/b",
        ]);
    }

    fn whatever_way_leads_to_a_file_it_is_noted_under_its_own_name() {
        let file = ["/usr/share/old/file"];
        check("cat /usr/link/../old/../../link/file", &file);
        check("cd /usr/share/new; cat ../../../proc/self/root/usr/share/old/file", &file);
        check("chroot / true; cat <&- /usr//share/./old/file; (cd /usr/link; cat file)", &file);
        check("exec 3</usr/share/old/file; cat <&3; cat /proc/self/fd/3", &file);
        check("sh -c 'exec cp /usr/link/file /build'", &file);
        check("sh /usr/run", &["/usr/run"]);
    }

    fn nothing_is_noted_unless_asked_for() {
        let tiny = Tiny::new();
        let (outcome, _) = run(&tiny.build("cat /usr/share/old/file"));
        let outcome = outcome.expect("a run");
        assert_eq!(outcome.observed, None);
        assert_eq!(outcome.receipt.0.get("observed"), None);
    }

    fn a_command_that_fails_or_is_killed_has_what_it_opened_noted() {
        for (script, verdict) in [
            ("cat /usr/share/old/file; exit 7", Verdict::Failed(7)),
            ("cat /usr/share/old/file; kill -9 $$", Verdict::Signalled(9)),
        ] {
            let tiny = Tiny::new();
            let (outcome, log) = run(&Request { observe: Observe::Opens, ..tiny.build(script) });
            let outcome = outcome.expect("a run");
            assert_eq!(outcome.verdict, verdict, "{log}");
            let files = outcome.observed.expect("what was opened").files;
            assert!(files.contains(&"/usr/share/old/file".to_owned()), "{files:?}");
        }
    }

    fn a_flood_of_opens_hurts_nobody_and_hides_nothing_silently() {
        // Each process opens every file again and again; no name is longer than a name may be.
        let name = "n".repeat(255);
        let long = format!("usr/long/{name}/{name}/{name}/{name}");
        let many: Vec<String> = (0..500).map(|number| format!("usr/many/{number}")).collect();
        let mut files: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x\n")).collect();
        files.push((&long, "x\n"));
        let script = "
            for process in 1 2 3 4 5 6 7 8; do
                (for round in $(seq 60); do cat /usr/many/* /usr/long/*/*/*/*; done | wc -c) &
            done
            wait";
        let (observed, log) = observed(&files, script);
        let there: Vec<&String> =
            observed.files.iter().filter(|file| file.starts_with("/usr/many/")).collect();
        assert!(!observed.whole || there.len() == 500, "{} {log}", there.len());
        assert!(there.len() <= 500);
        assert!(!observed.whole || observed.files.contains(&format!("/{long}")));
        assert_eq!(log.lines().map(str::trim).collect::<Vec<_>>(), ["60120"; 8]);
    }
}

in_every_mode! {
    fn builds_over_the_same_layers_are_told_apart() {
        let tiny = Tiny::new();
        let request = |script: &str| Request { observe: Observe::Opens, ..tiny.build(script) };
        // Each waits in scratch for as long as the other takes to open its file.
        let shared = tiny.make("shared");
        tiny.hand_over(shared.as_path());
        let script = |own: &str, file: &str, other: &str| {
            format!(
                "touch /build/s/{own}; cat {file}; until [ -e /build/s/{other} ]; do sleep 0.01; done"
            )
        };
        let mounted = |request: Request| Request {
            mounts: vec![perestroika::sandbox::Mount {
                source: HostPath::new(shared.as_path()),
                target: "/build/s".parse().expect("a guest path"),
                access: perestroika::sandbox::Access::Writable,
            }],
            ..request
        };
        let one = mounted(request(&script("one", "/usr/share/old/file", "two")));
        let two = mounted(request(&script("two", "/etc/group", "one")));
        let files = std::thread::scope(|scope| {
            let runs = [&one, &two].map(|request| scope.spawn(|| run(request)));
            runs.map(|run| {
                let (outcome, log) = run.join().expect("a run");
                let files = outcome.expect("a run").observed.expect("what was opened").files;
                (files, log)
            })
        });
        let has = |index: usize, name: &str| files[index].0.iter().any(|file| file == name);
        assert!(has(0, "/usr/share/old/file") && !has(0, "/etc/group"), "{files:?}");
        assert!(has(1, "/etc/group") && !has(1, "/usr/share/old/file"), "{files:?}");
    }
}
